//! What help says beside the options' own texts: headings, short lines, examples, exit statuses, files, variables.

use clap::Arg;

use crate::reflector::config::setting_groups::{self, KEYS, PROCESS, TIME, TLVS};

const MEASURE: &str = "What to measure";
const SCHEDULE: &str = "Schedule";
const PACKET: &str = "Packet";
const OUTPUT: &str = "Output";
const THRESHOLDS: &str = "Thresholds (exit status 3)";

/// The options of a heading, by command; those of a reflector's settings are in [`setting_groups::GROUPS`].
const HEADINGS: &[(&str, &str, &[&str])] = &[
    ("sender", MEASURE, &["targets", "ipv4", "ipv6", "src", "src-port", "interface", "ssid", "stop-on-zero-ssid"]),
    (
        "sender",
        SCHEDULE,
        &[
            "count",
            "interval",
            "rate",
            "duration",
            "poisson",
            "burst",
            "timeout",
            "seed",
            "segmentation-offload",
            "realtime",
        ],
    ),
    (
        "sender",
        PACKET,
        &["size", "zero-padding", "dscp", "ecn", "ttl", "df", "hbh-ext", "destination-ext", "malformed"],
    ),
    ("sender", TIME, &["timestamp-format", "transmit-stamps", "hardware-stamps"]),
    ("sender", KEYS, &["auth-key-file", "authenticated", "tlv-key-file"]),
    ("sender", OUTPUT, &["format", "live", "plain", "output", "hdr-log"]),
    ("sender", THRESHOLDS, &["max-loss", "max-rtt", "max-jitter"]),
    ("sender", TLVS, &["tlv-profile", "code-point", "stateful-reflector"]),
    ("reflector", TIME, &["ptp"]),
    (
        "reflector",
        PROCESS,
        &[
            "config",
            "api",
            "api-token-file",
            "api-tls-cert",
            "api-tls-key",
            "api-host",
            "api-writes",
            "session-metrics",
            "heartbeat",
        ],
    ),
];

/// Returns the heading of an option, named without its dashes.
pub(super) fn heading(path: &str, long: &str) -> Option<&'static str> {
    let is_it = |entry: &&(&str, &str, &[&str])| entry.0 == path && entry.2.contains(&long);
    let setting = if path == "reflector" { setting_groups::heading(long) } else { None };
    setting.or_else(|| HEADINGS.iter().find(is_it).map(|(_, heading, _)| *heading))
}

/// Options that short help leaves to `--help`.
const RARE: &[(&str, &[&str])] = &[
    ("sender", &["seed", "zero-padding", "destination-ext", "code-point", "stop-on-zero-ssid", "authenticated"]),
    (
        "reflector",
        &[
            "reflected-control-count",
            "reflected-control-length",
            "reflected-control-interval",
            "reflected-control-session-rate",
            "reflected-control-rate",
            "cos-legacy",
            "location-hide",
            "tlv-code",
            "tlv-profile",
            "api-host",
        ],
    ),
];

/// Returns true if short help leaves the option out.
pub(super) fn is_rare(path: &str, arg: &Arg) -> bool {
    let long = arg.get_long().unwrap_or_default();
    RARE.iter().any(|(command, options)| *command == path && options.contains(&long))
}

/// Returns true for an option that is a flag, although it may be given `true` or `false`.
pub(super) fn is_flag(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "true|false"))
}

