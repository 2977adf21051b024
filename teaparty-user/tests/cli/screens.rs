//! What the program prints, as text at three sizes: nothing is wider than its screen, and larger ones show more.

use std::process::Command;

use teaparty_testing::sender::{Act, Behaviour, Reflector};

/// Columns of the screens.
const SIZES: [usize; 3] = [40, 80, 200];

/// Standard output at a screen of this many columns.
fn shown(columns: usize, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_teaparty"))
        .args(arguments.split_whitespace())
        .env("COLUMNS", columns.to_string())
        .env_remove("TEAPARTY_LOG")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > columns).collect();
    assert!(wide.is_empty(), "{arguments} at {columns}: {wide:#?}");
    text
}

/// A reflector that loses the third packet on the way there, and the fifth one's reply.
fn lossy() -> Reflector {
    let script = |n| Act { lost_there: n == 2, lost_back: n == 4, ..Act::default() };
    Reflector::start("127.0.0.1", Behaviour { script: Box::new(script), ..Behaviour::default() })
}

#[test]
fn replies_and_summary_fit_and_more_columns_show_more() {
    let mut before = 0;
    for columns in SIZES {
        let reflector = lossy();
        let text = shown(
            columns,
            &format!("sender {} -i 10ms -W 200ms -c 8 tlvs location -- class-of-service --dscp ef", reflector.address),
        );
        for part in ["seq=7 rtt=", "8 sent, 6 received, 2 lost (25.000 %): far", "p50", "pacing error", "one way"] {
            // Words may be folded.
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(part), "{part} is missing at {columns}:\n{text}");
        }
        assert_eq!(text.matches("unreliable").count() + text.matches("one way ±").count(), 1, "once:\n{text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest > before, "{columns} show no more than {before}:\n{text}");
        before = widest;
        for old in ["there", "sent late", "back="] {
            let flat = text.replace("backward=", "");
            assert!(!flat.contains(old), "`{old}` is not a word of this program:\n{text}");
        }
    }
}

#[test]
fn several_targets_and_long_names_fit() {
    let (one, other) = (lossy(), lossy());
    for columns in SIZES {
        let text = shown(columns, &format!("sender {} {} -i 10ms -W 100ms -c 3", one.address, other.address));
        assert!(text.contains("--- all 2 targets ---"), "{text}");
    }
}

#[test]
fn quiet_prints_the_summary_alone() {
    let reflector = lossy();
    let text = shown(80, &format!("sender -q {} -i 10ms -W 100ms -c 3", reflector.address));
    assert!(!text.contains("seq=") && text.starts_with("--- ") && text.contains("3 sent, 2 received"), "{text}");
    // In a pipe, --format human is what --plain is: lines and the summary.
    for form in ["--plain", "--format human"] {
        let reflector = lossy();
        let text = shown(80, &format!("sender {form} {} -i 10ms -W 100ms -c 3", reflector.address));
        assert!(text.matches("seq=").count() == 3 && text.contains("3 sent, 2 received"), "{form}: {text}");
    }
}

#[test]
fn reports_lists_and_findings_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl").display().to_string();
    let reflector = lossy();
    let run = format!("sender {} -i 5ms -W 100ms -c 8 --format jsonl -o {path}", reflector.address);
    shown(80, &run);
    for columns in SIZES {
        for arguments in [format!("report {path}"), format!("report --compare {path} {path}"), "tlvs".into()] {
            assert!(!shown(columns, &arguments).is_empty(), "{arguments}");
        }
    }
    for columns in [80, 200] {
        shown(columns, "doctor --iface lo");
        for arguments in ["-h", "sender -h", "reflector -h", "probe -h", "status -h", "report -h"] {
            shown(columns, arguments);
        }
    }
}
