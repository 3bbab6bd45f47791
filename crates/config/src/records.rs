//! Handlers packed one after the other, so that reading one of a thousand costs as much as one.

use super::{Config, HandlerConfig, Http, Limits};
use serde::{Deserialize, Deserializer, Serialize};

/// The `[handler.NAME]` tables of a configuration, sorted by name.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Records {
    /// Where each record starts.
    starts: Vec<u32>,
    #[serde(deserialize_with = "bytes")]
    bytes: Vec<u8>,
}

/// What a handler's name is followed by. Most have all limits from the defaults.
type Record<Handler> = (Option<Limits>, Option<Http>, Handler);

/// A decoded `Records` comes from this very program, and a checksum tells that nothing was changed.
const INTACT: &str = "a record that this program wrote";

impl Records {
    /// `None`: one of them has a path that is not UTF-8.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let mut records = Records::default();
        for (name, handler) in &config.handlers {
            let limits = (handler.limits != config.defaults).then_some(handler.limits);
            let http = (handler.http != config.http).then_some(handler.http);
            let record: (_, Record<&HandlerConfig>) = (name, (limits, http, handler));
            records.starts.push(u32::try_from(records.bytes.len()).ok()?);
            records.bytes = postcard::to_extend(&record, records.bytes).ok()?;
        }
        Some(records)
    }

    /// The handler of that name, if there is one. `config` has the defaults.
    pub(super) fn handler(&self, name: &str, config: &Config) -> Option<HandlerConfig> {
        let found = self.starts.binary_search_by(|&at| self.split(at).0.cmp(name));
        let (_, record) = self.split(self.starts[found.ok()?]);
        let record: (Record<HandlerConfig>, &[u8]) = postcard::take_from_bytes(record).expect(INTACT);
        let (limits, http, handler) = record.0;
        Some(HandlerConfig {
            limits: limits.unwrap_or(config.defaults),
            http: http.unwrap_or(config.http),
            ..handler
        })
    }

    /// The name of the record that starts there, and what follows it.
    fn split(&self, start: u32) -> (&str, &[u8]) {
        postcard::take_from_bytes(&self.bytes[start as usize..]).expect(INTACT)
    }
}

/// All at once; serde would take one after the other.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    <&[u8]>::deserialize(deserializer).map(Vec::from)
}