/// Texts of short help for options whose own first sentence is too long for one line.
const SHORT: &[(&str, &str, &str)] = &[
    ("", "verbose", "Log more; twice, everything"),
    ("", "quiet", "Log less; sender: the summary alone"),
    ("", "log-format", "Form of log lines: text or json [text]"),
    ("", "help", "-h: these lines; --help: all, with examples"),
    ("sender", "targets", "More targets from a file, one a line"),
    ("sender", "ssid", "SSID of the first session, 0 for none [random]"),
    ("sender", "count", "Packets to each target, 0 for no limit [10]"),
    ("sender", "interval", "Time between two packets to a target"),
    ("sender", "poisson", "Exponentially distributed intervals"),
    ("sender", "burst", "This many packets at once"),
    ("sender", "dscp", "DSCP: 0 to 63, ef, af21, cs6 and so on"),
    ("sender", "size", "Octets of UDP payload, by padding"),
    ("sender", "ttl", "TTL or Hop Limit"),
    ("sender", "hbh-ext", "Add an IPv6 hop-by-hop options header"),
    ("sender", "malformed", "Something wrong with every packet"),
    ("sender", "timestamp-format", "Format of our timestamps: ntp or ptp"),
    ("sender", "transmit-stamps", "Who takes T1"),
    ("sender", "duration", "Send no longer than this, by the clock"),
    ("sender", "timeout", "When a packet without a reply is lost"),
    ("sender", "hardware-stamps", "Stamps by the network card of --interface"),
    ("sender", "segmentation-offload", "Batches by UDP GSO, above 100000/s"),
    ("sender", "realtime", "Sending threads before all other programs"),
    ("sender", "auth-key-file", "Authenticated mode; FILE, env:NAME, fd:N"),
    ("sender", "tlv-key-file", "Key of the HMAC TLV, in the same form"),
    ("sender", "stateful-reflector", "Trust the reflector's numbers for loss"),
    ("sender", "tlv-profile", "Types of experimental TLVs"),
    ("sender", "max-loss", "Most loss of a target"),
    ("sender", "max-rtt", "Longest round trip: p99=5ms, mean=1ms"),
    ("sender", "max-jitter", "Most jitter of the round trip"),
    ("sender", "format", "Form: human, json, jsonl, csv [human]"),
    ("sender", "live", "Live view, even of a short run; q stops"),
    ("sender", "plain", "Lines instead of the live view"),
    ("sender", "output", "File for the output"),
    ("sender", "hdr-log", "Distributions as an HdrHistogram log"),
    ("sender", "rate", "Packets a second to each target"),
    ("sender tlvs location", "source", "Ask for the source address"),
    ("sender tlvs access-report", "timer", "Send it again after so long without a reply"),
    ("sender tlvs reflected-control", "length", "Octets that each reply is to have"),
    ("sender tlvs reflected-control", "short", "Send Length 8, for the earlier Teaparty"),
    ("sender tlvs bit-error-rate", "size", "Octets of padding, in whole patterns"),
    ("sender tlvs reflected-v6-extension-header-data", "selector", "First 8 octets of that header, in hex"),
    ("sender tlvs reflected-fixed-header-data", "selector", "First 4 octets of that header, in hex"),
    ("probe", "realtime", "Real-time priority for all targets"),
    ("detach", "all", "All that was left, by any name"),
    ("reflector", "name", "Name among several reflectors"),
    ("reflector", "api", "Where the API is [127.0.0.1:8000]"),
    ("reflector", "api-token-file", "Token that clients of the API must send"),
    ("reflector", "api-tls-cert", "TLS for the API, with this certificate (PEM)"),
    ("reflector", "api-tls-key", "Key of that certificate (PEM)"),
    ("reflector", "api-host", "Host name that the API is asked for by"),
    ("reflector", "api-writes", "Who may change things over the API"),
    ("reflector", "session-metrics", "Metrics of this many sessions"),
    ("reflector", "heartbeat", "Send heartbeats; may repeat"),
    ("reflector", "iface", "Interface to answer on; may repeat"),
    ("reflector", "address", "Address to answer for; may repeat"),
    ("reflector", "strict-addresses", "Only addresses of the packet's own interface"),
    ("reflector", "any-vlan", "Answer frames with any VLAN tags"),
    ("reflector", "verify-checksums", "Verify UDP checksums first [auto]"),
    ("reflector", "link-layer", "Without XDP, take frames from a packet socket"),
    ("reflector", "stateless", "Repeat the sender's numbers, keep no state"),
    ("reflector", "max-sessions", "Most sessions that packets make [65536]"),
    ("reflector", "session-timeout", "When a silent session is forgotten [900]"),
    ("reflector", "session-restart", "Silence after which number 0 restarts it [30]"),
    ("reflector", "keep", "Leave the XDP program answering at the end"),
    ("reflector", "config", "File or folder with settings"),
    ("probe", "config", "File or folder with targets and settings"),
    ("reflector", "provisioned-only", "Answer only configured sessions"),
    ("reflector", "strict", "Drop Error Estimates with Multiplier 0"),
    ("reflector", "min-payload", "Shortest payload that is answered [14]"),
    ("reflector", "rate-limit", "Packets per second of a source"),
    ("reflector", "rate-limit-prefix", "Address bits that are one source [64:32]"),
    ("reflector", "punt-limit", "Packets per second for the controller"),
    ("reflector", "allow-destination-node", "Reply addresses [interface]"),
    ("reflector", "cos-legacy", "Class of Service as in RFC 8972"),
    ("reflector", "allow-return-address", "Obey Return Path TLVs to other addresses"),
    ("reflector", "reflected-control-count", "Most replies to one request [16]"),
    ("reflector", "reflected-control-length", "Longest reply [1472]"),
    ("reflector", "reflected-control-interval", "Least time between replies"),
    ("reflector", "reflected-control-session-rate", "Most octets a second of one"),
    ("reflector", "reflected-control-rate", "Most octets a second of all"),
    ("reflector", "tlv-code", "Type of an experimental TLV; may repeat"),
    ("reflector", "auth-key-file", "Key; FILE, credential:NAME, env:NAME, fd:N"),
    ("reflector", "tlv-key-file", "Key of HMAC TLVs, in the same form"),
    ("config convert", "output", "Where to write [standard output]"),
    ("status", "api", "Where the API is [http://127.0.0.1:8000]"),
    ("status", "api-ca", "Certificates that an API by https is known by"),
    ("capture", "api", "Where the API is [http://127.0.0.1:8000]"),
    ("capture", "api-ca", "Certificates that an API by https is known by"),
    ("capture", "rate", "Most frames a second; others are counted [10000]"),
    ("capture", "session", "Only packets of this session, by its id"),
    ("capture", "authenticated", "Only packets of authenticated sessions"),
    ("status", "watch", "Again at this interval in seconds, with rates [2]"),
];

