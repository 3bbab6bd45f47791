use domain::base::iana::{Class, Opcode, OptRcode, Rtype};
use domain::base::message_builder::AdditionalBuilder;
use domain::base::{Message, MessageBuilder, Name, ParsedName};
use domain::rdata::AllRecordData;

use crate::answer::{Transport, answer};
use crate::serve_stream;
use crate::zone::Zone;

const EXAMPLE: &str = include_str!("../example.zone");

/// The answer "no" in the zone of [`zone`]; with the TTL that says how long it is valid.
const SOA: &str = "x. 5 IN SOA ns.x. admin.x. 1 2 3 4 5";

/// The zone `x` with these records.
fn zone(records: &str) -> Zone {
    let apex = "$ORIGIN x.\n$TTL 60\n@ SOA ns admin 1 2 3 4 5\n  NS ns.y.\n";
    Zone::parse(&format!("{apex}{records}")).unwrap()
}

type Query = AdditionalBuilder<Vec<u8>>;

fn query(name: &str, rtype: Rtype) -> Query {
    query_of_class(name, rtype, Class::IN)
}

fn query_of_class(name: &str, rtype: Rtype, class: Class) -> Query {
    let mut query = MessageBuilder::new_vec().question();
    query.header_mut().set_id(0xabcd);
    let name: Name<Vec<u8>> = name.parse().unwrap();
    query.push((name, rtype, class)).unwrap();
    query.additional()
}

fn with_edns(mut query: Query, size: u16, version: u8) -> Query {
    let built = query.opt(|opt| {
        opt.set_udp_payload_size(size);
        opt.set_version(version);
        opt.set_dnssec_ok(true);
        Ok(())
    });
    built.unwrap();
    query
}

/// The reply to a datagram.
fn reply(zone: &Zone, query: Query) -> Message<Vec<u8>> {
    let reply = answer(Some(zone), &query.finish(), Transport::Datagram);
    Message::from_octets(reply.expect("a reply")).unwrap()
}

/// The reply to a question in a datagram, as text.
fn ask(zone: &Zone, name: &str, rtype: Rtype) -> String {
    describe(&reply(zone, query(name, rtype)))
}

/// The status, the flags and the records of a reply: `NOERROR aa | Answer x. 60 IN A 192.0.2.1`.
fn describe(reply: &Message<Vec<u8>>) -> String {
    let mut text = reply.opt_rcode().to_string();
    let header = reply.header();
    for (is_set, flag) in [(header.aa(), " aa"), (header.tc(), " tc")] {
        text += if is_set { flag } else { "" };
    }
    for item in reply.iter() {
        let (record, section) = item.unwrap();
        let record = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
        let record = record.unwrap();
        if record.rtype() != Rtype::OPT {
            text += &format!(" | {section:?} {record}");
        }
    }
    text
}

#[test]
fn a_reply_belongs_to_its_query() {
    let zone = zone("a A 192.0.2.1");
    for is_set in [false, true] {
        let mut query = query("A.x", Rtype::A);
        query.header_mut().set_rd(is_set);
        let reply = reply(&zone, query);
        let header = reply.header();
        assert_eq!((header.id(), header.rd()), (0xabcd, is_set));
        assert!(header.qr() && !header.ra());
        let question = reply.sole_question().unwrap();
        assert_eq!(question.qname().to_string(), "A.x");
    }
}

#[test]
fn records_are_found_by_name_in_any_case_and_by_type() {
    let zone = zone("WwW A 192.0.2.1\nwww A 192.0.2.2\nwww AAAA 2001:db8::1");
    assert_eq!(
        ask(&zone, "wWw.X", Rtype::A),
        "NOERROR aa | Answer wWw.X. 60 IN A 192.0.2.1 | Answer wWw.X. 60 IN A 192.0.2.2"
    );
    assert_eq!(
        ask(&zone, "www.x", Rtype::AAAA),
        "NOERROR aa | Answer www.x. 60 IN AAAA 2001:db8::1"
    );
}

