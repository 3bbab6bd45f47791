//! Admitting a connection or a datagram, or waiting until it may be.

use super::slots::ConnectionSlot;
use super::sources::Counted;
use crate::journal::{self, Level};
use crate::serve::handler::Handler;
use crate::serve::shared::Shared;
use std::fmt::Display;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// How long accepting rests when it does not work, as when the system has no descriptors left.
pub const BACK_OFF: Duration = Duration::from_millis(100);

/// How often clients that have to wait are worth a line in the log.
const REPORT: Duration = Duration::from_secs(60);

/// What an admitted connection holds while it lasts.
pub struct Admitted {
    _slots: [ConnectionSlot; 2],
    _descriptors: OwnedSemaphorePermit,
    /// Counts it among those of its source, once that is known.
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
        // Nobody has a slot while nobody pendings.
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

/// The same, if there is no need to wait for it.
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

/// Why a socket is not served for now, told now and then.
#[derive(Default)]
pub struct AcceptWarnings {
    reported: Option<Instant>,
}

impl AcceptWarnings {
    pub fn report(&mut self, handler: &Handler, why: &dyn Display) {
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT) {
            return;
        }
        self.reported = Some(Instant::now());
        let message = format!(
            "not accepting: {why}; pending clients stay queued (LimitNOFILE= in the service bounds descriptors)"
        );
        journal::log_handler(Level::Warning, &handler.name, message);
    }
}
