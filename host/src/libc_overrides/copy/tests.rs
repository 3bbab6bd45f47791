//! Each function against a reference that goes byte by byte, at all alignments, and at the borders of mapped memory.

use super::{LONG, bcmp, memcmp, memcpy, memmove};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ops::Range;
use std::ptr;
use std::slice;

/// All sizes that are tried at all alignments: each way to copy but the last begins and ends among them.
const SMALL: Range<usize> = 0..300;

/// More than any of [`sizes`].
const MOST: usize = LONG + 200;

/// The small sizes, all around the one from which on `rep movsb` copies, and some of those between and beyond.
fn sizes() -> impl Iterator<Item = usize> {
    (0..MOST).filter(|size| SMALL.contains(size) || size.abs_diff(LONG) < 70 || size % 13 == 0)
}

/// Sizes that take many rounds of a loop, or `rep movsb`.
const LARGE: [usize; 7] = [LONG, LONG + 1, 4095, 4096, 4097, 65_537, (1 << 20) + 3];

/// The width of a register: from here on, alignments repeat.
const ALIGNMENTS: Range<usize> = 0..16;

/// What a destination is filled with, which no pattern contains.
const EMPTY: u8 = 0;

const PAGE: usize = 4096;

/// Bytes that differ from their neighbours, also from those some powers of two away, and are never `EMPTY`.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8 | 1).collect()
}

/// `memmove` as the manual page describes it. (A loop over slices may be compiled to a call of what is tested.)
fn move_reference(bytes: &mut [u8], from: usize, to: usize, count: usize) {
    let copy: Vec<u8> = (from..from + count).map(|at| std::hint::black_box(bytes[at])).collect();
    for (at, byte) in copy.into_iter().enumerate() {
        bytes[to + at] = std::hint::black_box(byte);
    }
}

fn is_all(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|other| *other == byte)
}

/// Memory between two pages that cannot be touched.
struct Fenced {
    start: *mut u8,
    length: usize,
}

