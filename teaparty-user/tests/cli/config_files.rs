//! The configuration files of `testing_data/configs`: the good ones are taken, and each bad one gives exactly the message
//! beside it, by `config check` as by the reflector itself. In `namesake` are files of the earlier implementation: what
//! becomes of the good ones is beside them, too.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use teaparty_testing::skip::or_skip;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/configs").join(name)
}

/// The TOML files of a folder, by name.
fn files(name: &str) -> Vec<String> {
    files_of(name, ".toml")
}

/// The files of a folder with this ending, by name.
fn files_of(name: &str, ending: &str) -> Vec<String> {
    let entries =
        std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = entries.filter(|name| name.ends_with(ending)).collect();
    files.sort();
    assert!(files.len() > 2, "{name} is as good as empty");
    files
}

fn teaparty(place: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    // A reflector that starts would not end.
    command.args(arguments).current_dir(folder(place)).timeout(Duration::from_secs(60)).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn good_files_are_taken() {
    for file in files("good") {
        let output = teaparty("good", &["config", "check", &file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("good: "), "{file}");
    }
}

#[test]
fn each_bad_file_gives_the_message_beside_it() {
    for file in files("bad") {
        let expected = beside("bad", &file, "expect");
        let output = teaparty("bad", &["config", "check", &file]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), expected.clone()), "{file}");
        assert!(!expected.contains("hunter2"), "{file}: a key is shown");
    }
}

#[test]
fn a_reflector_is_not_started_with_a_bad_file() {
    for file in files("bad") {
        let output = teaparty("bad", &["reflector", "--config", &file]);
        assert_eq!(output.status.code(), Some(2), "{file}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{file} was ready");
    }
}

