//! What a Session-Sender must not send can't be asked for: a usage error says so, and nothing is sent.

use teaparty_testing::sender::teaparty;

use super::fake::Fake;

#[track_caller]
fn assert_refused(options: &str, reason: &str) {
    let fake = Fake::silent();
    let (code, _, error) = teaparty(&format!("sender {} {options}", fake.address));
    assert_eq!(code, 2, "{options}: {error}");
    assert!(error.contains(reason), "{options}: {error}");
    assert!(fake.stop().is_empty(), "{options}");
}

#[test]
fn a_destination_address_goes_with_an_ssid_only_c200() {
    assert_refused("--ssid 0 tlvs destination-address --address 192.0.2.1", "RFC 9503");
}

#[test]
fn there_is_one_return_path_at_most_c204() {
    assert_refused("tlvs return-path --same-link -- time -- return-path --same-link", "one return-path TLV");
}

#[test]
fn a_control_code_stands_alone_c208() {
    for path in ["--no-reply --address 192.0.2.1", "--same-link --labels 16", "--same-link --segments ::1"] {
        assert_refused(&format!("tlvs return-path {path}"), "cannot be used with");
    }
    assert_refused("tlvs return-path --no-reply --same-link", "cannot be used with");
}

#[test]
fn label_stacks_and_segment_lists_are_whole_c212() {
    assert_refused("tlvs return-path --labels 1048576", "1048576");
    assert_refused("tlvs return-path --segments 192.0.2.1", "invalid");
    assert_refused("tlvs return-path", "required");
}

#[test]
fn no_reply_and_a_burst_of_replies_exclude_each_other() {
    assert_refused("tlvs return-path --no-reply -- reflected-control --count 2", "contradict");
}

#[test]
fn authenticated_mode_needs_a_key_that_is_there() {
    assert_refused("--auth-key-file /nonexistent/key", "/nonexistent/key");
    assert_refused("tlvs hmac", "--tlv-key-file");
}
