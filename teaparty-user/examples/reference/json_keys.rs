//! The keys of JSON output, and their meaning. The summary's keys must be those of a measurement that is run here; tests hold
//! other documents of the program against this page.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use teaparty_testing::json_keys::JsonKeys;
use teaparty_testing::sender::{Behaviour, Reflector};

use crate::markdown::{code, head, table};

const ABOUT: &str = "\
Keys are stable: programs may rely on them. What is not known is null. Names that end in `_ns` are nanoseconds.

`a.b` is the key `b` of the object `a`. `[]` stands for each element of a list, `*` for a key that varies, and `**` for all keys below. \
Further names in a row are keys of the same object as the first.

`teaparty tlvs --format json` is a list of objects with the keys `type`, `earlier_type`, `name`, `title`, `section`, `answered_by`, \
`allowed_by`: see [TLVs](tlvs.md).";

const SUMMARY_ABOUT: &str = "\
`teaparty sender --format json` writes one object with the totals, and in `targets` one for each target. \
`--format jsonl` ends with a line whose only key is `summary`, with this object.";

const LINE_ABOUT: &str = "\
`--format jsonl` and `csv` write a line for each reply and each packet without one while the measurement runs, with these keys. \
In `csv` they are the columns, in this order and named in the first line. What is not known is null, in `csv` nothing.";

const STATUS_ABOUT: &str = "\
`teaparty status --format json` writes one object; with `--watch` it writes one for each look, as a line.";

const DOCTOR_ABOUT: &str =
    "`teaparty doctor --format json` writes one object. Its exit status is 1 where the verdict is `failure`.";

const SUMMARY_TITLE: &str = "Summary of a measurement";

