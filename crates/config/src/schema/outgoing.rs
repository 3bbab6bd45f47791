//! The table `outbound` of a handler.

use super::super::checker::{Checker, Key, Value};
use super::super::outgoing::OutboundLimits;
use super::super::settings::{self, keys};
use super::super::value;
use super::Keys;

pub(super) const OUTBOUND: Keys = &keys::<{ settings::OUTBOUND.len() }>(settings::OUTBOUND);

impl Checker<'_> {
    pub(super) fn outbound_limits(&mut self, key: &Key<'_>, value: &Value<'_>, limits: &mut OutboundLimits) {
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "connect-timeout" => {
                    self.set(&mut limits.connect_timeout, key, value, value::answer_timeout);
                }
                "first-byte-timeout" => {
                    self.set(&mut limits.first_byte_timeout, key, value, value::answer_timeout);
                }
                "idle-timeout" => self.set(&mut limits.idle_timeout, key, value, value::answer_timeout),
                "max-requests" => self.set(&mut limits.max_requests, key, value, value::count),
                "max-body" => self.set(&mut limits.max_body, key, value, value::size_bound),
                "max-head" => self.set(&mut limits.max_head, key, value, value::max_head),
                _ => self.unknown(key, OUTBOUND),
            }
        }
    }
}