#[test]
fn who_wants_any_type_gets_one() {
    let zone = zone("a TXT b\na A 192.0.2.1\na TXT c");
    let one = "NOERROR aa | Answer a.x. 60 IN TXT \"b\" | Answer a.x. 60 IN TXT \"c\"";
    assert_eq!(ask(&zone, "a.x", Rtype::ANY), one);
}

#[test]
fn no_such_name_and_no_such_record_are_two_answers() {
    let zone = zone("a.b A 192.0.2.1");
    let no_name = format!("NXDOMAIN aa | Authority {SOA}");
    let no_record = format!("NOERROR aa | Authority {SOA}");
    for name in ["c.x", "aa.b.x", "c.a.b.x", "b.b.x"] {
        assert_eq!(ask(&zone, name, Rtype::A), no_name, "for {name}");
    }
    // A name that only has names under it exists too.
    for name in ["a.b.x", "b.x", "x"] {
        assert_eq!(
            ask(&zone, name, Rtype::from_int(65400)),
            no_record,
            "for {name}"
        );
    }
}

#[test]
fn an_alias_is_followed_as_far_as_the_zone_goes() {
    let zone = zone(
        "a CNAME b\nb CNAME c\nc A 192.0.2.1\nout CNAME www.y.\ndead CNAME none\n\
         round CNAME about\nabout CNAME round",
    );
    let alias = |from, to| format!(" | Answer {from}.x. 60 IN CNAME {to}.");
    let (a, b) = (alias("a", "b.x"), alias("b", "c.x"));
    let c = " | Answer c.x. 60 IN A 192.0.2.1";
    assert_eq!(ask(&zone, "a.x", Rtype::A), format!("NOERROR aa{a}{b}{c}"));
    assert_eq!(ask(&zone, "a.x", Rtype::CNAME), format!("NOERROR aa{a}"));
    assert_eq!(ask(&zone, "a.x", Rtype::ANY), format!("NOERROR aa{a}"));
    let no_record = format!("NOERROR aa{a}{b} | Authority {SOA}");
    assert_eq!(ask(&zone, "a.x", Rtype::TXT), no_record);
    let out = alias("out", "www.y");
    assert_eq!(ask(&zone, "out.x", Rtype::A), format!("NOERROR aa{out}"));
    let no_name = format!("NXDOMAIN aa{} | Authority {SOA}", alias("dead", "none.x"));
    assert_eq!(ask(&zone, "dead.x", Rtype::A), no_name);
    let (round, about) = (alias("round", "about.x"), alias("about", "round.x"));
    assert_eq!(
        ask(&zone, "round.x", Rtype::A),
        format!("NOERROR aa{round}{about}")
    );
}

#[test]
fn a_wildcard_stands_for_names_that_do_not_exist() {
    let zone = zone("*.w A 192.0.2.1\nhere.w TXT a\n*.c CNAME www.y.");
    for name in ["a.w.x", "a.b.w.x", "*.w.x"] {
        let found = format!("NOERROR aa | Answer {name}. 60 IN A 192.0.2.1");
        assert_eq!(ask(&zone, name, Rtype::A), found);
    }
    for (name, status) in [
        ("here.w.x", "NOERROR"),
        ("w.x", "NOERROR"),
        ("a.here.w.x", "NXDOMAIN"),
    ] {
        let negative = format!("{status} aa | Authority {SOA}");
        assert_eq!(ask(&zone, name, Rtype::A), negative, "for {name}");
    }
    assert_eq!(
        ask(&zone, "a.c.x", Rtype::A),
        "NOERROR aa | Answer a.c.x. 60 IN CNAME www.y."
    );
}

