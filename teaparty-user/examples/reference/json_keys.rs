//! The keys of JSON output, and what each means. Tests of the program hold its output against this page: a key that is not
//! here fails them.

use crate::markdown::{code, head, table};

const ABOUT: &str = "\
Keys are stable: programs may rely on them. What is not known is null. Names that end in `_ns` are nanoseconds.

`teaparty tlvs --format json` is a list of objects with the keys `type`, `earlier_type`, `name`, `title`, `section`, `answered_by`, \
`allowed_by`: see [TLVs](tlvs.md).";

const SUMMARY_ABOUT: &str = "\
`teaparty sender --format json` writes one object with the totals, and in `targets` one for each target with the same keys. \
`--format jsonl` ends with a line whose only key is `summary`, with this object.";

const LINE_ABOUT: &str = "\
`--format jsonl` and `csv` write a line for each reply and each packet without one while the measurement runs, with these keys. In `csv` they are \
the columns, in this order and named in the first line. What is not known is null, in `csv` nothing.";

const STATUS_ABOUT: &str = "\
`teaparty status --format json` writes one object; with `--watch` it writes one for each look, as a line.";

const DOCTOR_ABOUT: &str =
    "`teaparty doctor --format json` writes one object. Its exit status is 1 where the verdict is `failure`.";

/// The summary of a measurement. Keys of one row stand side by side.
const SUMMARY: &[(&str, &str)] = &[
    (
        "sent, received, lost, lost_far_end, lost_near_end, lost_unattributed, loss",
        "packets; what this host refused to send is in `send_errors` and nowhere else; `loss` is `lost / (sent - unsettled)`, 0 to 1. A packet is lost if T4 - T1 exceeds `--timeout`, whenever this process looks. The run ends with the last packet's reply: what comes after that is not counted",
    ),
    (
        "unsettled, schedule_skipped",
        "packets that were under way when a second Ctrl-C ended the waiting: neither answered nor lost; packets that were due while this process was stopped or too slow and were never sent",
    ),
    (
        "further_replies, further_replies_lost",
        "of packets that ask for several replies: those behind the first one, and those that did not come",
    ),
    (
        "duplicates, reordered, reordering_extent_max, late, implausible, unmatched, corrupted, ignored, loss_bursts, loss_burst_max",
        "irregularities (RFC 4737 for reordering); `late` packets count as lost; `implausible` replies have no T2 or T3 (all zeros), T3 before T2, or T2 and T3 further apart than T1 and T4, by more than a millisecond, and are in no delay; `corrupted` are those of the `unmatched` replies that name a packet of ours with a T1 that it did not have",
    ),
    (
        "round_trip_ns, residence_ns, forward_ns, backward_ns, pacing_error_ns",
        "each `min`, `mean`, `p50`, `p90`, `p99`, `p99_9`, `p99_99`, `max`, `stddev`, `samples`, `pdv_p99_9`, or null without samples",
    ),
    (
        "variation_ns",
        "`round_trip`, `forward`, `backward`: `jitter`, the mean absolute difference between packets sent one after the other (RFC 3393), `pairs` of which both were answered; `ipdv_mean` is the same (of absolute values, since signed ones add up to nothing) and `ipdv_max` the largest; `jitter_rfc3550` is the last state of RFC 3550's filter, which knows the last few replies only; null where nothing could be compared",
    ),
    (
        "one_way, samples, ttl, traffic_class, reflector_stateful, reflector_restarts",
        "what the numbers rest on, and what was seen on both ways",
    ),
    (
        "schema, program, version, configuration, host, clock, started_ns, ended_ns, duration_ns",
        "for whoever reads it a year later (top level only)",
    ),
    (
        "wrong_format, lacking_tai_offset, reflector_clock_steps",
        "replies in no delay because T2 and T3 can only be of the format that the Z bit does not name; replies with PTP timestamps where one side does not know the offset to TAI, so that one-way delays may be off by 37 s; times when the reflector's clock was set (`at_ns`, `step_ns`), with the `forward_ns` and `backward_ns` of before: the figures above are of after the last one",
    ),
    ("receive_queue_drops", "replies that were lost in our own receive queue (top level only)"),
    (
        "round_trip_histogram",
        "in `targets` only: the round trips in 80 equal ranges up to the 99th percentile, each as the middle in nanoseconds and how many there were",
    ),
    (
        "bit_errors",
        "in `targets` only, of `tlvs bit-error-rate`: `forward` and `backward`, the wrong bits of all packets and of all replies (null where nothing was measured), each with `forward_octets`, how much padding was compared, and `forward_burst_max`, the longest run of wrong bits (`backward_octets`, `backward_burst_max`)",
    ),
    (
        "target, address, ssid, tlvs, send_errors, send_error, network_refusals, congestion_slowdowns, final_interval_factor",
        "in `targets` only; `send_error` is the first reason, the last one is how much slower than asked it sent in the end",
    ),
];

