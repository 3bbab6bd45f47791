//! Memory: how much a guest may have.

use wasmtime::ResourceLimiter;

/// What a table element takes, in bytes.
const ELEMENT: usize = size_of::<usize>();

/// Counts the linear memories and tables of a guest against its `memory` limit.
///
/// All of them together: a component has several, and ten tables of a million elements are memory,
/// too.
pub struct Budget {
    /// Bytes.
    limit: usize,
    used: usize,
    /// Was anything refused? Then a guest that ends badly probably ends because of it.
    pub refused: bool,
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: 0,
            refused: false,
        }
    }

    fn grow(&mut self, by: usize) -> bool {
        match self.used.checked_add(by) {
            Some(used) if used <= self.limit => {
                self.used = used;
                true
            }
            _ => {
                self.refused = true;
                false
            }
        }
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    /// Each takes 4 GiB of addresses, and a few of the mappings that a process may have.
    fn memories(&self) -> usize {
        64
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(ELEMENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut budget = Budget::new(1000);
        assert!(budget.memory_growing(0, 600, None).unwrap());
        assert!(budget.table_growing(0, 50, None).unwrap());
        assert!(!budget.refused);
        assert!(!budget.memory_growing(600, 601, None).unwrap());
        assert!(budget.refused);
    }
}
