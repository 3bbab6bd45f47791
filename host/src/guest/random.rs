//! Random numbers for guests, straight from the kernel.

use rand::rngs::SysRng;
use rand::{TryCryptoRng, TryRng};
use std::convert::Infallible;

/// The kernel's generator (`getrandom(2)`), asked when a guest asks. A WASI context has two
/// generators of its own otherwise, seeded for each guest, most of which never draw a number.
pub struct Kernel;

/// getrandom(2) does not fail once the pool is initialised, which is before any service starts
/// (`random(7)`). Were it to fail, there must be no guest that draws zeroes.
fn drawn<T>(number: Result<T, rand::rngs::SysError>) -> T {
    number.expect("getrandom(2) cannot fail after boot")
}

impl TryRng for Kernel {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(drawn(SysRng.try_next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(drawn(SysRng.try_next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        drawn(SysRng.try_fill_bytes(bytes));
        Ok(())
    }
}

impl TryCryptoRng for Kernel {}
