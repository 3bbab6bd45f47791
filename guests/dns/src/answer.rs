//! One message in, one message out: decides whether a query can be answered, and how long the
//! reply may be.

use domain::base::iana::{Class, Opcode, OptRcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::opt::{Opt, OptRecord};
use domain::base::wire::ParseError;
use domain::base::{Header, Message, MessageBuilder, StaticCompressor, ToName};

use crate::lookup::{Answer, look_up};
use crate::zone::Zone;

/// In bytes. What a client without EDNS accepts in a datagram (RFC 1035, section 4.2.1).
const MIN_DATAGRAM: u16 = 512;

/// In bytes. Longer datagrams may be fragmented, and fragments get lost and can be forged
/// (RFC 9715; the number is that of DNS Flag Day 2020).
const MAX_DATAGRAM: u16 = 1232;

pub enum Transport {
    Datagram,
    Stream,
}

type Edns<'a> = OptRecord<&'a [u8]>;

/// `None` if the message is not a query. It gets no reply, or two servers would reply to each
/// other's replies for ever.
///
/// Without a zone, queries are answered with SERVFAIL.
pub fn answer(zone: Option<&Zone>, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_octets(message).ok()?;
    if query.header().qr() {
        return None;
    }
    let (edns, answer) = match find_edns(&query) {
        Ok(edns) => {
            let answer = resolve(zone, &query, edns.as_ref());
            (edns, answer.unwrap_or_else(Answer::new))
        }
        Err(_) => (None, Answer::new(OptRcode::FORMERR)),
    };
    let limit = match (transport, &edns) {
        (Transport::Stream, _) => u16::MAX,
        (Transport::Datagram, None) => MIN_DATAGRAM,
        (Transport::Datagram, Some(edns)) => {
            edns.udp_payload_size().clamp(MIN_DATAGRAM, MAX_DATAGRAM)
        }
    };
    compose(&query, &edns, &answer, limit)
        .or_else(|_| compose(&query, &edns, &answer.cut_short(), limit))
        .ok()
}

/// The client's OPT record, of which there may be one at most (RFC 6891, section 6.1.1).
fn find_edns<'a>(query: &Message<&'a [u8]>) -> Result<Option<Edns<'a>>, ParseError> {
    let mut found = None;
    for record in query.additional()?.limit_to::<Opt<_>>() {
        let record = record?;
        if found.is_some() || !record.owner().is_root() {
            return Err(ParseError::form_error("unexpected OPT record"));
        }
        found = Some(OptRecord::from(record));
    }
    Ok(found)
}

fn resolve(
    zone: Option<&Zone>,
    query: &Message<&[u8]>,
    edns: Option<&Edns>,
) -> Result<Answer, OptRcode> {
    if query.header().opcode() != Opcode::QUERY {
        return Err(OptRcode::NOTIMP);
    }
    if edns.is_some_and(|edns| edns.version() != 0) {
        return Err(OptRcode::BADVERS);
    }
    let question = query.sole_question().map_err(|_| OptRcode::FORMERR)?;
    // Zone transfers are refused.
    let is_transfer = matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR);
    if question.qclass() != Class::IN || is_transfer {
        return Err(OptRcode::REFUSED);
    }
    let zone = zone.ok_or(OptRcode::SERVFAIL)?;
    let name = question.qname().to_vec();
    match name.ends_with(zone.apex()) {
        true => Ok(look_up(zone, name, question.qtype())),
        false => Err(OptRcode::REFUSED),
    }
}

/// Fails if the message would be longer than `limit` bytes.
fn compose(
    query: &Message<&[u8]>,
    edns: &Option<Edns>,
    answer: &Answer,
    limit: u16,
) -> Result<Vec<u8>, PushError> {
    let Ok(mut message) = MessageBuilder::from_target(StaticCompressor::new(Vec::new()));
    // The builder's limit is the first length that is too long.
    message.set_push_limit(usize::from(limit) + 1);
    *message.header_mut() = reply_header(query.header(), answer);

    let mut message = message.question();
    if let Ok(question) = query.sole_question() {
        message.push(question)?;
    }
    let mut message = message.answer();
    for record in &answer.answer {
        message.push(record)?;
    }
    let mut message = message.authority();
    for record in &answer.authority {
        message.push(record)?;
    }
    let mut message = message.additional();
    for record in &answer.additional {
        message.push(record)?;
    }
    if let Some(edns) = edns {
        message.opt(|opt| {
            opt.set_rcode(answer.rcode);
            opt.set_udp_payload_size(MAX_DATAGRAM);
            opt.set_dnssec_ok(edns.dnssec_ok());
            Ok(())
        })?;
    }
    Ok(message.finish().into_target())
}

fn reply_header(query: Header, answer: &Answer) -> Header {
    let mut header = Header::new();
    header.set_id(query.id());
    header.set_qr(true);
    header.set_opcode(query.opcode());
    header.set_aa(answer.authoritative);
    header.set_tc(answer.truncated);
    header.set_rd(query.rd());
    header.set_rcode(answer.rcode.rcode());
    header
}
