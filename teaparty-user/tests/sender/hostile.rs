//! Hostile replies to the sender: what fuzzing found, replayed, and replies made at random around the layout of TLVs.

use proptest::prelude::*;
use teaparty_testing::hostile_reply::reply;

#[test]
fn what_was_found_once_is_not_found_again() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/regressions");
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
        if !name.ends_with(".bin") {
            continue;
        }
        // What broke others must do no harm here either.
        let octets = std::fs::read(&entry).unwrap();
        (0..64).for_each(|kind| reply(&[&[kind, 0xff, 0xff], octets.as_slice()].concat()));
        if name.starts_with("reply-") {
            assert!(entry.with_extension("txt").is_file(), "{name} has no description beside it");
            reply(&octets);
        }
    }
}

/// Replies with TLVs whose types, flags and lengths are often right.
fn replies() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![4 => Just(0u8), 1 => Just(0x80), 1 => Just(0x40), 1 => Just(0x10), 1 => any::<u8>()];
    let code = prop_oneof![0u8..13, 240u8..249, Just(179), any::<u8>()];
    let tlv = (flags, code, 0u16..70, prop_oneof![3 => Just(0i16), 1 => -4i16..4], any::<u8>());
    let one = (prop::collection::vec(tlv, 0..8), 0usize..4, any::<bool>());
    (any::<u8>(), prop::collection::vec(one, 1..5)).prop_map(|(kind, list)| {
        let mut data = vec![kind];
        let base = if kind & 1 == 0 { 44 } else { 112 };
        for (tlvs, stray, is_signed) in list {
            let mut payload = vec![0; base];
            for (flags, code, length, lie, fill) in tlvs {
                payload.extend([flags, code]);
                payload.extend(length.saturating_add_signed(lie).to_be_bytes());
                payload.extend(std::iter::repeat_n(fill, length.into()));
            }
            if is_signed {
                payload.extend([0, 8, 0, 16]);
                payload.extend([0; 16]);
            } else {
                payload.extend(std::iter::repeat_n(9, stray));
            }
            data.extend((payload.len() as u16).to_be_bytes());
            data.extend(payload);
        }
        data
    })
}

proptest! {
    #[test]
    fn any_replies_can_be_taken_in_c176(data in replies()) {
        reply(&data);
    }

    #[test]
    fn any_octets_can_be_taken_in(data in prop::collection::vec(any::<u8>(), 0..400)) {
        reply(&data);
    }
}
