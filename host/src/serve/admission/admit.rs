//! Acquires what a connection or a datagram needs (connection slots, descriptors), or waits until that is free.

use super::slots::ConnectionSlot;
use super::sources::Counted;
use crate::journal::{self, Level};
use crate::serve::handler::Handler;
use crate::serve::shared::Shared;
use std::fmt::Display;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// How long an accept loop pauses after an error that may persist, as when the system has no descriptors left.
pub const BACK_OFF: Duration = Duration::from_millis(100);

/// The shortest time between two warnings of one socket.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What an admitted connection or datagram holds until it ends.
pub struct Admitted {
    _slots: [ConnectionSlot; 2],
    _descriptors: OwnedSemaphorePermit,
    /// Counts it for its source, once that is known.
    pub counted: Option<Counted>,
}

impl Admitted {
    fn new(slots: [ConnectionSlot; 2], descriptors: OwnedSemaphorePermit) -> Self {
        Self {
            _slots: slots,
            _descriptors: descriptors,
            counted: None,
        }
    }
}

/// Acquires what one more connection needs. At the limit, waits for a `pending` client and then for a slot, for which
/// an idle connection is asked to close. `None` never happens: the semaphores are never closed.
pub async fn admit(
    shared: &Shared,
    handler: &Handler,
    warnings: &mut AcceptWarnings,
    pending: impl Future<Output = ()>,
) -> Option<Admitted> {
    let slots = match try_slots(shared, handler) {
        Some(slots) => slots,
        // No slot is held while no client is pending.
        None => {
            pending.await;
            [handler.slots.take().await?, shared.slots.take().await?]
        }
    };
    let descriptors = match try_descriptors(shared, handler) {
        Some(descriptors) => descriptors,
        None => {
            warnings.report(handler, &"all descriptors are in use");
            let descriptors = shared.descriptors.clone();
            let needed = descriptors_needed(shared, handler);
            descriptors.acquire_many_owned(needed).await.ok()?
        }
    };
    Some(Admitted::new(slots, descriptors))
}

/// Acquires the same without waiting. `None`: it is not free.
pub fn try_admit(shared: &Shared, handler: &Handler) -> Option<Admitted> {
    let slots = try_slots(shared, handler)?;
    Some(Admitted::new(slots, try_descriptors(shared, handler)?))
}

fn try_slots(shared: &Shared, handler: &Handler) -> Option<[ConnectionSlot; 2]> {
    Some([handler.slots.try_take()?, shared.slots.try_take()?])
}

fn try_descriptors(shared: &Shared, handler: &Handler) -> Option<OwnedSemaphorePermit> {
    let needed = descriptors_needed(shared, handler);
    let descriptors = shared.descriptors.clone();
    descriptors.try_acquire_many_owned(needed).ok()
}

fn descriptors_needed(shared: &Shared, handler: &Handler) -> u32 {
    handler.config.descriptors().min(shared.descriptor_limit) as u32
}

/// Rate-limited warnings of one socket: why no client is accepted at the moment.
#[derive(Default)]
pub struct AcceptWarnings {
    reported: Option<Instant>,
}

impl AcceptWarnings {
    /// Logs `why`, unless a warning was logged within [`WARNING_INTERVAL`].
    pub fn report(&mut self, handler: &Handler, why: &dyn Display) {
        if self
            .reported
            .is_some_and(|reported| reported.elapsed() < WARNING_INTERVAL)
        {
            return;
        }
        self.reported = Some(Instant::now());
        let message = format!(
            "not accepting: {why}; pending clients stay queued (LimitNOFILE= in the service bounds descriptors)"
        );
        journal::log_handler(Level::Warning, &handler.name, message);
    }
}