/// The summary of a measurement.
const SUMMARY: &[(&str, &str)] = &[
    ("schema", "version of this document's shape; grows when a key changes its meaning"),
    ("program, version", "`teaparty`, and its version"),
    ("started_ns, ended_ns", "start and end of the run, in nanoseconds since 1970"),
    ("duration_ns", "time between those, by a clock that nobody sets"),
    ("host", "the host that measured"),
    ("host.name, kernel, architecture", "its name, release of its kernel, and processor"),
    ("clock", "this host's clock at the end of the run"),
    ("clock.synchronized", "true if a daemon claims to keep it synchronised"),
    (
        "clock.estimated_error_ns, maximum_error_ns",
        "the daemon's guess of the error, and the bound that it claims; null where it claims none",
    ),
    ("clock.tai_offset_s", "TAI minus UTC in seconds, as the kernel knows it; 0 if nobody set it"),
    ("clock.steps_ns", "by how much the clock was set during the run, for each time"),
    ("configuration", "the measurement as it was asked for, without keys"),
    ("configuration.count, duration_ns", "packets to each target, and time to send; null for no limit"),
    (
        "configuration.interval_ns, pattern",
        "mean interval of packets to one target, and `fixed`, `poisson`, or an object",
    ),
    ("configuration.pattern.burst", "packets at once; `interval_ns` is the time between bursts"),
    ("configuration.timeout_ns", "a packet without a reply is lost after this"),
    (
        "configuration.source, source_port, interface",
        "local address, port and interface; null or 0 if left to the system",
    ),
    ("configuration.ssid", "SSID of the first session; 0 for none, null for random ones"),
    ("configuration.payload_octets, dont_fragment", "length of the UDP payload, and whether it may not be fragmented"),
    ("configuration.hop_by_hop_octets, destination_options_octets", "lengths of IPv6 extension headers; 0 for none"),
    ("configuration.dscp, ecn, ttl", "DSCP, ECN, and TTL or Hop Limit of the packets"),
    ("configuration.authenticated, tlv_hmac", "true with authenticated base packets, and with an HMAC over the TLVs"),
    ("configuration.tlvs", "names of the TLVs of each packet"),
    ("configuration.access_report", "the Access Report that is sent; null for none"),
    (
        "configuration.access_report.access_id, return_code, timer_ns, retransmissions",
        "its fields, and how often it is repeated (RFC 8972 §4.6)",
    ),
    ("configuration.malformed", "`bad-flags` or `bad-length` where packets are wrong on purpose; else null"),
    ("configuration.timestamp_format", "`ntp` or `ptp`"),
    (
        "configuration.kernel_transmit_stamps, hardware_stamps",
        "true if T1 is asked of the kernel, or of the network card",
    ),
    (
        "configuration.segmentation_offload, realtime",
        "true if packets are sent in batches, and if their thread runs before all others",
    ),
    (
        "configuration.replies_per_packet, reply_interval_ns",
        "replies that each packet asks for, and the time between them",
    ),
    ("configuration.stateful_reflector", "true if the user vouches that the reflector counts its replies"),
    ("configuration.seed", "seed of Poisson intervals and padding; null for a random one"),
    ("receive_queue_drops", "replies that were lost in our own receive queue"),
    (
        "sent, received, lost, loss",
        "packets; what this host refused to send is in `send_errors` and nowhere else; `loss` is `lost / (sent - unsettled)`, 0 to 1. A packet is lost if T4 - T1 exceeds `--timeout`, whenever this process looks. The run ends with the last packet's reply, and later ones are not counted",
    ),
    (
        "lost_far_end, lost_near_end, lost_unattributed",
        "lost packets by direction: forward, backward, and unknown; null for a stateless reflector",
    ),
    ("unsettled", "packets under way when a second Ctrl-C ended the waiting: neither answered nor lost"),
    ("schedule_skipped", "packets that were due while this process was stopped or too slow, and were never sent"),
    (
        "further_replies, further_replies_lost",
        "of packets that ask for several replies: those after the first one, and those that did not arrive",
    ),
    ("duplicates, reordered, reordering_extent_max", "replies that arrived again, and those out of order (RFC 4737)"),
    ("late", "replies after `--timeout`; their packets count as lost"),
    ("loss_bursts, loss_burst_max", "runs of lost packets, and the longest"),
    (
        "implausible",
        "replies in no delay: without T2 or T3 (all zeros), or with times that contradict T1 and T4 by more than a millisecond",
    ),
    ("wrong_format", "replies in no delay, as T2 and T3 can only be of the format that the Z bit does not name"),
    (
        "lacking_tai_offset",
        "replies with PTP timestamps where one side does not know the offset to TAI: one-way delays may be off by 37 s",
    ),
    (
        "unmatched, corrupted",
        "replies to no packet of this session, and those of them with a packet's number and another T1",
    ),
    ("ignored", "datagrams that are no replies of the session, by cause"),
    ("ignored.foreign", "from an address or port that is not the target's"),
    ("ignored.unauthenticated", "with a wrong HMAC"),
    ("ignored.malformed", "too short to be a reply"),
    ("ignored.other_link", "for another member link (RFC 9534 §3.2)"),
    (
        "reflector_stateful, reflector_restarts",
        "true if the reflector counts its replies, and how often it began again",
    ),
    (
        "reflector_clock_steps",
        "times when the reflector's clock was set, up to 16; the one-way delays of this document are those after the last one",
    ),
    ("reflector_clock_steps[].at_ns, step_ns", "T4 of the first reply after it, and the step"),
    ("reflector_clock_steps[].forward_ns, backward_ns", "one-way delays before it, with keys as in `round_trip_ns`"),
    ("round_trip_ns", "round trip without the reflector's residence; null without samples"),
    ("round_trip_ns.min, mean, p50, p90, p99, p99_9, p99_99, max, stddev", "the distribution"),
    ("round_trip_ns.pdv_p99_9", "how far the 99.9th percentile is above the minimum (RFC 5481 §4.2)"),
    ("round_trip_ns.samples", "replies in it"),
    ("residence_ns", "T3 - T2, with keys as in `round_trip_ns`"),
    ("forward_ns, backward_ns", "T2 - T1 and T4 - T3, with keys as in `round_trip_ns`"),
    ("pacing_error_ns", "lateness of packets against the schedule, with keys as in `round_trip_ns`"),
    ("variation_ns", "how much delays differ from packet to packet; null where nothing could be compared"),
    ("variation_ns.round_trip", "of the round trip"),
    ("variation_ns.round_trip.jitter", "mean absolute difference between packets sent one after the other (RFC 3393)"),
    (
        "variation_ns.round_trip.jitter_rfc3550",
        "last state of RFC 3550's filter, which knows the last few replies only",
    ),
    (
        "variation_ns.round_trip.ipdv_mean, ipdv_max",
        "as `jitter` (of absolute values, as signed ones add up to nothing), and the largest",
    ),
    ("variation_ns.round_trip.pairs", "pairs of packets that were both answered"),
    ("variation_ns.forward, backward", "of one-way delays, with keys as in `variation_ns.round_trip`"),
    ("one_way", "what one-way delays rest on"),
    ("one_way.reliable", "true if both clocks claim to be synchronised in every packet"),
    ("one_way.sender_clock", "the claims of our clock"),
    (
        "one_way.sender_clock.synchronized, error_ns_max",
        "true if all packets claim it, and the largest error bound; null where one claims none",
    ),
    (
        "one_way.sender_clock.packets_synchronized, packets_unsynchronized, packets_without_bound",
        "packets by their claim (S bit), and those with no error bound (Multiplier 0)",
    ),
    ("one_way.reflector_clock", "the claims of the reflector's clock, with keys as in `one_way.sender_clock`"),
    ("samples", "replies by the source of their timestamps"),
    ("samples.total", "replies with delays"),
    (
        "samples.hardware_t1, hardware_t4, kernel_t1, kernel_t4",
        "T1 or T4 by the network card, or by the kernel; others are by this process",
    ),
    ("samples.pacing_by_kernel", "packets whose pacing error is by the kernel's or the network card's T1"),
    ("samples.discarded_by_clock_step", "replies in no delay, because our clock was set while they were under way"),
    ("ttl", "TTL or Hop Limit"),
    ("ttl.forward", "at the reflector"),
    ("ttl.forward.seen, changes", "packets by value, and how often it differed from the packet before"),
    ("ttl.forward.seen.*", "packets with this value"),
    ("ttl.backward", "of the reply here, with keys as in `ttl.forward`"),
    ("traffic_class", "4 × DSCP + ECN, at the reflector where a TLV tells it, with keys as in `ttl`"),
    ("targets", "one object for each target"),
    ("targets[]", "the figures of one target, with keys as in the document"),
    ("targets[].target, address, ssid", "the target as given, its address and port, and its session's SSID"),
    (
        "targets[].round_trip_histogram",
        "round trips in 80 equal ranges up to the 99th percentile: pairs of the middle in nanoseconds, and the number",
    ),
    ("targets[].tlvs", "one object for each TLV, by its name"),
    ("targets[].tlvs.*", "how it came back"),
    (
        "targets[].tlvs.*.answered, unrecognized, malformed, not_conformant, not_authentic, skipped",
        "replies in which it was usable, had U, M or C, was not authentic, or followed a malformed one",
    ),
    ("targets[].tlvs.*.words, value", "the one of the last reply in words, and its fields"),
    ("targets[].tlvs.*.value.**", "fields, by the TLV"),
    ("targets[].bit_errors", "of `tlvs bit-error-rate`"),
    ("targets[].bit_errors.forward, backward", "wrong bits of all packets, and of all replies; null if not measured"),
    ("targets[].bit_errors.forward_octets, backward_octets", "padding that was compared"),
    ("targets[].bit_errors.forward_burst_max, backward_burst_max", "the longest run of wrong bits"),
    ("targets[].send_errors, send_error", "packets that this host refused to send, and the first reason"),
    ("targets[].network_refusals", "refusals that the network reported"),
    (
        "targets[].congestion_slowdowns, final_interval_factor",
        "times that congestion marks slowed it down, and how much slower than asked it sent in the end",
    ),
];