#[test]
fn what_is_delegated_is_for_another_server_to_answer() {
    let zone = zone("d NS ns.d\nd NS ns.y.\nns.d A 192.0.2.1\nns.d TXT a\nto CNAME a.d");
    let servers = "| Authority d.x. 60 IN NS ns.d.x. | Authority d.x. 60 IN NS ns.y. \
                   | Additional ns.d.x. 60 IN A 192.0.2.1";
    for name in ["d.x", "a.d.x", "ns.d.x"] {
        assert_eq!(ask(&zone, name, Rtype::A), format!("NOERROR {servers}"));
    }
    assert_eq!(
        ask(&zone, "to.x", Rtype::A),
        format!("NOERROR aa | Answer to.x. 60 IN CNAME a.d.x. {servers}")
    );
    let negative = format!("NOERROR aa | Authority {SOA}");
    assert_eq!(ask(&zone, "d.x", Rtype::DS), negative);
    assert_eq!(ask(&zone, "x", Rtype::DS), negative);
}

#[test]
fn what_is_not_for_this_server_is_refused() {
    let zone = zone("www A 192.0.2.1");
    for name in ["y", ".", "xx", "x.y"] {
        assert_eq!(ask(&zone, name, Rtype::A), "REFUSED", "for {name}");
    }
    for class in [Class::CH, Class::ANY] {
        let query = query_of_class("www.x", Rtype::A, class);
        assert_eq!(describe(&reply(&zone, query)), "REFUSED", "for {class}");
    }
    for rtype in [Rtype::AXFR, Rtype::IXFR] {
        assert_eq!(ask(&zone, "x", rtype), "REFUSED", "for {rtype}");
    }
}

#[test]
fn other_operations_are_not_implemented() {
    for opcode in 1..16 {
        let mut query = with_edns(query("x", Rtype::SOA), 1232, 0);
        query.header_mut().set_opcode(Opcode::from_int(opcode));
        let reply = reply(&zone(""), query);
        assert_eq!(describe(&reply), "NOTIMP");
        assert_eq!(reply.header().opcode(), Opcode::from_int(opcode));
        assert!(reply.opt().is_some());
    }
}

#[test]
fn without_a_zone_the_server_has_failed() {
    let query = query("x", Rtype::A).finish();
    let reply = answer(None, &query, Transport::Datagram).unwrap();
    assert_eq!(describe(&Message::from_octets(reply).unwrap()), "SERVFAIL");
}

#[test]
fn what_is_no_query_gets_no_reply() {
    let zone = zone("");
    let mut response = query("x", Rtype::A);
    response.header_mut().set_qr(true);
    for message in [b"".as_slice(), b"\0", &[0; 11], &response.finish()] {
        assert!(answer(Some(&zone), message, Transport::Datagram).is_none());
    }
}

#[test]
fn a_query_has_one_question_and_at_most_one_opt_record() {
    let zone = zone("");
    let mut two = query("x", Rtype::A).question();
    for name in ["x", "a.x"] {
        let name: Name<Vec<u8>> = name.parse().unwrap();
        two.push((name, Rtype::A)).unwrap();
    }
    let none = MessageBuilder::new_vec().additional();
    let two_opts = with_edns(with_edns(query("x", Rtype::A), 512, 0), 512, 0);
    for query in [none, two.additional(), two_opts] {
        assert_eq!(describe(&reply(&zone, query)), "FORMERR");
    }
}

#[test]
fn a_malformed_query_is_told_so() {
    let whole = with_edns(query("www.x", Rtype::A), 512, 0).finish();
    for length in 12..whole.len() {
        let reply = answer(Some(&zone("")), &whole[..length], Transport::Datagram);
        let reply = Message::from_octets(reply.unwrap()).unwrap();
        assert_eq!(describe(&reply), "FORMERR", "after {length} bytes");
    }
}

#[test]
fn edns_is_answered_with_edns_and_only_then() {
    let zone = zone("");
    assert!(reply(&zone, query("x", Rtype::SOA)).opt().is_none());

    let known = reply(&zone, with_edns(query("x", Rtype::SOA), 4096, 0));
    let edns = known.opt().unwrap();
    assert_eq!((edns.version(), edns.udp_payload_size()), (0, 1232));
    assert!(edns.dnssec_ok(), "the flag is copied (RFC 3225)");

    let unknown = reply(&zone, with_edns(query("x", Rtype::SOA), 4096, 1));
    assert_eq!(unknown.opt_rcode(), OptRcode::BADVERS);
    assert_eq!(unknown.opt().unwrap().version(), 0);
    assert_eq!(unknown.header_counts().ancount(), 0);
}