impl Fenced {
    /// At least `length` bytes, in whole pages.
    fn new(length: usize) -> Self {
        let length = length.next_multiple_of(PAGE);
        // SAFETY: a new mapping, of which the pages between the first and the last are made accessible.
        unsafe {
            let none = ProtFlags::empty();
            let start = mmap_anonymous(ptr::null_mut(), length + 2 * PAGE, none, MapFlags::PRIVATE).unwrap();
            let start: *mut u8 = start.cast::<u8>().add(PAGE);
            mprotect(start.cast(), length, MprotectFlags::READ | MprotectFlags::WRITE).unwrap();
            Self { start, length }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped, initialised by the kernel, and borrowed as long as the slice is.
        unsafe { slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// The first and the last `count` bytes: what is before the one, and after the other, cannot be touched.
    fn ends(&self, count: usize) -> [*mut u8; 2] {
        // SAFETY: `count` bytes from the end there is still the same mapping.
        [self.start, unsafe { self.start.add(self.length - count) }]
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, with a page on either side, and nothing borrows it any more.
        unsafe { munmap(self.start.sub(PAGE).cast(), self.length + 2 * PAGE).unwrap() };
    }
}

type Copy = unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8;
type Compare = unsafe extern "C" fn(*const u8, *const u8, usize) -> std::ffi::c_int;

const COPIES: [(&str, Copy); 2] = [("memcpy", memcpy), ("memmove", memmove)];
const COMPARISONS: [(&str, Compare); 2] = [("memcmp", memcmp), ("bcmp", bcmp)];

/// Copies at one pair of alignments and checks the destination and what is around it.
fn check_copy(name: &str, copy: Copy, source: &[u8], offsets: (usize, usize), count: usize) {
    const MARGIN: usize = 16;
    let (from, to) = (offsets.0, offsets.1 + MARGIN);
    let mut destination = vec![EMPTY; to + count + MARGIN];
    let start = destination[to..].as_mut_ptr();
    // SAFETY: both have room for `count` bytes.
    let returned = unsafe { copy(start, source[from..].as_ptr(), count) };
    let what = format_args!("{name} of {count} bytes, offsets {offsets:?}").to_string();
    assert_eq!(returned, start, "{what}");
    assert!(
        destination[to..to + count].iter().eq(&source[from..from + count]),
        "{what}"
    );
    assert!(is_all(&destination[..to], EMPTY), "{what}: before it");
    assert!(is_all(&destination[to + count..], EMPTY), "{what}: after it");
}

#[test]
fn copies_are_whole_and_touch_nothing_else_at_every_alignment() {
    let source = pattern(LARGE[6] + ALIGNMENTS.end);
    for (name, copy) in COPIES {
        for from in ALIGNMENTS {
            for to in ALIGNMENTS {
                for count in SMALL {
                    check_copy(name, copy, &source, (from, to), count);
                }
            }
        }
        for offsets in [(0, 0), (1, 0), (0, 1), (7, 15)] {
            for count in sizes().chain(LARGE) {
                check_copy(name, copy, &source, offsets, count);
            }
        }
    }
}

#[test]
fn copies_read_and_write_nothing_beyond_the_borders_of_mapped_memory() {
    let (mut source, mut destination) = (Fenced::new(MOST), Fenced::new(MOST));
    let filling = pattern(source.length);
    source.bytes().copy_from_slice(&filling);
    for (name, copy) in COPIES {
        for count in sizes() {
            for from in source.ends(count) {
                for to in destination.ends(count) {
                    destination.bytes().fill(EMPTY);
                    // SAFETY: both have `count` bytes there.
                    let (read, written) = unsafe {
                        copy(to, from, count);
                        (slice::from_raw_parts(from, count), slice::from_raw_parts(to, count))
                    };
                    assert!(written.iter().eq(read), "{name} of {count} bytes");
                    let is_start = to == destination.start;
                    let length = destination.length;
                    let rest = if is_start { count..length } else { 0..length - count };
                    assert!(is_all(&destination.bytes()[rest], EMPTY), "{name} of {count} bytes");
                }
            }
        }
    }
}

#[test]
fn moves_between_areas_that_overlap_lose_nothing_in_either_direction() {
    let original = pattern(2 * MOST);
    let distances = (0..=130).chain([255, 256, 400, LONG - 1, LONG, LONG + 1]);
    for distance in distances {
        for (from, to) in [(0, distance), (distance, 0)] {
            let step = if distance < 20 || distance % 16 < 2 { 1 } else { 13 };
            for count in sizes().step_by(step) {
                let (mut bytes, mut expected) = (original.clone(), original.clone());
                // SAFETY: there are `count` bytes from both offsets on.
                let returned = unsafe {
                    let start = bytes.as_mut_ptr();
                    memmove(start.add(to), start.add(from), count).offset_from(start)
                };
                assert_eq!(returned, to as isize);
                move_reference(&mut expected, from, to, count);
                assert!(bytes.iter().eq(&expected), "{count} bytes from {from} to {to}");
            }
        }
    }
}

#[test]
fn moves_within_one_area_touch_nothing_beyond_its_borders() {
    let mut area = Fenced::new(MOST + 400);
    let original = pattern(area.length);
    for distance in [1, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 129, 400] {
        for count in sizes() {
            // Downwards to the lower border, upwards to the upper one, and both again from there.
            let last = area.length - count;
            for (from, to) in [
                (distance, 0),
                (0, distance),
                (last - distance, last),
                (last, last - distance),
            ] {
                area.bytes().copy_from_slice(&original);
                let mut expected = original.clone();
                // SAFETY: there are `count` bytes from both offsets on.
                unsafe { memmove(area.start.add(to), area.start.add(from), count) };
                move_reference(&mut expected, from, to, count);
                assert!(area.bytes().iter().eq(&expected), "{count} bytes from {from} to {to}");
            }
        }
    }
}

/// Compares two areas that differ at `at` first, in both orders, whatever comes after that.
fn check_difference(one: &mut [u8], other: &mut [u8], at: usize) {
    let count = one.len();
    let tail = one[count - 1];
    // The bytes after the first difference say the opposite.
    if at + 1 < count {
        (one[count - 1], other[count - 1]) = (0xff, 0);
    }
    for (less, more) in [(0, 1), (1, 0xff), (0x7f, 0x80)] {
        let both = (one[at], other[at]);
        (one[at], other[at]) = (less, more);
        // SAFETY: both have `count` bytes.
        let compare =
            |compare: Compare, one: &[u8], other: &[u8]| unsafe { compare(one.as_ptr(), other.as_ptr(), count) };
        assert!(compare(memcmp, one, other) < 0, "{count} bytes, at {at}");
        assert!(compare(memcmp, other, one) > 0, "{count} bytes, at {at}");
        assert_ne!(compare(bcmp, one, other), 0, "{count} bytes, at {at}");
        (one[at], other[at]) = both;
    }
    (one[count - 1], other[count - 1]) = (tail, tail);
}

#[test]
fn the_first_difference_decides_at_every_alignment() {
    let source = pattern(MOST + ALIGNMENTS.end);
    let (mut one, mut other) = (source.clone(), vec![EMPTY; source.len()]);
    for from in ALIGNMENTS {
        for to in ALIGNMENTS {
            for count in SMALL.step_by(if from == to { 1 } else { 7 }) {
                other[to..to + count].copy_from_slice(&source[from..from + count]);
                let (one, other) = (&mut one[from..from + count], &mut other[to..to + count]);
                for (name, compare) in COMPARISONS {
                    // SAFETY: both have `count` bytes.
                    let result = unsafe { compare(one.as_ptr(), other.as_ptr(), count) };
                    assert_eq!(result, 0, "{name} of {count} bytes");
                }
                for at in [0, 1, count / 2, count.saturating_sub(9), count.saturating_sub(1)] {
                    if at < count {
                        check_difference(one, other, at);
                    }
                }
            }
        }
    }
    for at in 0..100 {
        check_difference(&mut source[..100].to_vec(), &mut source[..100].to_vec(), at);
    }
}

#[test]
fn comparisons_read_nothing_beyond_the_borders_of_mapped_memory() {
    let (mut one, mut other) = (Fenced::new(MOST), Fenced::new(MOST));
    let filling = pattern(one.length);
    for count in sizes() {
        for (one_end, one_start) in one.ends(count).into_iter().enumerate() {
            for (other_end, other_start) in other.ends(count).into_iter().enumerate() {
                // SAFETY: both have `count` bytes there, and one borrow each.
                let (one, other) = unsafe {
                    (
                        slice::from_raw_parts_mut(one_start, count),
                        slice::from_raw_parts_mut(other_start, count),
                    )
                };
                one.copy_from_slice(&filling[..count]);
                other.copy_from_slice(&filling[..count]);
                // SAFETY: both have `count` bytes.
                let result = unsafe { memcmp(one.as_ptr(), other.as_ptr(), count) };
                assert_eq!(result, 0, "{count} bytes, ends {one_end} and {other_end}");
                if count > 0 {
                    check_difference(one, other, count - 1);
                    check_difference(one, other, 0);
                }
            }
        }
    }
    assert!(one.bytes().iter().eq(other.bytes().iter()));
}
