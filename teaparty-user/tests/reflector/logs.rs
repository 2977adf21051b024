//! The log of a running reflector: the XDP program's messages in it, floods that are cut and counted, and its forms. Takes
//! root; root is needed for namespaces and programs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Net, V4, start};
use teaparty_testing::skip::or_skip;

/// Most time for a line. Machines are slow under load; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log that is still being written.
struct Log {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Log {
    fn new() -> (Self, File) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = File::create(&path).unwrap();
        (Self { _folder: folder, path }, file)
    }

    fn read(&self) -> String {
        let mut text = String::new();
        File::open(&self.path).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits for a line that contains all of these words.
    fn wait_for(&self, words: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.read();
            let found = text.lines().find(|line| words.iter().all(|words| line.contains(words)));
            if let Some(line) = found {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no line with {words:?} in {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn what_the_program_says_is_logged_where_somebody_asks_for_it() {
    let Some(net) = or_skip(Net::new()) else { return };
    for (verbosity, is_said) in [("-v", true), ("-q", false)] {
        let (log, file) = Log::new();
        let arguments = ["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "native", verbosity];
        let reflector = start(net.teaparty(&arguments).stderr(file));
        let client = net.client(V4, 862);
        let port = client.socket.local_addr().unwrap().port();
        let mut client = client;
        assert!(client.ask(&[]).is_some());
        if is_said {
            log.wait_for(&["DEBUG", "veth0: new session from", "192.0.2.2", &format!("port {port}")]);
        }
        drop(reflector);
        assert_eq!(log.read().contains("new session"), is_said);
    }
}

#[test]
fn a_flood_of_lines_is_cut_and_what_was_left_out_is_counted() {
    let Some(net) = or_skip(Net::new()) else { return };
    let (log, file) = Log::new();
    let arguments = ["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "off"];
    let reflector = start(net.teaparty(&arguments).stderr(file));
    let client = net.client(V4, 862);
    // Each packet has an Access Report, which anybody may send and which is worth a line.
    let mut packet = vec![0u8; 44];
    packet[4..14].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
    packet.extend([0x80, 6, 0, 4, 0x10, 1, 0, 0]);
    for _ in 0..500 {
        client.exchange(&packet).expect("an answer");
    }
    log.wait_for(&["INFO", "480 more lines like this one were left out: 192.0.2.2:"]);
    let told = |text: &str| {
        let is_told = |line: &&str| line.contains(": access report (session ") && !line.contains(" more lines ");
        text.lines().filter(is_told).count()
    };
    assert_eq!(told(&log.read()), 20);
    // What is left at the end is reported at the end.
    for _ in 0..500 {
        client.exchange(&packet).expect("an answer");
    }
    assert!(reflector.stop_quietly().success());
    let text = log.read();
    let left_out: usize = text
        .lines()
        .filter_map(|line| line.split_once("INFO ")?.1.split_once(" more lines")?.0.parse::<usize>().ok())
        .sum();
    assert_eq!(told(&text) + left_out, 1000, "{text}");
}

#[test]
fn the_journal_gets_priorities_and_machines_get_json() {
    let Some(net) = or_skip(Net::new()) else { return };
    let cases: [(&[&str], bool, &str); 3] =
        [(&[], true, "<4>lo: "), (&[], false, " WARN lo: "), (&["--log-format", "json"], true, "{\"timestamp\":")];
    for (arguments, is_journal, expected) in cases {
        let (log, file) = Log::new();
        let about = file.metadata().unwrap();
        let mut command =
            net.teaparty(&[&["reflector", "--api", "none", "--iface", "lo", "--xdp-mode", "auto"], arguments].concat());
        command.stderr(file).stdout(Stdio::piped());
        // Elsewhere the variable is a stream of somebody else's, inherited.
        let stream = if is_journal { format!("{}:{}", about.dev(), about.ino()) } else { "1:2".into() };
        let reflector = start(command.env("JOURNAL_STREAM", stream));
        let line = log.wait_for(&["no native XDP"]);
        assert!(line.starts_with(expected), "{line}");
        if line.starts_with('{') {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            let fields = &event["fields"];
            assert_eq!((&event["level"], &fields["interface"]), (&"WARN".into(), &"lo".into()), "{line}");
            assert!(fields["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
            assert_eq!(event["span"]["name"], "start", "{line}");
        }
        assert!(reflector.stop_quietly().success());
        // All of it is in the one form.
        for line in log.read().lines() {
            assert_eq!(line.starts_with('<'), expected.starts_with('<'), "{line}");
            assert_eq!(line.starts_with('{'), expected.starts_with('{'), "{line}");
        }
    }
}
