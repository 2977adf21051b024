//! Keys and digests against values made by Python's `hmac`, and key sources against real files.

use std::io::Write;
use std::os::fd::AsRawFd;

use super::*;

/// `bytes(i * 7 % 256 for i in range(96))`.
fn message() -> Vec<u8> {
    (0..96u32).map(|i| (i * 7 % 256) as u8).collect()
}

fn sequential_key() -> HmacKey {
    HmacKey::new(&(0..32).collect::<Vec<u8>>()).unwrap()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn digests_equal_those_of_another_implementation() {
    // python3: hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
    assert_eq!(hex(&sequential_key().base_hmac(&message()).unwrap()), "50d89b7f4c7793356df82de0577d42f0");
    let tlv = sequential_key().tlv_hmac([0, 0, 0, 9], &message()[..20]);
    assert_eq!(hex(&tlv), "6eb9df70e6ad852d2ad585c8c85fb774");
    // Longer than a block of SHA-256: the key is hashed first.
    let long = HmacKey::new(&[b'k'; 131]).unwrap();
    assert_eq!(hex(&long.base_hmac(&message()).unwrap()), "8689e5e97f3071ce152693681fdd94ae");
}

#[test]
fn every_bit_of_a_base_packet_is_covered() {
    let key = sequential_key();
    let mut packet = message();
    packet.resize(AUTHENTICATED_LEN + 8, 0xa5);
    assert!(!key.verify_base(&packet));
    assert!(key.sign_base(&mut packet));
    assert!(key.verify_base(&packet));
    for octet in 0..packet.len() {
        for bit in 0..8 {
            packet[octet] ^= 1 << bit;
            assert_eq!(key.verify_base(&packet), octet >= AUTHENTICATED_LEN, "octet {octet} bit {bit}");
            packet[octet] ^= 1 << bit;
        }
    }
    assert!(!key.verify_base(&packet[..AUTHENTICATED_LEN - 1]));
    assert!(!key.sign_base(&mut packet[..AUTHENTICATED_LEN - 1]));
    assert!(!HmacKey::new(b"another").unwrap().verify_base(&packet));
}

#[test]
fn tlv_hmacs_cover_the_sequence_number_and_want_all_16_octets() {
    let key = sequential_key();
    let hmac = key.tlv_hmac([0, 0, 0, 9], &message());
    assert!(key.verify_tlvs([0, 0, 0, 9], &message(), &hmac));
    assert!(!key.verify_tlvs([0, 0, 0, 8], &message(), &hmac));
    assert!(!key.verify_tlvs([0, 0, 0, 9], &message()[1..], &hmac));
    assert!(!key.verify_tlvs([0, 0, 0, 9], &message(), &hmac[..15]));
    assert!(!key.verify_tlvs([0, 0, 0, 9], &message(), &[]));
}

#[test]
fn content_is_taken_as_it_says() {
    let same = |content: &[u8], octets: &[u8]| {
        let key = HmacKey::from_content(content).unwrap();
        key.base_hmac(&message()) == HmacKey::new(octets).unwrap().base_hmac(&message())
    };
    assert!(same(b"testing", b"testing"));
    assert!(same(b"testing\n", b"testing"));
    assert!(same(b"testing\r\n", b"testing"));
    assert!(same(b"hex:0001fFaB\r\n", &[0, 1, 0xff, 0xab]));
    assert!(same(b"testing\r", b"testing\r"), "a lone CR is an octet of the key");
    // Only one newline is the editor's.
    assert!(same(b"testing\n\n", b"testing\n"));
    assert!(same(b"hex:0001fFaB\n", &[0, 1, 0xff, 0xab]));
    assert!(same(b"base64:AAH/qw==\n", &[0, 1, 0xff, 0xab]));
    assert!(same(b"\x00\xff", &[0, 0xff]));
    assert!(matches!(HmacKey::from_content(b"hex:abc"), Err(KeyError::NotHex)));
    assert!(matches!(HmacKey::from_content(b"hex:zz"), Err(KeyError::NotHex)));
    assert!(matches!(HmacKey::from_content(b"base64:AAH/qw"), Err(KeyError::NotBase64)));
    for empty in [&b""[..], b"\n", b"\r\n", b"hex:", b"base64:\n"] {
        assert!(matches!(HmacKey::from_content(empty), Err(KeyError::Empty)), "{empty:?}");
    }
    assert!(matches!(HmacKey::from_content(&[1; MAX_SOURCE_LEN + 1]), Err(KeyError::TooLong)));
}

#[test]
fn debug_shows_the_length_only() {
    assert_eq!(format!("{:?}", HmacKey::new(b"secret").unwrap()), "Key(6 octets)");
}

#[test]
fn files_that_others_may_read_are_refused_by_name() {
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602] {
        let file = file(b"secret", mode);
        let error = KeySource::File(file.path().into()).load().unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("chmod 600"), "{error}");
        assert!(!error.contains("secret"));
    }
    for mode in [0o600, 0o400] {
        let file = file(b"secret\n", mode);
        assert_eq!(format!("{:?}", KeySource::File(file.path().into()).load().unwrap()), "Key(6 octets)");
    }
    let missing = KeySource::File("/nonexistent/key".into()).load().unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/key"), "{missing}");
    assert!(matches!(KeySource::File("/dev/zero".into()).load(), Err(KeyError::Unreadable { .. })));
}

#[test]
fn descriptors_and_variables_are_sources_too() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"hex:00112233\n").unwrap();
    drop(writer);
    let source: KeySource = format!("fd:{}", reader.as_raw_fd()).parse().unwrap();
    assert_eq!(format!("{:?}", source.load().unwrap()), "Key(4 octets)");
    let closed = KeySource::Descriptor(1_000_000).load().unwrap_err().to_string();
    assert!(closed.contains("fd:1000000"), "{closed}");
    let credential = KeySource::Credential("stamp".into()).load().unwrap_err().to_string();
    assert!(credential.contains("LoadCredential=stamp:"), "{credential}");
    let missing = KeySource::Environment("TEAPARTY_NO_SUCH_VARIABLE".into()).load().unwrap_err().to_string();
    assert!(missing.contains("TEAPARTY_NO_SUCH_VARIABLE"), "{missing}");
    // Set by cargo for every test.
    assert!(KeySource::Environment("CARGO_PKG_NAME".into()).load().is_ok());
}

#[test]
fn sources_parse_and_print_alike() {
    for text in ["key", "/etc/teaparty/key", "credential:stamp.key", "env:KEY", "fd:3"] {
        assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
    }
    for text in ["", "env:", "fd:", "fd:x", "fd:-1", "credential:", "credential:..", "credential:a/b"] {
        assert!(text.parse::<KeySource>().is_err(), "{text}");
    }
}
