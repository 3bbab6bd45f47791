//! Random use by several threads, and what giving memory back must leave alone.

use super::{Allocator, LARGE, SMALL, SMALL_STEP, block_size, give_back, keep_blocks, size_class};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A sequence of numbers that look random, and are the same in each run (xorshift64).
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Mostly what an instance asks for; some sizes that no thread keeps, and some that come as mappings.
    fn size(&mut self) -> usize {
        let most = match self.below(1000) {
            0..700 => SMALL + 100,
            700..950 => LARGE + 1000,
            950..999 => 200_000,
            _ => 3 << 20,
        };
        1 + self.below(most)
    }

    /// An alignment of one byte to one page, mostly small.
    fn layout(&mut self) -> Layout {
        let most = if self.below(4) == 0 { 13 } else { 5 };
        Layout::from_size_align(self.size(), 1 << self.below(most)).unwrap()
    }
}

/// A block, full of a pattern of its own.
struct Block {
    start: *mut u8,
    layout: Layout,
    seed: u8,
}

// SAFETY: a block may be used and freed by any thread, one at a time.
unsafe impl Send for Block {}

impl Block {
    fn new(layout: Layout, seed: u8, zeroed: bool) -> Self {
        // SAFETY: the size is not zero, and all of the block is ours.
        unsafe {
            let start = match zeroed {
                true => Allocator.alloc_zeroed(layout),
                false => Allocator.alloc(layout),
            };
            assert!(!start.is_null(), "{layout:?}");
            assert!((start as usize).is_multiple_of(layout.align()), "{layout:?}");
            if zeroed {
                let (head, middle, tail) = std::slice::from_raw_parts(start, layout.size()).align_to::<u128>();
                let is_zero = head.iter().chain(tail).all(|byte| *byte == 0);
                assert!(is_zero && middle.iter().all(|bytes| *bytes == 0), "{layout:?}");
            }
            let block = Self { start, layout, seed };
            block.fill();
            block
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.seed.wrapping_add(at as u8).wrapping_mul(31)
    }

    /// Where its content is written and checked: all of a small block; of a large one, both ends and some in between.
    fn places(&self) -> impl Iterator<Item = usize> {
        let size = self.layout.size();
        let middle = (512..size).step_by(512);
        (0..size.min(512)).chain(middle).chain(size.saturating_sub(16)..size)
    }

    fn fill(&self) {
        for at in self.places() {
            // SAFETY: within the block.
            unsafe { self.start.add(at).write(self.byte(at)) };
        }
    }

    /// Checks what is in the first `size` bytes.
    fn check(&self, size: usize) {
        for at in self.places().filter(|at| *at < size) {
            // SAFETY: within the block, and written by `fill`.
            let byte = unsafe { self.start.add(at).read() };
            assert_eq!(byte, self.byte(at), "{:?} at {at}", self.layout);
        }
    }

    fn resize(&mut self, size: usize) {
        self.check(self.layout.size());
        let places: Vec<usize> = self.places().filter(|at| *at < size).collect();
        // SAFETY: it was allocated here with this layout, and the new size is not zero.
        let start = unsafe { Allocator.realloc(self.start, self.layout, size) };
        assert!(!start.is_null() && (start as usize).is_multiple_of(self.layout.align()));
        self.start = start;
        for at in places {
            // SAFETY: in the old block and in the new one.
            let byte = unsafe { start.add(at).read() };
            assert_eq!(byte, self.byte(at), "{:?} to {size}, at {at}", self.layout);
        }
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        self.fill();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.check(self.layout.size());
        }
        // SAFETY: it was allocated here with this layout, and is not used any more.
        unsafe { Allocator.dealloc(self.start, self.layout) };
    }
}

const THREADS: usize = 4;
const STEPS: usize = 3000;
/// How many blocks a thread has at a time, at most.
const BLOCKS: usize = 200;

/// Allocates, changes, passes on and frees blocks at random.
fn use_heap(number: usize, others: &[Sender<Block>], received: &Receiver<Block>) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
    // Some threads keep blocks, others free what came from those.
    if number.is_multiple_of(2) {
        keep_blocks();
    }
    let mut blocks: Vec<Block> = Vec::with_capacity(BLOCKS);
    for step in 0..STEPS {
        let chosen = random.below(blocks.len() + 1);
        match random.below(16) {
            0..8 if blocks.len() < BLOCKS => {
                let zeroed = random.below(4) == 0;
                blocks.push(Block::new(random.layout(), step as u8, zeroed));
            }
            8..10 if chosen < blocks.len() => blocks[chosen].resize(random.size()),
            10..13 if chosen < blocks.len() => {
                let block = blocks.swap_remove(chosen);
                // A thread that has ended drops what it was sent.
                let _ = others[random.below(others.len())].send(block);
            }
            _ if chosen < blocks.len() => drop(blocks.swap_remove(chosen)),
            _ => {}
        }
        received.try_iter().for_each(drop);
        if random.below(STEPS / 4) == 0 {
            give_back();
        }
    }
    drop(blocks);
    give_back();
}

#[test]
fn blocks_of_several_threads_hold_what_was_written_until_they_are_freed() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    thread::scope(|scope| {
        for (number, receiver) in receivers.into_iter().enumerate() {
            let senders = senders.clone();
            scope.spawn(move || use_heap(number, &senders, &receiver));
        }
    });
}

#[test]
fn each_size_belongs_to_the_smallest_class_that_has_room_for_it() {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let mut former = 0;
    for size in 1..=LARGE {
        let (whole, class) = size_class(layout(size)).unwrap();
        assert_eq!(whole, block_size(class));
        assert!(
            whole >= size && (class == 0 || block_size(class - 1) < size),
            "{size} bytes"
        );
        assert!(class == former || class == former + 1);
        former = class;
    }
    assert_eq!(former + 1, super::CLASSES);
    for (size, align) in [(0, 1), (LARGE + 1, 1), (64, SMALL_STEP * 2)] {
        assert!(size_class(Layout::from_size_align(size, align).unwrap()).is_none());
    }
}

#[test]
fn a_thread_that_keeps_blocks_gets_the_one_it_freed_last() {
    let run = || {
        keep_blocks();
        let [small, other] = [100, 5000].map(|size| Layout::from_size_align(size, 8).unwrap());
        // SAFETY: each block is freed once, and not used after that.
        unsafe {
            let freed = [Allocator.alloc(small), Allocator.alloc(small), Allocator.alloc(other)];
            Allocator.dealloc(freed[0], small);
            Allocator.dealloc(freed[1], small);
            Allocator.dealloc(freed[2], other);
            let again = [Allocator.alloc(small), Allocator.alloc(small), Allocator.alloc(other)];
            assert_eq!(again, [freed[1], freed[0], freed[2]]);
            for (block, layout) in again.into_iter().zip([small, small, other]) {
                Allocator.dealloc(block, layout);
            }
        }
        give_back();
    };
    thread::spawn(run).join().unwrap();
}

#[test]
fn giving_back_leaves_what_is_in_use_and_the_rest_can_be_used_again() {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let mut kept: Vec<Option<Block>> = (1..2000_usize)
        .map(|number| Some(Block::new(layout(number * 37 % 50_000 + 1), number as u8, false)))
        .collect();
    for (number, block) in kept.iter_mut().enumerate() {
        if !number.is_multiple_of(5) {
            *block = None;
        }
    }
    give_back();
    for block in kept.iter().flatten() {
        block.check(block.layout.size());
    }
    for size in [16, 1000, LARGE, 20_000, 3 << 20] {
        drop(Block::new(layout(size), 1, true));
    }
}