/// Returns the text of an option in short help, if it has one of its own.
pub(super) fn short(path: &str, long: &str) -> Option<&'static str> {
    let of = |path: &str| SHORT.iter().find(|entry| entry.0 == path && entry.1 == long).map(|entry| entry.2);
    of(path).or_else(|| if heading(path, long).is_none() { of("") } else { None })
}

/// Returns every option that a table names, with its command.
#[cfg(test)]
pub(super) fn named() -> impl Iterator<Item = (&'static str, &'static str)> {
    let headings = HEADINGS.iter().map(|(path, _, options)| (*path, *options));
    let settings = setting_groups::GROUPS.iter().map(|group| ("reflector", group.names));
    let lists = headings.chain(settings).chain(RARE.iter().copied());
    let listed = lists.flat_map(|(path, options)| options.iter().map(move |option| (path, *option)));
    listed.chain(SHORT.iter().map(|(path, option, _)| (*path, *option)))
}

/// A command line and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The command line.
    pub words: &'static str,
    /// The description.
    pub what: &'static str,
}

const fn example(what: &'static str, words: &'static str) -> Example {
    Example { words, what }
}

/// Returns the examples of a command: the words after `teaparty`, empty for the program itself.
pub fn examples(path: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(command, _)| *command == path).map_or(&[], |(_, examples)| *examples)
}

const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "",
        &[
            example("Answer test packets on eth0", "teaparty reflector --iface eth0"),
            example("Measure against it", "teaparty sender reflector.example"),
            example("What does this host lack?", "teaparty doctor"),
        ],
    ),
    (
        "sender",
        &[
            example("Ten packets, and what became of them", "teaparty sender reflector.example"),
            example(
                "An hour at 50 packets a second, saved",
                "teaparty sender a.example -d 1h --rate 50 -f jsonl -o run.jsonl",
            ),
            example("Two targets, one at another port", "teaparty sender a.example b.example 8862"),
            example("A check: exit status 3 if it is bad", "teaparty sender a.example --max-loss 1% --max-rtt p99=5ms"),
            example("Authenticated", "teaparty sender a.example --auth-key-file /etc/teaparty/key"),
            example(
                "What the path does to DSCP and ECN",
                "teaparty sender a.example --ecn ect1 tlvs class-of-service --dscp af21",
            ),
            example("Several TLVs, each after a --", "teaparty sender a.example tlvs location -- time -- followup"),
        ],
    ),
    (
        "sender tlvs",
        &[
            example("All there are", "teaparty tlvs"),
            example("Options of one", "teaparty sender HOST tlvs reflected-control --help"),
            example("Two in each packet", "teaparty sender HOST tlvs time -- class-of-service --dscp ef"),
        ],
    ),
    (
        "reflector",
        &[
            example("Answer on every interface that is up", "teaparty reflector"),
            example("One interface, one network", "teaparty reflector --iface eth0 --allow 192.0.2.0/24"),
            example("Authenticated", "teaparty reflector --iface eth0 --auth-key-file /etc/teaparty/key"),
            example("By sockets, without BPF", "teaparty reflector --xdp-mode off"),
            example("All settings from a file", "teaparty reflector --config /etc/teaparty/teaparty.toml"),
        ],
    ),
    (
        "probe",
        &[
            example("Is the file good?", "teaparty probe --config probe.toml --check"),
            example("Measure, and write each period", "teaparty probe --config probe.toml --format jsonl"),
        ],
    ),
    (
        "status",
        &[
            example("Once", "teaparty status"),
            example("Every two seconds, with rates", "teaparty status --watch"),
            example(
                "By TLS, with a token",
                "teaparty status --api https://reflector.example:8443 --api-ca ca.pem --token-file token",
            ),
        ],
    ),
    (
        "capture",
        &[
            example("Into a pipe, for `tshark -r -` or `wireshark -k -i -`", "teaparty capture -w -"),
            example("What is dropped, and why", "teaparty capture --verdict drop -w drops.pcapng"),
            example("One sender's packets for a minute", "teaparty capture --host 192.0.2.1 -d 1m -w stamp.pcapng"),
        ],
    ),
    ("doctor", &[example("One interface, for a program", "teaparty doctor --iface eth0 --format json")]),
    (
        "report",
        &[
            example("A saved run as a table", "teaparty report run.jsonl"),
            example("As a page with plots", "teaparty report --html page.html run.jsonl"),
            example("What changed?", "teaparty report --compare before.json after.json"),
        ],
    ),
    ("detach", &[example("Remove what a killed reflector left", "teaparty detach --iface eth0")]),
    (
        "config",
        &[
            example("A file to begin with", "teaparty config init teaparty.toml"),
            example("What is wrong with a file?", "teaparty config check teaparty.toml"),
            example("A schema for editors", "teaparty config schema > teaparty.schema.json"),
            example("From the earlier Teaparty's YAML", "teaparty config convert teaparty.yaml -o teaparty.toml"),
        ],
    ),
    ("tlvs", &[example("For a program", "teaparty tlvs --format json")]),
    (
        "completions",
        &[
            example("For this shell", "source <(teaparty completions bash)"),
            example("For all users", "teaparty completions bash > /usr/share/bash-completion/completions/teaparty"),
        ],
    ),
    ("man", &[example("All pages", "teaparty man --output /usr/local/share/man/man1")]),
];