/// A line for each packet, in the order of the columns.
const LINE: &[(&str, &str)] = &[
    ("target", "as given"),
    ("epoch_ns", "when: T4, without a reply T1"),
    ("sequence", "the packet's Sequence Number; after 4294967295 it begins again"),
    (
        "fate",
        "`reply`, `lost` (no reply within `--timeout`), `late` (a reply that took longer: its packet has a line as `lost` too), `unsettled` (under way when a second Ctrl-C ended the run), `duplicate`, or `further` (one of the replies that the packet asked for, but the first)",
    ),
    (
        "t1_ns, t2_ns, t3_ns, t4_ns",
        "nanoseconds since 1970: T1 and T4 by our clock, T2 and T3 by the reflector's; a packet without a reply has T1 and `t1_source`, and nothing of a reply",
    ),
    ("t1_source, t4_source", "who took it: `hardware`, `kernel`, `user`"),
    (
        "round_trip_ns, residence_ns, forward_ns, backward_ns",
        "round trip net of residence, T3 - T2, T2 - T1, T4 - T3; none where the clock was set meanwhile or T2 and T3 are implausible",
    ),
    (
        "synchronized, error_ns",
        "whether both clocks claim to be (true or false), and the error bounds that they claim, added; null where one claims none (Multiplier 0, or the 16 s of a kernel that knows none)",
    ),
    ("reflector_sequence, octets", "the reply's own Sequence Number, and the length of its UDP payload"),
    ("forward_ttl, backward_ttl", "TTL or Hop Limit with which the packet came to the reflector, and the reply to us"),
    (
        "forward_class, backward_class",
        "traffic class likewise, 0 to 255: 4 × DSCP + ECN; that of the packet where a TLV tells",
    ),
    (
        "reordering_extent",
        "so many replies earlier the first one to a later packet had come (RFC 4737 §4.2.1); 0 in order",
    ),
    (
        "tlvs",
        "in `jsonl` a list with `tlv`, `outcome`, `words` and `value` of each, in `csv` text: `class-of-service: answered; …`",
    ),
    ("ssid", "the Session-Sender Identifier of the target's session, 0 for none"),
    (
        "elapsed_ns",
        "`epoch_ns` less the start of the run. Nanoseconds since 1970 exceed 2^53, so tools that keep numbers as doubles (`jq` 1.6, JavaScript) compute with them wrongly by some 256 ns; this one and the delays are exact there",
    ),
];

/// What `teaparty status` shows.
const STATUS: &[(&str, &str)] = &[
    ("version, state", "the reflector's version; `running`, or what it is about to do"),
    ("interfaces", "one object for each interface that is, or will be, answered on"),
    (
        "interfaces[].name, is_present, ports, addresses",
        "the interface, whether it is there, and what is answered on it",
    ),
    ("interfaces[].xdp_mode, xdp_reason", "`native`, `skb` or `off`, and why where another mode was to be expected"),
    (
        "interfaces[].transmit_errors, program_id",
        "replies that the driver could not send; the XDP program's number in the kernel",
    ),
    (
        "clock.is_synchronized, maximum_error_ns",
        "what the system clock claims of itself; null where it claims no bound",
    ),
    ("counters", "one object for each interface, path and reason"),
    ("counters[].interface, path, verdict, reason, help", "what was counted: see [Reasons and counters](reasons.md)"),
    (
        "counters[].packets, packets_per_second",
        "how many, and with `--watch` how many in each second since the last look",
    ),
    ("sessions, sessions_total", "the busiest sessions, as many as `--top` says, and how many there are"),
    ("sessions[].id, source, source_port, destination, destination_port, ssid", "the session"),
    ("sessions[].provisioned, authenticated", "whether it was provisioned, and whether it has a key"),
    (
        "sessions[].seen",
        "one object for each interface with packets of the session: `interface`, `received`, `replies`",
    ),
    ("sessions[].packets_per_second", "with `--watch`, packets in each second since the last look"),
];

/// What `teaparty doctor` finds.
const DOCTOR: &[(&str, &str)] = &[
    ("version", "the version of `teaparty`"),
    ("verdict", "the worst verdict of all findings: `good`, `note`, `warning` or `failure`"),
    ("findings", "one object for each thing that was looked at, in the order in which a person would look"),
    ("findings[].check, interface", "what was looked at, and on which interface; null where it is about the host"),
    (
        "findings[].verdict",
        "`good` as it should be; `note` worth knowing; `warning` works, but not as well as it could; `failure` the XDP program will not answer",
    ),
    ("findings[].found, remedy", "what was found, and what to do about it, or null"),
];

pub(crate) fn page() -> String {
    let mut text = head("JSON keys", "`teaparty-user/examples/reference/json_keys.rs`", ABOUT);
    for (title, about, keys) in [
        ("Summary of a measurement", SUMMARY_ABOUT, SUMMARY),
        ("A line for each packet", LINE_ABOUT, LINE),
        ("Status", STATUS_ABOUT, STATUS),
        ("Doctor", DOCTOR_ABOUT, DOCTOR),
    ] {
        text += &format!("\n## {title}\n\n{about}\n");
        text += &table(["keys", "meaning"], keys.iter().map(|(keys, meaning)| [names(keys), (*meaning).to_owned()]));
    }
    text
}

/// Returns names with commas between them, each as code.
fn names(keys: &str) -> String {
    keys.split(", ").map(code).collect::<Vec<_>>().join(", ")
}