/// Returns the file beside another one.
fn beside(name: &str, file: &str, extension: &str) -> String {
    let path = folder(name).join(Path::new(file).with_extension(extension));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn files_of_the_earlier_implementation_become_files_that_are_taken() {
    let name = "namesake/good";
    for file in files_of(name, ".yaml") {
        let output = teaparty(name, &["config", "convert", &file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
        assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), beside(name, &file, "toml"), "{file}");
        // Notes on standard error are in the file as well.
        let notes = stderr(&output).lines().filter(|line| line.starts_with(&file)).count();
        assert_eq!(notes, beside(name, &file, "toml").lines().skip(1).filter(|line| line.starts_with('#')).count());
    }
    for file in files(name) {
        let output = teaparty(name, &["config", "check", &file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
    }
}

#[test]
fn what_has_no_counterpart_here_is_named_with_line_key_and_remedy() {
    let name = "namesake/bad";
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("teaparty.toml");
    for file in files_of(name, ".yaml") {
        let output = teaparty(name, &["config", "convert", &file, "-o", place.to_str().unwrap()]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), beside(name, &file, "expect")), "{file}");
        assert!(output.stdout.is_empty() && !place.exists(), "{file}: half of it was written");
    }
}

#[test]
fn a_converted_file_goes_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("teaparty.toml");
    let name = "namesake/good";
    let output = teaparty(name, &["config", "convert", "several.yaml", "--output", place.to_str().unwrap()]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    assert_eq!(std::fs::read_to_string(&place).unwrap(), beside(name, "several.yaml", "toml"));
    let output = teaparty(name, &["config", "convert", "several.yaml", "-o", "/nonexistent/teaparty.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write /nonexistent/teaparty.toml"), "{}", stderr(&output));
}

#[test]
fn what_can_not_be_read_is_said() {
    for (arguments, said) in [
        (&["config", "check", "nowhere.toml"][..], "nowhere.toml: cannot be read: No such file"),
        (&["config", "convert", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file"),
        (&["config", "check", "/dev/zero"], "/dev/zero: cannot be read: it is a device, not a regular file"),
        (&["config", "check", "/proc/self/exe"], "is this the right file?"),
        (&["reflector", "--config", "."], ".: is a folder without teaparty.toml and conf.d; is this the right one?"),
    ] {
        let output = teaparty("good", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn standard_input_is_a_file_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    let output = command.args(["config", "check", "-"]).pipe_stdin(folder("bad").join("unknown-key.toml")).unwrap();
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("standard input:2:1: rate_limit: "), "{}", stderr(&output));
}

#[test]
fn more_addresses_than_may_be_are_refused_by_name_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let list = |count: u32| {
        let entries: Vec<String> =
            (0..count).map(|n| format!("'{}'", std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
        let path = folder.path().join(format!("{count}.toml"));
        std::fs::write(&path, format!("iface = 'lo'\naddress = [{}]\n", entries.join(","))).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let fits = teaparty("good", &["config", "check", &list(65_536)]);
    assert_eq!(fits.status.code(), Some(0), "{}", stderr(&fits));
    let file = list(65_537);
    for arguments in [&["config", "check", &file][..], &["reflector", "--config", &file]] {
        let output = teaparty("good", arguments);
        let error = stderr(&output);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{arguments:?}: {error}");
        let is_named = ["address: ", "65536", "65537"].iter().all(|part| error.contains(part));
        assert!(is_named, "{arguments:?}: {error}");
    }
}

#[test]
fn more_sessions_than_may_be_are_refused_by_name_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.toml");
    // One more than there may be. That all are the same is not looked at any more.
    let text = format!("iface = 'lo'\nsession = [{}]\n", "{source='::1'},".repeat(1_048_577));
    std::fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap();
    for arguments in [&["config", "check", file][..], &["reflector", "--config", file]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
        // A build without optimisation takes its time to parse it.
        let output = command.args(arguments).timeout(Duration::from_secs(300)).output().unwrap();
        let error = stderr(&output);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{arguments:?}: {error}");
        let is_named = [":2:11: session: ", "1048576", "1048577"].iter().all(|part| error.contains(part));
        assert!(is_named && error.lines().count() < 5, "{arguments:?}: {error}");
    }
}

/// Bad files that an editor with the schema shows to be bad; the others are wrong in ways that no schema can say.
const BAD_BY_SCHEMA: &[&str] = &[
    "bad-session",
    "key-in-the-file",
    "no-sessions-at-all",
    "process-key-in-a-table",
    "reflector-is-no-table",
    "session-nobody-sends",
    "unknown-key",
    "value-out-of-range",
    "wrong-type",
];

/// Likewise of the probe's files.
const BAD_PROBES_BY_SCHEMA: &[&str] =
    &["bearer-for-files", "label-of-the-probe", "process-key-in-a-target", "sla-is-no-table", "target-without-address"];

#[test]
fn good_files_of_a_probe_are_taken_and_bad_ones_give_the_message_beside_them() {
    for file in files("probe/good") {
        let output = teaparty("probe/good", &["probe", "--check", "--config", &file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
    }
    for file in files("probe/bad") {
        let output = teaparty("probe/bad", &["probe", "--check", "--config", &file]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), beside("probe/bad", &file, "expect")), "{file}");
    }
}

#[test]
fn the_schemas_take_the_good_files_and_refuse_what_they_can() {
    // Debian's packages are for Debian's Python.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let probe = std::process::Command::new(python).args(["-c", "import jsonschema, tomllib"]).output();
        probe.is_ok_and(|output| output.status.success())
    });
    let python = python.ok_or_else(|| "no Python with jsonschema and tomllib".to_owned());
    let Some(python) = or_skip(python) else { return };
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness/config_schema.py");
    for (kind, above, expected) in [("reflector", "", BAD_BY_SCHEMA), ("probe", "probe/", BAD_PROBES_BY_SCHEMA)] {
        let schema = teaparty("good", &["config", "schema", "--for", kind]);
        assert_eq!(schema.status.code(), Some(0));
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), &schema.stdout).unwrap();
        let judged = |name: &str| -> Vec<(String, String)> {
            let name = format!("{above}{name}");
            let mut command = Command::new(python);
            command.arg(&judge).arg(place.path()).args(files(&name)).current_dir(folder(&name));
            let output = command.timeout(Duration::from_secs(60)).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let text = String::from_utf8(output.stdout).unwrap();
            let verdicts = text.lines().map(|line| line.split_once(".toml ").unwrap());
            verdicts.map(|(name, verdict)| (name.to_owned(), verdict.to_owned())).collect()
        };
        let good = judged("good");
        assert!(good.iter().all(|(_, verdict)| verdict == "ok"), "{good:?}");
        let bad = judged("bad");
        let refused = bad.iter().filter(|(_, verdict)| verdict == "bad").map(|(name, _)| name.as_str());
        assert_eq!(refused.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_file_to_begin_with_is_written_once_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, name) in [("reflector", "teaparty.toml"), ("probe", "probe.toml")] {
        let file = folder.path().join(name);
        let file = file.to_str().unwrap();
        let init = |more: &[&str]| teaparty("good", &[&["config", "init", "--for", kind, file], more].concat());
        assert_eq!(init(&[]).status.code(), Some(0));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.starts_with(&format!("# Configuration of teaparty {kind} ")), "{text}");
        std::fs::write(file, "changed").unwrap();
        let again = init(&[]);
        assert_eq!(again.status.code(), Some(2));
        assert!(stderr(&again).contains("is there already; name another file, or overwrite it with --force"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), "changed");
        assert_eq!(init(&["--force"]).status.code(), Some(0));
        assert_eq!(std::fs::read_to_string(file).unwrap(), text);
        let printed = teaparty("good", &["config", "init", "--for", kind, "-"]);
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
    }
}

#[test]
fn a_folder_is_a_file_with_its_drop_ins_and_mistakes_have_the_file_in_which_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let check = || teaparty("good", &["config", "check", folder.path().to_str().unwrap()]);
    write("teaparty.toml", "iface = 'lo'\nport = 1\n[[session]]\nsource = '192.0.2.1'");
    write("conf.d/20-port.toml", "port = 3\n");
    write("conf.d/10-more.toml", "port = 2\n[[session]]\nsource = '192.0.2.2'\n");
    let output = check();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "good: lo on lo port 3, 2 provisioned sessions\n");
    write("conf.d/10-more.toml", "\nprot = 2\n");
    write("conf.d/20-port.toml", "port = \"x\"\n[[session]\n");
    let said = stderr(&check());
    let path = folder.path().display();
    assert!(said.contains(&format!("{path}/conf.d/10-more.toml:2:1: prot: there is no such key")), "{said}");
    assert!(said.contains(&format!("{path}/conf.d/20-port.toml:1:8: port: ")), "{said}");
    assert!(said.contains(&format!("{path}/conf.d/20-port.toml:2:")), "{said}");
    assert!(!said.contains("teaparty.toml"), "{said}");
}
