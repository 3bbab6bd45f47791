//! The settings that make a handler a service: `listen`, `socket`, `process`, `enabled`, `schedule`.

#[cfg(test)]
mod tests;

use std::mem;

use super::super::checker::{Checker, Key, Value};
use super::super::error::quoted;
use super::super::handler::{HandlerConfig, Logging, Process, Schedule, SocketOptions};
use super::super::listen::{Listen, clashing};
use super::super::value;
use super::SOCKET;

impl Checker<'_> {
    /// Reads `key` if units are made of it; returns whether they are.
    pub(super) fn service(&mut self, key: &Key<'_>, value: &Value<'_>, handler: &mut HandlerConfig) -> bool {
        let before = self.mistakes();
        match key.get_ref().as_ref() {
            "listen" => {
                self.listen(key, value, handler);
                return true;
            }
            "socket" => self.socket(key, value, &mut handler.socket),
            "process" => self.set(&mut handler.process, key, value, value::process),
            "enabled" => self.set(&mut handler.enabled, key, value, value::boolean),
            _ if self.schedule(key, value, &mut handler.schedule) => {
                handler.schedule.has_mistake |= self.mistakes() > before;
                return true;
            }
            _ => return false,
        }
        handler.has_unit_mistake |= self.mistakes() > before;
        true
    }

    /// A wrong address does not take the other ones their sockets; but units are named after the first.
    fn listen(&mut self, key: &Key<'_>, value: &Value<'_>, handler: &mut HandlerConfig) {
        for (index, (value, address)) in self.one_or_more(key, value, value::listen).into_iter().enumerate() {
            if index == value::MAX_ADDRESSES {
                let message = format!("more than {index} addresses (give some to another handler)");
                self.wrong(key, value, &message);
                return;
            }
            handler.has_unit_mistake |= index == 0 && address.is_none();
            handler.listen.extend(address);
        }
    }

    fn schedule(&mut self, key: &Key<'_>, value: &Value<'_>, schedule: &mut Schedule) -> bool {
        match key.get_ref().as_ref() {
            "schedule" => {
                let events = self.one_or_more(key, value, value::calendar);
                schedule.calendar = events.into_iter().filter_map(|(_, event)| event).collect();
            }
            "schedule-jitter" => self.set(&mut schedule.jitter, key, value, value::duration),
            "schedule-persistent" => self.set(&mut schedule.persistent, key, value, value::boolean),
            "schedule-path" => self.set(&mut schedule.path, key, value, value::request_path),
            "schedule-input" => {
                self.set(&mut schedule.input, key, value, |v| value::absolute_path(v).map(Some));
            }
            _ => return false,
        }
        true
    }

    fn socket(&mut self, key: &Key<'_>, value: &Value<'_>, socket: &mut SocketOptions) {
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "user" => self.set(&mut socket.user, key, value, value::user),
                "group" => self.set(&mut socket.group, key, value, value::user),
                "mode" => self.set(&mut socket.mode, key, value, value::mode),
                "directory-mode" => self.set(&mut socket.directory_mode, key, value, value::mode),
                "backlog" => self.set(&mut socket.backlog, key, value, |v| value::count(v).map(Some)),
                "interface" => self.set(&mut socket.interface, key, value, value::interface),
                "free-bind" => self.set(&mut socket.free_bind, key, value, |v| value::boolean(v).map(Some)),
                "no-delay" => self.set(&mut socket.no_delay, key, value, |v| value::boolean(v).map(Some)),
                "ipv6-only" => self.set(&mut socket.ipv6_only, key, value, |v| value::boolean(v).map(Some)),
                "keep-alive" => self.set(&mut socket.keep_alive, key, value, |v| value::boolean(v).map(Some)),
                "symlinks" => socket.symlinks = self.list(key, value, value::unit_path),
                _ => self.unknown_of_socket(key),
            }
        }
    }

    /// systemd.socket(5) has fifty settings; those that few need are set in its own way.
    fn unknown_of_socket(&mut self, key: &Key<'_>) {
        let drop_in = "for others of systemd.socket(5) use a drop-in: systemctl edit wasm-sock@NAME.socket";
        self.unknown_with(key, SOCKET, &format!("; {drop_in}"));
    }

    /// What no setting shows alone: sockets that exclude each other, or that the process cannot serve.
    pub(super) fn sockets(&mut self, own: &Key<'_>, table: &Value<'_>, handler: &mut HandlerConfig) {
        let Some(table) = table.get_ref().as_table() else {
            return;
        };
        if let Some((key, value)) = table.get_key_value("listen") {
            let mut addresses: Vec<Listen> = Vec::new();
            for address in mem::take(&mut handler.listen) {
                let earlier = addresses.iter();
                let mut same = earlier.filter(|earlier| clashing((handler, earlier), (handler, &address)));
                let Some(earlier) = same.next() else {
                    addresses.push(address);
                    continue;
                };
                let (address, earlier) = (quoted(&address.to_string()), quoted(&earlier.to_string()));
                let message = format!("{address} is taken by {earlier} already (remove one)");
                self.wrong(key, value, &message);
            }
            handler.listen = addresses;
        }
        let before = self.mistakes();
        if let Some((key, value)) = table.get_key_value("process")
            && handler.process == Process::Connection
            && let Some(datagrams) = handler.listen.iter().find(|address| address.is_datagram())
        {
            let datagrams = quoted(&datagrams.to_string());
            let message = format!(
                "cannot be \"connection\" with {datagrams}: datagrams have no connection (allowed: \"own\", \"shared\", \
                 or another handler for these addresses)"
            );
            self.wrong(key, value, &message);
        }
        let paths = handler.listen.iter().filter(|address| address.path().is_some()).count();
        if !handler.socket.symlinks.is_empty() && paths != 1 {
            let message = format!(
                "symlinks lead to the one Unix socket of a handler; {} has {paths} in the file system (give others to \
                 another handler)",
                quoted(own.get_ref())
            );
            let (key, value) = table.get_key_value("socket").expect("symlinks are in it");
            self.wrong(key, value, &message);
        }
        handler.has_unit_mistake |= self.mistakes() > before;
    }

    /// Reads `log` and `log-sample`; returns whether `key` is one of them.
    pub(super) fn logging(&mut self, key: &Key<'_>, value: &Value<'_>, logging: &mut Logging) -> bool {
        match key.get_ref().as_ref() {
            "log" => self.set(&mut logging.which, key, value, value::logged),
            "log-sample" => self.set(&mut logging.sample, key, value, value::count),
            _ => return false,
        }
        true
    }
}