#[test]
fn a_reply_that_is_too_long_is_left_out_and_says_so() {
    // A reply takes 33 bytes and its text, and EDNS 11 more.
    let of_length = |length: usize| {
        let whole = format!("\"{}\" ", "a".repeat(99)).repeat(length / 100);
        zone(&format!(
            "t TXT {whole} \"{}\"",
            "a".repeat(length % 100 - 1)
        ))
    };
    let plain = || query("t.x", Rtype::TXT);
    let sent = |length, query| {
        let reply = reply(&of_length(length), query);
        (reply.header().tc(), reply.as_slice().len())
    };
    assert_eq!(sent(512 - 33, plain()), (false, 512));
    assert_eq!(sent(512 - 32, plain()), (true, 21));
    for (size, limit) in [
        (0, 512),
        (512, 512),
        (700, 700),
        (1232, 1232),
        (65535, 1232),
    ] {
        let edns = || with_edns(plain(), size, 0);
        assert_eq!(sent(limit - 44, edns()), (false, limit), "for {size}");
        assert_eq!(sent(limit - 43, edns()), (true, 32), "for {size}");
    }

    let zone = of_length(60_001);
    let reply = answer(Some(&zone), &plain().finish(), Transport::Stream);
    assert_eq!(reply.unwrap().len(), 60_034);
}

#[test]
fn no_message_brings_it_down_or_a_long_reply_out() {
    let zone = Zone::parse(EXAMPLE).unwrap();
    let query = with_edns(query("www.example.org", Rtype::A), 1232, 0).finish();
    for at in 0..query.len() {
        for value in 0..=255 {
            let mut message = query.clone();
            message[at] = value;
            if let Some(reply) = answer(Some(&zone), &message, Transport::Datagram) {
                assert!(reply.len() <= 1232);
                let reply = Message::from_octets(reply).unwrap();
                assert!(reply.iter().all(|item| item.is_ok()), "{message:?}");
            }
        }
    }
}

#[test]
fn a_stream_carries_any_number_of_messages() {
    let zone = zone("");
    let query = query("x", Rtype::SOA).finish();
    let reply = answer(Some(&zone), &query, Transport::Stream).unwrap();
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
    let (query, reply) = (framed(&query), framed(&reply));
    let nothing = framed(b"");

    let said = [&query[..], &nothing, &query, &query[..9]].concat();
    let mut heard = Vec::new();
    serve_stream(Some(&zone), &said[..], &mut heard).unwrap();
    assert_eq!(heard, reply.repeat(2));
}

#[test]
fn the_example_is_what_its_comments_say() {
    let zone = Zone::parse(EXAMPLE).unwrap();
    let found = |name, rtype| {
        let reply = ask(&zone, &format!("{name}example.org"), rtype);
        let (_, data) = reply.split_once(" IN ").unwrap();
        data.to_string()
    };
    assert_eq!(found("", Rtype::MX), "MX 10 mail.example.org.");
    assert_eq!(found("", Rtype::TXT), "TXT \"v=spf1 mx -all\"");
    assert_eq!(found("mail.", Rtype::A), "A 192.0.2.25");
    assert_eq!(
        found("www.", Rtype::AAAA),
        "CNAME example.org. | Answer example.org. 3600 IN AAAA 2001:db8::1"
    );
    assert_eq!(
        found("motto.", Rtype::TXT),
        r#"TXT "Strings are joined by whoever reads them: " "say \"hello\"; it costs nothing.""#
    );
    assert_eq!(found("ada.users.", Rtype::A), "A 192.0.2.80");
    assert_eq!(found("root.users.", Rtype::A), "A 192.0.2.81");
    assert_eq!(
        found("www.lab.", Rtype::A),
        "NS ns.lab.example.org. | Additional ns.lab.example.org. 3600 IN A 198.51.100.53"
    );
}