/// A line for each packet, in the order of the columns.
const LINE: &[(&str, &str)] = &[
    ("target", "as given"),
    ("epoch_ns", "when: T4, without a reply T1"),
    ("sequence", "the packet's Sequence Number; after 4294967295 it begins again"),
    (
        "fate",
        "`reply`, `duplicate`, `lost` (no reply within `--timeout`), or `late` (a reply that took longer: its packet has a line as `lost` too). `unsettled`: under way when a second Ctrl-C ended the run. `further`: any reply to a packet that asked for several, except the first",
    ),
    (
        "t1_ns, t2_ns, t3_ns, t4_ns",
        "nanoseconds since 1970: T1 and T4 by our clock, T2 and T3 by the reflector's; a packet without a reply has T1 and `t1_source`, and nothing of a reply",
    ),
    ("t1_source, t4_source", "who took it: `hardware`, `kernel`, `user`"),
    (
        "round_trip_ns, residence_ns, forward_ns, backward_ns",
        "round trip net of residence, T3 - T2, T2 - T1, T4 - T3; null if the clock was set in between, or T2 and T3 are implausible",
    ),
    (
        "synchronized, error_ns",
        "whether both clocks claim to be (true or false), and the error bounds that they claim, added; null where one claims none (Multiplier 0, or the 16 s of a kernel that knows none)",
    ),
    ("reflector_sequence, octets", "the reply's own Sequence Number, and the length of its UDP payload"),
    ("forward_ttl, backward_ttl", "TTL or Hop Limit of the packet at the reflector, and of the reply here"),
    (
        "forward_class, backward_class",
        "traffic class there and here, 0 to 255: 4 × DSCP + ECN; of the packet where a TLV tells",
    ),
    ("reordering_extent", "replies that arrived since the first one to a later packet (RFC 4737 §4.2.1); 0 in order"),
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

/// The keys of `teaparty status`.
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
    ("clock", "the claims of the system clock"),
    (
        "clock.is_synchronized, maximum_error_ns",
        "true if a daemon keeps it synchronised, and the bound of its error; null where it claims none",
    ),
    ("counters", "one object for each interface, path and reason"),
    ("counters[].interface, path, verdict, reason, help", "what was counted: see [Reasons and counters](reasons.md)"),
    (
        "counters[].packets, packets_per_second",
        "their number, and with `--watch` how many in each second since the last look",
    ),
    (
        "counters[].last_source",
        "source of the last packet that was dropped so; null if it is unknown, or only for clients that may write",
    ),
    ("sessions, sessions_total", "the busiest sessions, as many as `--top` says, and how many there are"),
    ("sessions[].id, source, source_port, destination, destination_port, ssid", "the session"),
    ("sessions[].provisioned, authenticated", "true if it was provisioned, and if it has a key"),
    ("sessions[].seen", "one object for each interface with packets of the session"),
    ("sessions[].seen[].interface, received, replies", "packets that it received of the session, and their replies"),
    ("sessions[].packets_per_second", "with `--watch`, packets in each second since the last look"),
];

