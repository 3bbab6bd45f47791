//! The zone, from its file (RFC 1035, section 5).

use std::collections::HashMap;
use std::fs;

use domain::base::iana::Rtype;
use domain::base::name::RelativeName;
use domain::base::{self, ToName};
use domain::rdata::ZoneRecordData;

use crate::zonefile;

pub type Name = base::Name<Vec<u8>>;
pub type Data = ZoneRecordData<Vec<u8>, Name>;
pub type Record = base::Record<Name, Data>;

pub struct Zone {
    soa: Record,
    /// A name that is not in here does not exist. A name that only has names below it exists,
    /// without records (RFC 4592, section 2.2.2).
    names: HashMap<Name, Vec<Record>>,
}

impl Zone {
    /// The error is a line for the log: the file, the line in it, and the mistake.
    pub fn load(path: &str) -> Result<Zone, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        Zone::parse(&text).map_err(|error| format!("{path}:{error}"))
    }

    pub fn parse(text: &str) -> Result<Zone, String> {
        let mut records = zonefile::read(text)?.into_iter();
        let (line, soa) = records.next().ok_or("1: there are no records")?;
        let mut zone = Zone::begin(soa).map_err(|error| format!("{line}: {error}"))?;
        for (line, record) in records {
            let added = zone.add(record);
            added.map_err(|error| format!("{line}: {error}"))?;
        }
        Ok(zone)
    }

    fn begin(soa: Record) -> Result<Zone, &'static str> {
        if soa.rtype() != Rtype::SOA {
            return Err("the first record must be the SOA of the zone");
        }
        let names = HashMap::from([(soa.owner().clone(), vec![soa.clone()])]);
        Ok(Zone { soa, names })
    }

    fn add(&mut self, record: Record) -> Result<(), &'static str> {
        let apex = self.soa.owner();
        if !record.owner().ends_with(apex) {
            return Err("this name is not in the zone");
        }
        if record.rtype() == Rtype::SOA {
            return Err("a zone has one SOA only");
        }
        let names = record.owner().iter_suffixes();
        for name in names.take_while(|name| name != apex).skip(1) {
            self.names.entry(name.to_vec()).or_default();
        }
        let records = self.names.entry(record.owner().clone()).or_default();
        let has_alias = records.iter().any(|other| other.rtype() == Rtype::CNAME);
        if has_alias || (record.rtype() == Rtype::CNAME && !records.is_empty()) {
            return Err("a name with a CNAME can have no other records");
        }
        records.push(record);
        Ok(())
    }

    /// The name of the zone itself.
    pub fn apex(&self) -> &Name {
        self.soa.owner()
    }

    /// The SOA for a negative answer. Its TTL is how long that may be cached (RFC 2308,
    /// section 3).
    pub fn negative_soa(&self) -> Record {
        let mut soa = self.soa.clone();
        if let ZoneRecordData::Soa(data) = soa.data() {
            soa.set_ttl(data.minimum().min(soa.ttl()));
        }
        soa
    }

    /// The records of a name, or of the wildcard that stands for it. `None` if there is no such
    /// name.
    pub fn find(&self, name: &Name) -> Option<&[Record]> {
        self.at(name).or_else(|| self.wildcard(name))
    }

    /// The records of the name itself. `None` if there is no such name.
    pub fn at(&self, name: &Name) -> Option<&[Record]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// The records under `*` where the path to the name ends in this zone (RFC 4592, section
    /// 3.3.1).
    fn wildcard(&self, name: &Name) -> Option<&[Record]> {
        let mut ancestors = name.iter_suffixes().skip(1);
        let encloser = ancestors.find(|ancestor| self.names.contains_key(ancestor.for_slice()))?;
        let wildcard = RelativeName::wildcard_ref().chain(encloser);
        self.at(&wildcard.ok()?.to_vec())
    }

    /// The records of the name at or above this one whose NS records delegate it to other servers.
    ///
    /// DS records are about the delegation, and stay on this side of it (RFC 4035, section 3.1.4.1).
    pub fn delegation(&self, name: &Name, wanted: Rtype) -> Option<&[Record]> {
        let below_apex = name.iter_suffixes().take_while(|name| name != self.apex());
        below_apex
            .skip(usize::from(wanted == Rtype::DS))
            .filter_map(|name| self.names.get(name.for_slice()))
            .filter(|records| records.iter().any(|record| record.rtype() == Rtype::NS))
            .map(Vec::as_slice)
            .last()
    }
}
