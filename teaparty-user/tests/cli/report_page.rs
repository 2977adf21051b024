//! The page of `teaparty report` in a real browser: that it is drawn, that it loads nothing, that nothing in it is refused.
//!
//! Needs Chromium; skipped without.

use std::path::{Path, PathBuf};
use std::process::Command;

use teaparty_testing::sender::{Act, Behaviour, Reflector, teaparty};
use teaparty_testing::skip::or_skip;

/// Names of the browser on various systems.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Opens a page without a screen. Gives what the browser says on standard output and standard error.
fn browse(browser: &str, folder: &Path, page: &Path, action: &str) -> (String, String) {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr"])
        .args(["--window-size=1000,2200", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(action)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{action}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// Pixels of a picture that have about this colour.
fn pixels(picture: &Path, is_wanted: impl Fn([u8; 3]) -> bool) -> usize {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(picture).unwrap()));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().unwrap();
    let mut octets = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut octets).unwrap();
    let step = info.color_type.samples();
    assert!(step >= 3, "colours are wanted");
    octets[..info.buffer_size()].chunks_exact(step).filter(|pixel| is_wanted([pixel[0], pixel[1], pixel[2]])).count()
}

fn is_blue([red, green, blue]: [u8; 3]) -> bool {
    blue > 120 && blue > red.saturating_add(40) && blue > green.saturating_add(20)
}

fn is_orange([red, green, blue]: [u8; 3]) -> bool {
    red > 180 && red > green.saturating_add(60) && green > blue.saturating_add(40)
}

fn is_green([red, green, blue]: [u8; 3]) -> bool {
    green > 120 && green > red.saturating_add(40) && green > blue.saturating_add(40)
}

/// A measurement of forty packets saved in a folder, as a stream and as a histogram log.
fn measure(reflector: &Reflector, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (stream, log) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}.hdr")));
    let words = format!(
        "sender {} -c 40 -i 2ms -W 200ms --format jsonl -o {} --hdr-log {}",
        reflector.address,
        stream.display(),
        log.display()
    );
    assert_eq!(teaparty(&words).0, 0);
    (stream, log)
}

#[test]
fn pages_are_drawn_by_a_browser_and_load_nothing() {
    let found = BROWSERS.iter().find(|browser| Command::new(browser).arg("--version").output().is_ok());
    let Some(browser) = or_skip(found.ok_or("there is no Chromium")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Box::new(|n| Act { lost_there: n == 3, ..Act::default() });
    let reflector = Reflector::start("127.0.0.1", Behaviour { script, ..Behaviour::default() });
    let [(stream, log), (other, _)] = ["a<b>", "other"].map(|name| measure(&reflector, folder.path(), name));
    let pages = [
        // Its words, its plots, and whether two lines of quantiles are in it.
        (format!("report {}", stream.display()), 4, false),
        (format!("report {}", log.display()), 2, false),
        (format!("report --compare {} {}", stream.display(), other.display()), 4, true),
    ];
    for (i, (words, plots, is_comparison)) in pages.iter().enumerate() {
        let page = folder.path().join(format!("{i}.html"));
        assert_eq!(teaparty(&format!("{words} --html {}", page.display())).0, 0);
        let (dom, said) = browse(browser, folder.path(), &page, "--dump-dom");
        assert!(!said.contains("CONSOLE"), "the browser complains of {words}: {said}");
        assert_eq!(dom.matches("<svg ").count(), *plots, "{words}: {dom}");
        // Anything that the parser had to repair would show as another document.
        let written = std::fs::read_to_string(&page).unwrap();
        for element in ["<h3", "<h4", "<tr", "<rect", "<circle", "<polyline", "<path"] {
            assert_eq!(dom.matches(element).count(), written.matches(element).count(), "{words}: {element}");
        }
        let picture = folder.path().join(format!("{i}.png"));
        browse(browser, folder.path(), &page, &format!("--screenshot={}", picture.display()));
        let (blue, orange, green) =
            (pixels(&picture, is_blue), pixels(&picture, is_orange), pixels(&picture, is_green));
        assert!(blue > 200, "{words}: quantiles and bars are blue, {blue} pixels are");
        assert_eq!(orange > 100, *is_comparison, "{words}: the second line is orange, {orange} pixels are");
        assert_eq!(green > 1_000, i != 1, "{words}: received packets are green, {green} pixels are");
        if let Some(kept) = std::env::var_os("TEAPARTY_TEST_PICTURES") {
            std::fs::copy(&picture, Path::new(&kept).join(format!("report-{i}.png"))).unwrap();
        }
    }
}
