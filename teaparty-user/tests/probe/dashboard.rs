//! The probe's page in a browser.

use std::process::{Command, Stdio};

use teaparty_testing::browser::Browser;
use teaparty_testing::local::{LocalReflector, free_port};
use teaparty_testing::skip::or_skip;

use crate::support::Ended;

/// Targets that are answered, besides one that is not.
const ANSWERED: usize = 29;

/// A probe of this file on loopback.
fn start(folder: &std::path::Path, text: &str) -> Ended {
    let path = folder.join("probe.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(["probe", "--config"]).arg(path).stdin(Stdio::null()).stdout(Stdio::null());
    Ended(command.stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_browser_shows_the_targets_of_a_probe_at_every_width() {
    let Some(browser) = or_skip(Browser::start()) else { return };
    let reflector = LocalReflector::ours(&["--api", "none", "--xdp-mode", "off"]);
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut text = format!(
        "api = \"127.0.0.1:{port}\"\ninterval = \"100ms\"\ntimeout = \"500ms\"\n\
         [sla]\nperiod = \"2s\"\nsmall-interval = \"1s\"\nunavailable-after = 2\n\
         [[target]]\nname = \"nobody\"\naddress = \"127.0.0.1:{}\"\nlabels = {{ from = \"ams\", to = \"par\" }}\n",
        free_port()
    );
    for n in 0..ANSWERED {
        let labels =
            ["{ from = \"ams\", to = \"fra\" }", "{ from = \"fra\", to = \"ams\" }", "{ site = \"par\" }"][n % 3];
        let address = format!("127.0.0.1:{}", reflector.port);
        text += &format!("[[target]]\nname = \"link-{n:02}\"\naddress = \"{address}\"\nlabels = {labels}\n");
    }
    let mut probe = start(folder.path(), &text);
    browser.view(1024, "light");
    // The probe may not listen yet.
    let url = format!("http://127.0.0.1:{port}/");
    browser.open_when_there(&url);
    browser.until("document.getElementById('page-range').textContent === '1 to 25 of 30 targets'");
    browser.until("document.querySelector('#target-rows .period')");
    let matrix = "document.querySelector('.matrix')";
    browser.until(matrix);
    let places = format!("[...{matrix}.querySelectorAll('th')].map((one) => one.textContent).join(' ')");
    assert_eq!(browser.text(&places), "from \\ to ams fra par this probe ams fra");
    one_target(&browser);
    states_and_search(&browser);
    // The first minute ends within a minute.
    browser.until("document.querySelector('.heat .cell.lost') && document.querySelector('.heat [class*=shade]')");
    for width in [390, 1024, 1920] {
        for theme in ["light", "dark"] {
            browser.view(width, theme);
            browser.assert_accessible(&format!("{width} {theme}"));
            browser.picture(&format!("probe-{width}-{theme}"));
        }
    }
    let foreign = "performance.getEntriesByType('resource').map((one) => one.name).filter((one) => !one.startsWith(origin)).join()";
    assert_eq!(browser.text(foreign), "");
    probe.0.kill().unwrap();
    browser.until("document.getElementById('notice').innerText.startsWith('Connection lost, trying again.')");
    let _again = start(folder.path(), &text);
    browser.until("document.getElementById('live').textContent === 'live'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Shows only targets of a state, and only those of a label.
fn states_and_search(browser: &Browser) {
    let rows = "[...document.querySelectorAll('#target-rows th')].map((one) => one.textContent)";
    browser.until("document.querySelector('[data-state=unavailable] .value').textContent === '1'");
    browser.run("document.querySelector('[data-state=unavailable]').click()");
    browser.until(&format!("{rows}.length === 1 && {rows}[0].startsWith('nobody')"));
    assert_eq!(browser.text("document.querySelector('[data-state=unavailable]').getAttribute('aria-pressed')"), "true");
    browser.run("document.querySelector('[data-state=\"\"]').click()");
    browser.run("document.getElementById('target-search').focus()");
    browser.press("fra");
    browser.until("document.getElementById('page-range').textContent.endsWith('of 20 targets')");
    browser.press("x");
    browser.until("document.getElementById('target-rows').textContent.includes('Search for less')");
    browser.press("\u{e003}\u{e003}\u{e003}\u{e003}");
    browser.until("document.getElementById('page-range').textContent.endsWith('of 30 targets')");
}

/// Opens a target by the keyboard: one that nobody answers, whose loss has no direction.
fn one_target(browser: &Browser) {
    let button = "[...document.querySelectorAll('#target-rows button')].find((one) => one.textContent === 'nobody')";
    browser.until(button);
    browser.run(&format!("{button}.focus()"));
    browser.press("\u{e007}");
    let fact = |name: &str| {
        format!(
            "[...document.querySelectorAll('#target .facts div')].find((one) => one.firstChild.textContent === '{name}')?.lastChild.textContent"
        )
    };
    browser.until(&format!("{} === '–unknown'", fact("Lost forward")));
    browser.until(&format!("{} === '100.00 %'", fact("Loss of this period")));
    browser.until("document.querySelector('#target tbody .badge-state')");
    browser.until("document.activeElement.id === 'target'");
    browser.assert_accessible("a target");
    browser.picture("probe-target");
    browser.press("\u{e00c}");
    browser.until("document.getElementById('target').hidden");
}
