//! Reflected Test Packet Control (RFC 10052) where both sides have it switched on: several replies to each packet.

use super::programs::{our_reflector, our_sender, stamp_suite, their_reflector, their_sender};
use teaparty_testing::skip::or_skip;

#[test]
fn their_sender_gets_every_reply_of_our_bursts() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    for state in [&[][..], &["--stateless"]] {
        let reflector = our_reflector(&[&["--xdp-mode", "off", "--allow-reflected-control"], state].concat());
        let burst = "--reflected-control-count 4 --reflected-control-interval-ns 2000000 --send-delay 50";
        for (options, length) in [(burst.to_owned(), 44), (format!("{burst} --reflected-control-length 300"), 300)] {
            let summary = their_sender(reflector.port, &options);
            let count = |key: &str| summary[key].as_u64().unwrap();
            assert_eq!(count("answered_probes"), 5, "{state:?}, {length}: {summary}");
            assert_eq!(count("requested_replies"), 20, "{state:?}, {length}");
            assert_eq!(
                (count("unique_replies"), count("duplicate_replies")),
                (20, 0),
                "{state:?}, {length}: {summary}"
            );
            let flags = &summary["tlv_validation"]["by_type"]["12"]["flags"];
            assert_eq!((&flags["unrecognized"], &flags["conformant_reflected"]), (&0.into(), &0.into()), "{state:?}");
        }
    }
}

#[test]
fn our_sender_counts_every_reply_of_their_bursts() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    for state in [&[][..], &["--stateful-reflector"]] {
        let reflector = their_reflector(&[&["--reflected-control-max-count", "16"], state].concat());
        let chain = "tlvs reflected-control --count 4 --interval 2ms --length 300";
        let summary = our_sender(reflector.port, chain);
        let count = |key: &str| summary[key].as_u64().unwrap();
        assert_eq!(
            (count("received"), count("further_replies"), count("further_replies_lost")),
            (5, 15, 0),
            "{state:?}"
        );
        assert_eq!((count("duplicates"), count("unmatched")), (0, 0), "{state:?}");
        assert_eq!(summary["targets"][0]["tlvs"]["reflected-control"]["answered"], 20, "{state:?}");
        // More than it allows is declined with C, and nothing is waited for.
        let declined = our_sender(reflector.port, "tlvs reflected-control --count 400 --interval 1s");
        assert_eq!((&declined["received"], &declined["further_replies_lost"]), (&5.into(), &0.into()), "{state:?}");
        assert_eq!(declined["targets"][0]["tlvs"]["reflected-control"]["not_conformant"], 5, "{state:?}");
    }
}
