use super::read;
use crate::zone::Zone;

#[test]
fn an_entry_can_be_written_in_many_ways() {
    for entry in [
        "a.x. 60 IN TXT \"b c\" d",
        "a TXT \"b c\" d",
        "a IN TXT \"b c\" d ; and a comment",
        "a IN 60 TXT \"b c\" d",
        "a\t60\ttxt\t(\n\"b c\" ; first\n\nd ; second\n)\r\n",
        "$ORIGIN a.x.\n@ TXT \"b c\"d",
        "$TTL 1\n\\097 60 in TXT b\\ c \"\\100\"",
        "a NS b\n\n  TXT \"b c\" d",
    ] {
        let records = read(&format!("$ORIGIN x.\n$TTL 60\n{entry}")).expect(entry);
        let (_, record) = records.last().expect(entry);
        assert_eq!(
            record.to_string(),
            "a.x. 60 IN TXT \"b c\" \"d\"",
            "for {entry}"
        );
    }
}

#[test]
fn every_type_of_record_can_be_read() {
    for record in [
        "A 192.0.2.1",
        "AAAA 2001:db8::1",
        "CNAME a.",
        "MX 10 a.",
        "NS a.",
        "PTR a.",
        "SOA a. b. 1 2 3 4 5",
        "SRV 1 2 3 a.",
        "TXT \"\"",
    ] {
        let entry = format!("x. 60 IN {record}");
        let records = read(&entry).expect(record);
        let text = records[0].1.to_string();
        // Some names come without their last dot.
        assert_eq!(text.trim_end_matches('.'), entry.trim_end_matches('.'));
    }
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (entry, mistake) in [
        ("a 60 A", "something is missing at the end"),
        ("a 60 TXT", "something is missing at the end"),
        (
            "a 60 A 192.0.2.256",
            "192.0.2.256: invalid IPv4 address syntax",
        ),
        ("a 60 A 192.0.2.1 b", "b: nothing more belongs here"),
        (
            "a A 192.0.2.1",
            "there is no TTL, neither here nor in a $TTL before",
        ),
        (
            "a 60 CH A 192.0.2.1",
            "records of type CH are not supported",
        ),
        ("a 60 TXT \"b", "this `\"` has no other"),
        ("a 60 TXT (\nb", "this `(` has no `)`"),
        ("a..b 60 NS c", "a..b: empty label"),
        ("y. 60 NS c", "this name is not in the zone"),
        ("@ 60 SOA ns admin 1 2 3 4 5", "a zone has one SOA only"),
        (
            "@ 60 CNAME a",
            "a name with a CNAME can have no other records",
        ),
        ("$INCLUDE other", "$INCLUDE is not supported"),
    ] {
        let text = format!("$ORIGIN x.\n@ 60 SOA ns admin 1 2 3 4 5\n\n{entry}\n");
        let error = Zone::parse(&text).err();
        assert_eq!(error, Some(format!("4: {mistake}")), "for {entry}");
    }
    for (text, mistake) in [
        ("", "1: there are no records"),
        (" NS a", "1: there is no name before this"),
        ("a NS b", "1: there is no $ORIGIN before this name"),
        (
            "a. 60 NS b.",
            "1: the first record must be the SOA of the zone",
        ),
    ] {
        assert_eq!(Zone::parse(text).err().as_deref(), Some(mistake));
    }
    let error = Zone::load("/does/not/exist").err().unwrap();
    assert!(error.starts_with("/does/not/exist: "), "{error}");
}
