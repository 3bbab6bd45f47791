//! How a guest ended (exit code or trap), and the log line about it.

use crate::journal::{self, Level};
use crate::limits::{Refused, sent_more, took_longer};
use crate::wasi::{GuestState, MOST_HANDLES};
use std::borrow::Cow;
use std::time::Duration;
use wasmtime::{FrameInfo, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEnd {
    /// By itself, with this exit code.
    Exit(i32),
    /// It trapped or exceeded a limit; why.
    Trap(String),
}

impl GuestEnd {
    /// The end of a guest that took longer than its `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::Trap(took_longer(limit))
    }

    /// The end of a guest whose connection was silent, in both directions, for longer than `limit`.
    pub fn silent(limit: Duration) -> Self {
        Self::Trap(format!(
            "no data was sent or received for {limit:?} (raise `idle-connection-timeout` if it may be silent for longer)"
        ))
    }

    /// The end of a guest that sent more than `most` bytes.
    pub fn overran(most: u64) -> Self {
        Self::Trap(sent_more(most))
    }

    /// The log level and the text of the log line.
    pub fn report(&self) -> (Level, Cow<'static, str>) {
        match self {
            Self::Exit(0) => (Level::Info, "served".into()),
            Self::Exit(code) => (Level::Warning, format!("failed with exit code {code}").into()),
            Self::Trap(why) => (Level::Error, format!("ended: {why}").into()),
        }
    }
}

/// The guest exceeded its `cpu-time`.
#[derive(Debug, thiserror::Error)]
#[error("used more than {limit:?} of CPU time (raise `cpu-time` if it needs more)")]
pub struct CpuTimeExceeded {
    pub limit: Duration,
}

/// How a guest ended whose call returned `result`.
pub fn end_of(result: wasmtime::Result<i32>, store: &Store<GuestState>) -> GuestEnd {
    let error = match result {
        Ok(code) => return GuestEnd::Exit(code),
        Err(error) => error,
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return GuestEnd::Exit(*code);
    }
    if let Some(exceeded) = error.downcast_ref::<CpuTimeExceeded>() {
        return GuestEnd::Trap(exceeded.to_string());
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return GuestEnd::Trap(refused.to_string());
    }
    let mut why = describe(&error);
    // The handles have filled its memory before a timer tick could count them.
    let ran_out_of_handles =
        why.contains("store handle limit exceeded") && store.max_component_handles() < MOST_HANDLES;
    if ran_out_of_handles {
        why = format!("{}: {why}", Refused::Memory);
    } else if let Some(refused) = store.data().budget.refused {
        why = format!("{refused}: {why}");
    } else if let Some(Trap::StackOverflow) = error.downcast_ref() {
        why = format!("ran out of stack (raise `stack` in [host] if it needs more): {why}");
    }
    GuestEnd::Trap(why)
}

/// The most functions of a backtrace in a log line.
const MAX_FRAMES: usize = 4;

/// The longest error text of a guest in a log line, and the longest name of a function, in bytes.
pub const MAX_ERROR_TEXT: usize = 500;
const MAX_NAME: usize = 100;

/// The cause of an error and the guest's backtrace, in one line.
pub fn describe(error: &wasmtime::Error) -> String {
    let why = journal::shortened(error.root_cause(), MAX_ERROR_TEXT);
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return why;
    };
    let name = |frame: &FrameInfo| match frame.func_name() {
        Some(name) => journal::shortened(name, MAX_NAME),
        None => format!("function {}", frame.func_index()),
    };
    let frames: Vec<String> = backtrace.frames().iter().take(MAX_FRAMES).map(name).collect();
    match frames.len() {
        0 => why,
        _ => format!("{why}, in {}", frames.join(" called by ")),
    }
}
