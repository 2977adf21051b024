//! Replays what fuzzing and random frames have found, and gives each fuzz target some octets where there is no fuzzer.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use teaparty_testing::hostile::{locate, plan_apply, walk};

/// A fuzz target: its name, and its function of arbitrary octets.
type Target = (&'static str, fn(&[u8]));

/// The targets by the names that files in `testing_data/regressions` begin with.
const TARGETS: [Target; 3] = [("walk", walk), ("plan_apply", plan_apply), ("locate", locate)];

#[test]
fn what_was_found_once_is_not_found_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/regressions");
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let Some(stem) = name.strip_suffix(".bin") else { continue };
        if stem.starts_with("reply-") {
            // For the sender: `teaparty-user/tests/sender/hostile.rs`.
            continue;
        }
        if stem.starts_with("frame-") {
            // For the loaded program; what is in it must do no harm here either.
            TARGETS.iter().for_each(|(_, target)| target(&fs::read(&entry).expect("its octets")));
            replayed += 1;
            continue;
        }
        let (_, target) = TARGETS
            .iter()
            .find(|(target, _)| stem.starts_with(&format!("{target}-")))
            .unwrap_or_else(|| panic!("{name} names no target"));
        assert!(entry.with_extension("txt").is_file(), "{name} has no description beside it");
        target(&fs::read(&entry).expect("its octets"));
        replayed += 1;
    }
    assert!(replayed > 0, "nothing was replayed");
}

/// Octets that look like TLVs often enough to get somewhere.
fn tlvs() -> impl Strategy<Value = Vec<u8>> {
    let tlv = (any::<u8>(), prop_oneof![0u8..13, 240u8..249, any::<u8>()], 0u8..48, 0usize..50);
    (any::<[u8; 2]>(), 0usize..120, prop::collection::vec(tlv, 0..12)).prop_map(|(seed, base, tlvs)| {
        let mut octets = seed.to_vec();
        octets.extend(std::iter::repeat_n(7, base));
        for (flags, code, length, real) in tlvs {
            octets.extend([flags, code, 0, length]);
            octets.extend(std::iter::repeat_n(flags, real));
        }
        octets
    })
}

proptest! {
    #[test]
    fn any_tlvs_can_be_walked_and_reflected_c176_c281(octets in tlvs()) {
        walk(&octets);
        plan_apply(&octets);
    }

    #[test]
    fn any_frame_can_be_looked_at_c281(
        head in any::<[u8; 12]>(),
        kind in prop_oneof![Just([8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), any::<[u8; 2]>()],
        mut rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Some(first) = rest.first_mut() {
            *first = if kind == [8, 0] { 0x45 } else { 0x60 };
        }
        locate(&[head.as_slice(), &kind, &rest].concat());
    }
}
