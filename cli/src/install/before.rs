//! What is there before the change: other handlers, units, addresses that are taken.

use super::checks::{ports, units as known};
use super::module::Module;
use super::plan::Request;
use super::units;
use wasm_sock_config::{Config, HandlerConfig, Listen, ListenKind};
use wasm_sock_units::Unit;

/// The state before the change.
pub struct Before {
    /// All handlers.
    pub config: Config,
    /// The units of this one, as they were and as they will be.
    pub units: Vec<Unit>,
    pub new_units: Vec<Unit>,
    /// The sockets and this handler's units, as systemd knows them.
    known: Vec<known::Unit>,
}

impl Before {
    /// Asks systemd. `config` has all handlers as they are, `new` is how this one will be.
    ///
    /// # Errors
    /// When systemd does not answer, or no unit can have such a name.
    pub fn ask(request: &Request<'_>, config: Config, new: &HandlerConfig) -> Result<Self, String> {
        let former = config.handlers.get(request.name);
        let is_user = request.scope.systemd.user;
        let former = former.map(|former| units::of(request.name, former, is_user));
        // Where no unit can have such a name, there are none.
        let units = former.and_then(Result::ok).unwrap_or_default();
        let new_units = units::of(request.name, new, is_user)?;
        let started = units::started(&units).chain(units::started(&new_units));
        let mut names: Vec<String> = started.map(|unit| unit.name.clone()).collect();
        names.push("*.socket".to_owned());
        names.sort();
        names.dedup();
        let known = known::units(&request.scope.systemd, &names)?;
        Ok(Self {
            config,
            units,
            new_units,
            known,
        })
    }

    /// What concerns addresses and units.
    pub fn problems(&self, name: &str, config: &HandlerConfig, module: Option<&Module>) -> Vec<String> {
        let mut problems = Vec::new();
        if config.enabled && config.listen.is_empty() && config.schedule.calendar.is_empty() {
            problems.push("it has no address (give it one: --listen 7000; or a --schedule)".to_owned());
        }
        for unit in units::started(&self.new_units) {
            let known = self.known.iter().find(|known| known.name == unit.name);
            if let Some(known) = known.filter(|known| known.is_by_hand()) {
                problems.push(match known.is_masked {
                    true => format!("{0} is masked (systemctl unmask {0}; or choose another --name)", unit.name),
                    false => format!(
                        "{}: a unit that people wrote; systemd takes it and not `listen` (remove it, or choose another \
                         --name)",
                        known.file.display()
                    ),
                });
            }
        }
        if !config.enabled {
            return problems;
        }
        let former = self.config.handlers.get(name).filter(|former| former.enabled);
        for listen in &config.listen {
            if module.is_some_and(|module| module.is_http) && !is_stream(listen.kind) {
                problems.push(format!(
                    "listen {listen}: the module answers HTTP, which needs a stream (as --listen 8080)"
                ));
            }
            let has_it =
                |former: &HandlerConfig| former.listen.iter().any(|old| old.canonical() == listen.canonical());
            if !former.is_some_and(has_it) {
                problems.extend(self.obstacle(name, listen, config));
            }
        }
        problems
    }

    /// Why a new address cannot be listened at.
    fn obstacle(&self, name: &str, listen: &Listen, config: &HandlerConfig) -> Option<String> {
        let mut all = self.config.clone();
        all.handlers.insert(name.to_owned(), config.clone());
        let clashes = all.clashes();
        let is_new = |handler: &str, other: &Listen| handler == name && other == listen;
        let others = clashes.iter().find_map(|clash| {
            if is_new(clash.handler, clash.listen) {
                return Some(clash.winner);
            }
            is_new(clash.winner, clash.winners).then_some(clash.handler)
        });
        let choose = "choose another address";
        if let Some(other) = others {
            return Some(format!(
                "listen {listen}: handler {other:?} has this address ({choose})"
            ));
        }
        let processes = match ports::obstacle(listen, config)? {
            ports::Obstacle::Other(why) => return Some(format!("listen {listen}: {why}")),
            ports::Obstacle::Taken(processes) => processes,
        };
        if let Some(unit) = known::listening_at(listen, &self.known) {
            // This handler's former address, such as 7000 where the new one is 127.0.0.1:7000.
            let is_own = self.units.iter().any(|own| own.name == unit.name);
            let how = format!("systemctl stop {}, or {choose}", unit.name);
            return (!is_own).then(|| format!("listen {listen}: {} has this address ({how})", unit.name));
        }
        let holders: Vec<String> = processes
            .iter()
            .map(|p| format!("{} (process {})", p.name, p.pid))
            .collect();
        Some(match holders.as_slice() {
            [] => format!("listen {listen}: a process of another user has this address ({choose})"),
            holders => format!(
                "listen {listen}: {} has this address (end it, or {choose})",
                holders.join(", ")
            ),
        })
    }

    /// Is a unit active?
    pub fn is_active(&self, unit: &str) -> bool {
        self.known.iter().any(|known| known.name == unit && known.is_active)
    }
}

fn is_stream(kind: ListenKind) -> bool {
    matches!(kind, ListenKind::Tcp | ListenKind::Unix | ListenKind::Vsock)
}
