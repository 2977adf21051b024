//! The words are those that people would use.

use super::*;

fn say(kind: Kind, value: &[u8], sent: u8, reply: u8) -> String {
    let answer = ReplyTlv { code: 0, kind: Some(kind), outcome: TlvOutcome::Answered, value };
    finding(&answer, Marks { sent: TrafficClass(sent), reply: Some(TrafficClass(reply)), has_key: false }).words
}

#[test]
fn class_of_service_is_told_as_people_ask_for_it() {
    // STAMP.md 3.4: DSCP1 46, received AF11 with CE, EC1 ECT(0) applied.
    let words = say(Kind::ClassOfService, &[0xb8, 0xac, 0xb0, 0], 0x29, 0xba);
    assert_eq!(words, "reply came back with DSCP EF ECN ECT(0) as asked; the path changed ECN from ECT(1) to CE");
    let words = say(Kind::ClassOfService, &[0xb8, 0xa5, 0xb0, 0], 0x29, 0x2a);
    assert_eq!(
        words,
        "reply came back with DSCP AF11 ECN ECT(0), policy refused DSCP EF; the path kept DSCP AF11 ECN ECT(1)"
    );
    let words = say(Kind::ClassOfService, &[0xb8, 0xa4, 0xb0, 0], 0x29, 0);
    assert!(words.starts_with("reply came back with DSCP CS0 ECN Not-ECT instead of DSCP EF ECN ECT(0)"), "{words}");
}

#[test]
fn not_ect_goes_without_saying_and_what_a_reflector_does_not_promise_is_not_claimed() {
    // RPE 11: EC1 applied, which was Not-ECT; then RPE 00, from a reflector that knows no EC1.
    let words = say(Kind::ClassOfService, &[0x48, 0xac, 0x30, 0], 0x29, 0x48);
    assert_eq!(words, "reply came back with DSCP AF21 as asked; the path changed ECN from ECT(1) to CE");
    let words = say(Kind::ClassOfService, &[0x48, 0xa4, 0x80, 0], 0x29, 0x48);
    assert_eq!(words, "reply came back with DSCP AF21 as asked; the path kept DSCP AF11 ECN ECT(1)");
    let words = say(Kind::DscpEcn, &[0x4a, 0x29, 0, 0], 0x29, 0x4a);
    assert_eq!(words, "reply came back with DSCP AF21 ECN ECT(0) as asked; the path kept DSCP AF11 ECN ECT(1)");
}

#[test]
fn nothing_is_told_of_a_value_that_may_not_be_used() {
    for outcome in [TlvOutcome::Unrecognized, TlvOutcome::NotAuthentic, TlvOutcome::Malformed, TlvOutcome::Skipped] {
        let answer = ReplyTlv { code: 4, kind: Some(Kind::ClassOfService), outcome, value: &[1, 2, 3, 4] };
        let finding = finding(&answer, Marks { sent: TrafficClass(0), reply: None, has_key: false });
        assert!(finding.value == Value::Null && finding.words.starts_with(outcome.label()), "{}", finding.words);
    }
    let words = |kind: Kind, outcome| {
        let answer = ReplyTlv { code: 4, kind: Some(kind), outcome, value: &[1, 2, 3, 4] };
        finding(&answer, Marks { sent: TrafficClass(0), reply: None, has_key: false }).words
    };
    let allowed = "not recognised or not allowed (`--allow-reflected-control` there)";
    assert_eq!(words(Kind::ReflectedControl, TlvOutcome::Unrecognized), allowed);
    assert!(words(Kind::Hmac, TlvOutcome::Unrecognized).contains("the reflector has no key for it"));
    assert!(words(Kind::Hmac, TlvOutcome::NotAuthentic).contains("the keys differ, or the reflector has none"));
}

#[test]
fn location_names_ports_addresses_and_mac() {
    let mut value = vec![3, 0x5e, 0xc0, 0x30];
    value.extend([0, 2, 0, 8, 2, 0, 0x5e, 0x10, 0, 1, 0, 0]);
    value.extend([0, 8, 0, 16, 192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let words = say(Kind::Location, &value, 0, 0);
    assert_eq!(words, "seen from port 49200 to port 862, source MAC 02:00:5e:10:00:01, source 192.0.2.10");
}
