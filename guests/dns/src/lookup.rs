//! Looks up a name in the zone (RFC 1034, section 4.3.2).

use domain::base::ToName;
use domain::base::iana::{Class, OptRcode, Rtype};
use domain::rdata::ZoneRecordData;

use crate::zone::{Name, Record, Zone};

/// The contents of a reply, apart from the question.
pub struct Answer {
    pub rcode: OptRcode,
    pub authoritative: bool,
    pub truncated: bool,
    pub answer: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
}

impl Answer {
    /// One without any records.
    pub fn new(rcode: OptRcode) -> Answer {
        Answer {
            rcode,
            authoritative: false,
            truncated: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    /// The reply instead of one that is too long: "ask again over TCP".
    pub fn cut_short(&self) -> Answer {
        Answer {
            authoritative: self.authoritative,
            truncated: true,
            ..Answer::new(self.rcode)
        }
    }
}

/// Finds the records of a type that a name has, and the aliases (CNAME) on the way to them.
///
/// The name must be one within the zone.
pub fn look_up(zone: &Zone, mut name: Name, wanted: Rtype) -> Answer {
    let mut answer = Answer::new(OptRcode::NOERROR);
    answer.authoritative = true;
    loop {
        if let Some(cut) = zone.delegation(&name, wanted) {
            refer(zone, cut, &mut answer);
            return answer;
        }
        let Some(records) = zone.find(&name) else {
            answer.rcode = OptRcode::NXDOMAIN;
            answer.authority.push(zone.negative_soa());
            return answer;
        };
        let found = of_type(records, wanted);
        if found.is_empty() {
            answer.authority.push(zone.negative_soa());
        }
        // Under the name that was asked for, also where a wildcard stands for it.
        answer.answer.extend(found.iter().map(|record| {
            Record::new(name.clone(), Class::IN, record.ttl(), record.data().clone())
        }));
        let Some(target) = alias(&found, wanted) else {
            return answer;
        };
        // The client has to ask about a target in another zone. A loop of aliases is not followed.
        let been_there = answer.answer.iter().any(|record| *record.owner() == target);
        if been_there || !target.ends_with(zone.apex()) {
            return answer;
        }
        name = target;
    }
}

/// Refers the client to the servers of a delegated part of the zone, with the addresses of those
/// that are in the zone themselves (glue).
fn refer(zone: &Zone, cut: &[Record], answer: &mut Answer) {
    // Unless an alias in the zone led here.
    answer.authoritative = !answer.answer.is_empty();
    for record in cut {
        let ZoneRecordData::Ns(server) = record.data() else {
            continue;
        };
        answer.authority.push(record.clone());
        let records = zone.at(server.nsdname()).unwrap_or_default();
        let addresses = records
            .iter()
            .filter(|record| matches!(record.rtype(), Rtype::A | Rtype::AAAA));
        answer.additional.extend(addresses.cloned());
    }
}

/// An alias stands for records of every type. When the client asks for ANY type, those of one are
/// enough (RFC 8482, section 4.1): all of them would serve an amplification attack.
fn of_type(records: &[Record], wanted: Rtype) -> Vec<&Record> {
    let rtype = match records.first().map(Record::rtype) {
        Some(first) if first == Rtype::CNAME || wanted == Rtype::ANY => first,
        _ => wanted,
    };
    let of_type = records.iter().filter(|record| record.rtype() == rtype);
    of_type.collect()
}

/// Where to continue, if an alias was found but not asked for.
fn alias(found: &[&Record], wanted: Rtype) -> Option<Name> {
    match found.first()?.data() {
        ZoneRecordData::Cname(alias) if !matches!(wanted, Rtype::CNAME | Rtype::ANY) => {
            Some(alias.cname().to_vec())
        }
        _ => None,
    }
}