/// Returns what long help explains at length.
pub fn explanation(path: &str) -> Option<&'static str> {
    match path {
        "sender" => Some(SUMMARY),
        "reflector" => Some(KEY_FILES),
        _ => None,
    }
}

/// The words of the summary, each once.
const SUMMARY: &str = "\
The summary:
  sent          packets that left this host
  lost          packets without a reply within --timeout
  far end       of these, lost on the way forward (to the reflector)
  near end      of these, lost on the way backward (from the reflector)
  unattributed  of these, lost with no later reply to tell which
  round trip    T4 - T1 without the residence: the delay of the path
  residence     T3 - T2: what the reflector took to answer
  forward       T2 - T1; backward T4 - T3: one-way delays, which are only
                as good as both clocks; the summary says what they claim
  pacing error  how late packets left against the schedule
  jitter        how much delays of consecutive packets differ
  p50, p99      percentiles: half, and 99 %, of the packets took no longer
A wider terminal (or COLUMNS=120) shows more figures.

Key files:
  The octets of the file are the key. hex: or base64: in front says that
  the rest is written so. One newline, or CR LF, at the end does not count.
  Others may not read the file. A key should have 16 octets or more.";

const KEY_FILES: &str = "\
Key files:
  The octets of the file are the key. hex: or base64: in front says that
  the rest is written so. One newline, or CR LF, at the end does not count.
  Others may not read the file. A key should have 16 octets or more.";

/// Exit statuses and what they mean.
pub const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "success"),
    ("1", "failure: something could not be done, standard error says what"),
    ("2", "usage: the command line, or a file that it names, is wrong"),
    ("3", "a measurement exceeded a threshold such as --max-loss"),
    ("4", "packets were sent, and no reply at all came back"),
];

/// Files of the program and what they are for.
pub const FILES: &[(&str, &str)] = &[
    ("/etc/default/teaparty", "options of the reflector, where its service reads them"),
    ("/etc/teaparty/teaparty.toml", "configuration of the reflector, where its service reads it"),
    ("/etc/teaparty/conf.d/*.toml", "further files of it, in the order of their names"),
    ("/etc/teaparty/probe.toml", "configuration of the probe, where its service reads it"),
    ("/etc/teaparty/probe.conf.d/*.toml", "further files of it, in the order of their names"),
    ("/sys/fs/bpf/teaparty/", "pinned link, programs and maps of a running reflector, a folder for each interface"),
];

/// Variables of the environment and what they do.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("TEAPARTY_LOG", "filter of log lines, such as warn,teaparty_user::heartbeat=debug; wins over -v and -q"),
    ("COLUMNS", "columns that text for people has; else the terminal's, else 80"),
    ("CREDENTIALS_DIRECTORY", "where systemd put the keys that credential:NAME names"),
    ("NOTIFY_SOCKET", "where systemd wants to hear that the service is ready"),
];