/// The keys of `teaparty doctor`.
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

pub(crate) fn page() -> Result<String> {
    let mut text = head("JSON keys", "`teaparty-user/examples/reference/json_keys.rs`", ABOUT);
    for (title, about, keys) in [
        (SUMMARY_TITLE, SUMMARY_ABOUT, SUMMARY),
        ("A line for each packet", LINE_ABOUT, LINE),
        ("Status", STATUS_ABOUT, STATUS),
        ("Doctor", DOCTOR_ABOUT, DOCTOR),
    ] {
        text += &format!("\n## {title}\n\n{about}\n");
        text += &table(["keys", "meaning"], keys.iter().map(|(keys, meaning)| [names(keys), (*meaning).to_owned()]));
    }
    let missing = JsonKeys::new(&text, SUMMARY_TITLE).differences(&[&measurement()?]);
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(text)
}

/// Returns the summary of a measurement that has every key: a TLV, an Access Report, and a reflector whose clock is set.
fn measurement() -> Result<Value> {
    let set_clock = |reply: &mut Vec<u8>| {
        // T3 and T2, of the replies whose Sequence Number is 10 or more.
        if reply[3] >= 10 {
            reply[6] += 1;
            reply[18] += 1;
        }
    };
    let reflector = Reflector::start("127.0.0.1", Behaviour { edit: set_clock, ..Behaviour::default() });
    let file = tempfile::NamedTempFile::new()?;
    let words = format!(
        "teaparty sender {} -c 20 -i 2ms --burst 2 --format json -o {} tlvs class-of-service -- access-report",
        reflector.address,
        file.path().display()
    );
    // Its exit status is about replies; the document shows more.
    teaparty_user::cli::run(words.split(' ').map(Into::into));
    serde_json::from_str(&std::fs::read_to_string(&file)?).context("a measurement on the loopback interface failed")
}

/// Returns names with commas between them, each as code.
fn names(keys: &str) -> String {
    keys.split(", ").map(code).collect::<Vec<_>>().join(", ")
}
