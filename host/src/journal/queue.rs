//! A queue of lines, in one piece of memory.

/// Lines that were not written yet.
#[derive(Default)]
pub struct Queue {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// The lines that were removed from its beginning.
    removed: usize,
}

impl Queue {
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            removed: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.removed == self.ends.len()
    }

    /// The number of lines.
    pub fn count(&self) -> usize {
        self.ends.len() - self.removed
    }

    fn start(&self) -> usize {
        self.removed.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Their bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() - self.start()
    }

    /// All of them, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// Adds a line, which `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds the lines of `other`, which is empty after that.
    pub fn append(&mut self, other: &mut Self) {
        // What was removed is given up here, where it is as much as is left.
        if self.removed > self.count() {
            let start = self.start();
            self.bytes.drain(..start);
            self.ends.drain(..self.removed);
            self.ends.iter_mut().for_each(|end| *end -= start);
            self.removed = 0;
        }
        let (from, to) = (other.start(), self.bytes.len());
        self.bytes.extend_from_slice(other.bytes());
        let ends = &other.ends[other.removed..];
        self.ends.extend(ends.iter().map(|end| end - from + to));
        other.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [self.start()]
            .into_iter()
            .chain(self.ends[self.removed..].iter().copied());
        starts
            .zip(&self.ends[self.removed..])
            .map(|(start, end)| &self.bytes[start..*end])
    }

    /// Removes the first lines.
    pub fn remove(&mut self, count: usize) {
        self.removed += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Removes the last lines, so that no more than `most` bytes are left. Returns how many.
    pub fn limit(&mut self, most: usize) -> u64 {
        let mut removed = 0;
        while self.size() > most {
            self.ends.pop();
            let end = self.ends.last().copied().unwrap_or(0);
            self.bytes.truncate(end);
            removed += 1;
        }
        removed
    }

    /// Removes all lines, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.removed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn queue(lines: &[Vec<u8>]) -> Queue {
        let mut queue = Queue::new();
        lines
            .iter()
            .for_each(|line| queue.push(|to| to.extend_from_slice(line)));
        queue
    }

    proptest! {
        #[test]
        fn it_has_the_lines_that_were_added_and_not_removed(
            steps in prop::collection::vec((prop::collection::vec("[a-z]{0,9}", 0..6), 0usize..8, 0usize..80), 0..20)
        ) {
            let (mut queue, mut expected) = (self::queue(&[]), VecDeque::<Vec<u8>>::new());
            for (lines, removed, most) in steps {
                let lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
                let mut more = self::queue(&lines);
                queue.append(&mut more);
                prop_assert!(more.is_empty());
                expected.extend(lines);
                let removed = removed.min(expected.len());
                queue.remove(removed);
                expected.drain(..removed);
                let mut dropped = 0;
                while expected.iter().map(Vec::len).sum::<usize>() > most {
                    expected.pop_back();
                    dropped += 1;
                }
                prop_assert_eq!(queue.limit(most), dropped);
                prop_assert_eq!(queue.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
                prop_assert_eq!(queue.count(), expected.len());
                prop_assert_eq!(queue.bytes(), expected.iter().flatten().copied().collect::<Vec<u8>>());
                prop_assert_eq!(queue.is_empty(), expected.is_empty());
            }
        }
    }
}
