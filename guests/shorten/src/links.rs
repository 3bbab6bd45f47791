//! The links in the key-value store: from a code to an address.

use crate::code::Codes;
use crate::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::wasi::keyvalue::store::{self, Error};

/// Keeps an address, and returns its code. The same address always has the same one.
///
/// When this returns, the link is on the disk. Guests that run at the same time, in this process or another, cannot
/// replace each other's links: a code is taken only as long as it is free (compare-and-swap).
pub fn keep(url: &str) -> Result<String, Error> {
    let bucket = store::open("default")?;
    for code in Codes::of(url) {
        let mut handle = Cas::new(&bucket, &code)?;
        loop {
            match handle.current()? {
                Some(taken) if taken == url.as_bytes() => return Ok(code),
                // Of another address: the next code is longer.
                Some(_) => break,
                None => {}
            }
            match atomics::swap(handle, url.as_bytes()) {
                Ok(()) => return Ok(code),
                Err(CasError::StoreError(error)) => return Err(error),
                // Another guest was faster; perhaps with the same address.
                Err(CasError::CasFailed(again)) => handle = again,
            }
        }
    }
    Err(Error::Other(
        "all codes of this address are taken".to_owned(),
    ))
}

/// The address of a code.
pub fn find(code: &str) -> Result<Option<String>, Error> {
    let value = store::open("default")?.get(code)?;
    Ok(value.and_then(|url| String::from_utf8(url).ok()))
}
