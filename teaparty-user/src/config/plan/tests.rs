//! Command line over tables over common keys over defaults, and what several reflectors may share.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    service: CliOverrides<Service>,
    #[command(flatten)]
    settings: CliOverrides<ReflectorSettings>,
}

fn plan(text: &str, line: &[&str]) -> Result<ProcessPlan, Vec<Diagnostic>> {
    let line = Line::try_parse_from([&["x"][..], line].concat()).unwrap();
    let input = CliInput { file: None, service: line.service, settings: line.settings, ptp: false };
    ProcessPlan::of(&text.into(), &input, &KeyLoader::default())
}

fn settings(plan: &ProcessPlan, at: usize) -> &ReflectorSettings {
    &plan.reflectors[at].config.settings
}

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
    let text = "iface = 'lo'\nport = [1, 2]\nstrict = true\nmin-payload = 44\nheartbeat = '192.0.2.1@5'\napi = 'none'";
    let line = ["--port", "862", "--strict=false", "--api", "127.0.0.1:1"];
    let plan = plan(text, &line).unwrap();
    let settings = settings(&plan, 0);
    assert_eq!((settings.port.as_slice(), settings.strict, settings.min_payload), (&[862][..], false, 44));
    assert_eq!(settings.max_sessions, ReflectorSettings::default().max_sessions);
    assert_eq!(plan.service.api_settings.api.unwrap().to_string(), "127.0.0.1:1");
    assert_eq!(plan.service.heartbeat.len(), 1);
}

#[test]
fn the_command_line_alone_is_one_reflector() {
    let session = "source=192.0.2.1,ssid=7";
    let plan = plan("", &["--iface", "lo", "--session", session, "--session", "source=192.0.2.2"]).unwrap();
    assert_eq!(plan.reflectors.len(), 1);
    assert_eq!(plan.reflectors[0].sessions.len(), 2);
    assert_eq!(plan.reflectors[0].name(), "lo");
}

#[test]
fn tables_take_what_stands_above_them_unless_they_say_otherwise() {
    let text = "iface = 'lo'\nstrict = true\nport = 1\n[[session]]\nsource = '192.0.2.1'\n\
        [[reflector]]\nname = 'a'\n[[reflector]]\nname = 'b'\nport = 2\nstrict = false\nxdp-mode = 'off'\nsession = []";
    let plan = plan(text, &["--min-payload", "50"]).unwrap();
    let (a, b) = (settings(&plan, 0), settings(&plan, 1));
    assert_eq!((a.port[0], a.strict, a.min_payload), (1, true, 50));
    assert_eq!((b.port[0], b.strict, b.min_payload), (2, false, 50));
    assert_eq!(plan.reflectors.iter().map(|r| r.sessions.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn the_second_reflector_of_an_interface_goes_without_its_program() {
    let text = "iface = 'lo'\n[[reflector]]\nname = 'a'\n[[reflector]]\nname = 'b'\nport = 2";
    let made = plan(text, &[]).unwrap();
    assert!(made.reflectors[0].config.without_xdp.is_empty());
    assert_eq!(made.reflectors[1].config.without_xdp, ["lo"]);
    // What is typed holds for both, and then both claim one thing.
    let wrong = plan(text, &["--xdp-mode", "native"]).unwrap_err();
    assert!(wrong[0].what.contains("`a` and `b` both want the XDP program of lo"), "{wrong:?}");
    let wrong = plan(text, &["--port", "9"]).unwrap_err();
    assert!(wrong[0].what.contains("`a` and `b` both claim UDP port 9 on lo"), "{wrong:?}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = "\
api = '0.0.0.0:8000'
prot = 1
iface = 'lo'
max-sessions = 0
deny-dscp = '64'
min-payload = 'long'
reflected-control-interval = '1us'
tlv-code = 'history=3'
auth-key-file = '/nonexistent'
[[session]]
source = '::'
[[session]]
source = '192.0.2.1'
ssdi = 7
";
    let wrong = plan(text, &[]).unwrap_err();
    let lines: Vec<usize> = wrong.iter().filter_map(|problem| Some(problem.place?.0)).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6, 7, 8, 9, 11, 14], "{wrong:#?}");
}

#[test]
fn lines_that_are_no_toml_hide_no_other_mistake() {
    let wrong = |text: &str| {
        let problems = plan(text, &[]).err().unwrap();
        problems.iter().map(|problem| (problem.place.unwrap_or_default().0, problem.key.clone())).collect::<Vec<_>>()
    };
    let told = |line: usize, key: &str| (line, key.to_owned());
    // Each line by itself, and what is wrong in the lines between them.
    let text = "iface = \"eth0\"\nport =\nttl = 0\nmtu = = 5\nxdp-mode = \"nosuch\"\n";
    let found = wrong(text);
    for line in [told(2, ""), told(4, ""), told(5, "xdp-mode")] {
        assert!(found.contains(&line), "{line:?}: {found:?}");
    }
    // Keys below a heading that can't be read may be of any table: they are not judged.
    let found = wrong("iface = \"eth0\"\nport = \"x\"\n[[reflector]\nnosuch = 1\n");
    assert_eq!(found, [told(2, "port"), told(3, "")]);
    // Every entry of a list.
    let found = wrong("iface = \"eth0\"\nallow = [\"192.0.2.0/24\", \"x\",\n\"2001:db8::/32\",\n\"y\"]\n");
    assert_eq!(found, [told(2, "allow"), told(4, "allow")]);
}

#[test]
fn what_was_typed_is_blamed_by_its_option() {
    let wrong = plan("iface = 'lo'\ndeny-dscp = 'ef'", &["--deny-dscp", "64"]).unwrap_err();
    assert_eq!((wrong[0].place, wrong[0].key.as_str()), (None, "--deny-dscp"));
    let wrong = plan("iface = 'lo'\n[[session]]\nsource = '::'", &["--session", "source=0.0.0.0"]).unwrap_err();
    assert!(wrong[0].to_string().contains("source: is the address of no sender"), "{wrong:?}");
}
