//! How a guest ended (exit code or trap), and the log line about it.

use crate::journal::{self, Frame, Level};
use crate::limits::{Refused, sent_more, took_longer};
use crate::wasi::{GuestState, MOST_HANDLES, StateError};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use wasm_sock_stats::Outcome;
use wasmtime::{FrameInfo, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEnd {
    /// By itself, with this exit code.
    Exit(i32),
    /// It trapped or exceeded a limit; why.
    Trap(Cause),
}

/// Why a guest did not end by itself, or gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which limit it exceeded, or [`Outcome::Trap`].
    pub outcome: Outcome,
    /// For the log.
    pub why: String,
    /// The functions that it was in, the innermost first; empty if that is not known.
    pub backtrace: Arc<[Frame]>,
}

impl Cause {
    pub fn new(outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            outcome,
            why: why.into(),
            backtrace: Arc::default(),
        }
    }

    /// A trap, or an answer that is not valid.
    pub fn trap(why: impl Into<String>) -> Self {
        Self::new(Outcome::Trap, why)
    }

    /// The cause of an error of Wasmtime, with the guest's backtrace.
    pub fn of(outcome: Outcome, error: &wasmtime::Error) -> Self {
        Self {
            outcome,
            why: describe(error),
            backtrace: backtrace(error),
        }
    }

    fn refused(refused: Refused) -> Self {
        Self::new(Outcome::Memory, refused.to_string())
    }
}

/// The state of the guest could not be created.
impl From<StateError> for Cause {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Refused(refused) => Self::refused(refused),
            StateError::Grant(error) => Self::trap(error.to_string()),
        }
    }
}

impl GuestEnd {
    /// The end of a guest that took longer than its `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::Trap(Cause::new(Outcome::Timeout, took_longer(limit)))
    }

    /// The end of a guest whose connection was silent, in both directions, for longer than `limit`.
    pub fn silent(limit: Duration) -> Self {
        let why = format!(
            "no data was sent or received for {limit:?} (raise `idle-connection-timeout` if it may be silent for longer)"
        );
        Self::Trap(Cause::new(Outcome::Idle, why))
    }

    /// The end of a guest that sent more than `most` bytes.
    pub fn overran(most: u64) -> Self {
        Self::Trap(Cause::new(Outcome::Output, sent_more(most)))
    }

    /// The log level and the text of the log line.
    pub fn report(&self) -> (Level, Cow<'static, str>) {
        match self {
            Self::Exit(0) => (Level::Info, "served".into()),
            Self::Exit(code) => (Level::Warning, format!("failed with exit code {code}").into()),
            Self::Trap(cause) => (Level::Error, format!("ended: {}", cause.why).into()),
        }
    }

    /// Why it was ended; `None`: it ended by itself.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Exit(_) => None,
            Self::Trap(cause) => Some(cause),
        }
    }

    /// The kind of the end.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Exit(0) => Outcome::Ok,
            Self::Exit(_) => Outcome::Exit,
            Self::Trap(cause) => cause.outcome,
        }
    }
}

/// The guest exceeded its `cpu-time`.
#[derive(Debug, thiserror::Error)]
#[error("used more than {limit:?} of CPU time (raise `cpu-time` if it needs more)")]
pub struct CpuTimeExceeded {
    pub limit: Duration,
}

impl From<CpuTimeExceeded> for GuestEnd {
    fn from(exceeded: CpuTimeExceeded) -> Self {
        Self::Trap(Cause::new(Outcome::CpuTime, exceeded.to_string()))
    }
}

/// A request to an instance that answers several exceeded its `timeout`.
#[derive(Debug, thiserror::Error)]
#[error("one of its requests {}", took_longer(*limit))]
pub struct RequestTimedOut {
    pub limit: Duration,
}

/// An instance that answers several requests went on for longer than `timeout` after its answers.
#[derive(Debug, thiserror::Error)]
#[error("went on for more than {limit:?} after its answer (raise `timeout` if it needs more)")]
pub struct PostReturnTimedOut {
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
        return CpuTimeExceeded { ..*exceeded }.into();
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return GuestEnd::Trap(Cause::refused(*refused));
    }
    if error.is::<RequestTimedOut>() || error.is::<PostReturnTimedOut>() {
        return GuestEnd::Trap(Cause::of(Outcome::Timeout, &error));
    }
    GuestEnd::Trap(cause_of_trap(&error, store))
}

fn cause_of_trap(error: &wasmtime::Error, store: &Store<GuestState>) -> Cause {
    let mut cause = Cause::of(Outcome::Trap, error);
    let why = &cause.why;
    // The handles have filled its memory before a timer tick could count them.
    let ran_out_of_handles =
        why.contains("store handle limit exceeded") && store.max_component_handles() < MOST_HANDLES;
    let refused = match ran_out_of_handles {
        true => Some(Refused::Memory),
        false => store.data().budget.refused,
    };
    if let Some(refused) = refused {
        cause.why = format!("{refused}: {why}");
        cause.outcome = Outcome::Memory;
    } else if let Some(Trap::StackOverflow) = error.downcast_ref() {
        cause.why = format!("ran out of stack (raise `stack` in [host] if it needs more): {why}");
    }
    cause
}

/// The most functions of a backtrace in a log line, and the most that its record has: the innermost ones.
const MAX_FRAMES: usize = 4;
const MAX_RECORDED_FRAMES: usize = 32;

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

/// The functions that the guest was in, the innermost first; none if `error` does not come from a guest.
fn backtrace(error: &wasmtime::Error) -> Arc<[Frame]> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Arc::default();
    };
    let frames = backtrace.frames().iter().take(MAX_RECORDED_FRAMES);
    let frame = |frame: &FrameInfo| Frame {
        function: frame.func_name().map(|name| journal::shortened(name, MAX_NAME)),
        index: frame.func_index(),
        offset: frame.module_offset().and_then(|offset| u64::try_from(offset).ok()),
    };
    frames.map(frame).collect()
}
