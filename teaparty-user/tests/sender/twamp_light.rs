//! The sender against a TWAMP-Light reflector that knows nothing of STAMP: `tests/witness/twamp_light.py`, which has
//! the reply's header of RFC 5357 in one form and a shorter one without TTL in the other.
//!
//! Needs Python 3; skipped without.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use teaparty_testing::sender::summary;
use teaparty_testing::skip::or_skip;

struct Witness {
    child: Child,
    port: u16,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it, `header` octets long, losing the requests with these numbers on the way there and back; `None`, having said
/// so, where there is no Python.
fn witness(header: u8, lost_there: i32, lost_back: i32) -> Option<Witness> {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/witness/twamp_light.py"));
    command.args([header.to_string(), lost_there.to_string(), lost_back.to_string()]);
    let child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start python3: {error}"));
    let mut child = or_skip(child)?;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Some(Witness { child, port: line.trim().parse().unwrap() })
}

fn measure(witness: &Witness, rest: &str) -> (i32, Value) {
    summary(&format!("sender 127.0.0.1 {} -c 20 -i 5ms --format json {rest}", witness.port))
}

#[test]
fn both_header_forms_are_measured_and_only_the_longer_one_tells_the_ttl() {
    for (header, ttl) in [(41, json!({ "77": 20 })), (38, json!({}))] {
        let Some(witness) = witness(header, -1, -1) else { return };
        for size in ["", "--size 200 --zero-padding"] {
            let (code, summary) = measure(&witness, &format!("--ttl 77 {size}"));
            assert_eq!((code, &summary["received"]), (0, &json!(20)), "{header} {size}: {summary}");
            assert_eq!(summary["ttl"]["forward"]["seen"], ttl, "{header} {size}");
            assert_eq!(summary["ttl"]["backward"]["seen"], json!({ "255": 20 }));
            // One clock, so that no delay is negative; Python reads it after the kernel did.
            for quantity in ["round_trip_ns", "residence_ns", "forward_ns", "backward_ns"] {
                let p50 = summary[quantity]["p50"].as_i64().unwrap();
                assert!((0..2_000_000_000).contains(&p50), "{header} {quantity}: {p50}");
            }
            assert_eq!(summary["one_way"]["reflector_clock"]["synchronized"], json!(false));
        }
    }
}

#[test]
fn its_numbers_tell_where_packets_were_lost() {
    for header in [41, 38] {
        let Some(witness) = witness(header, 4, 9) else { return };
        let (code, summary) = measure(&witness, "");
        assert_eq!((code, &summary["lost"]), (0, &json!(2)), "{header}: {summary}");
        assert_eq!((&summary["lost_far_end"], &summary["lost_near_end"]), (&json!(1), &json!(1)), "{header}");
        assert_eq!(summary["reflector_stateful"], json!(true));
    }
}

#[test]
fn tlvs_that_come_back_as_padding_count_as_not_recognised() {
    let Some(witness) = witness(41, -1, -1) else { return };
    let (code, summary) = measure(&witness, "tlvs time -- location -- direct-measurement");
    assert_eq!((code, &summary["received"]), (0, &json!(20)));
    for name in ["time", "location", "direct-measurement"] {
        let tlv = &summary["targets"][0]["tlvs"][name];
        assert_eq!((&tlv["unrecognized"], &tlv["answered"]), (&json!(20), &json!(0)), "{name}: {tlv}");
    }
}
