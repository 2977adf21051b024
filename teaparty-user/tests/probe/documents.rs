//! Targets from documents that others write, and the probe's own file, read again.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::reflector_support::Net;
use crate::reflector_support::probe::or_skip;
use crate::reflector_support::web::get;
use crate::support::{API, Probe, names, number, replace, target};

/// Where the documents are, in the probe's namespace.
const DOCUMENTS: &str = "127.0.0.1:9863";

/// A server of one document in the near namespace; the test changes what it says.
fn serve(net: &Net) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::from("no document")));
    let listener = net.in_near(|| TcpListener::bind(DOCUMENTS)).unwrap();
    let says = said.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let document = says.lock().unwrap().clone();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", document.len());
            let _ = stream.write_all((head + &document).as_bytes());
        }
    });
    said
}

#[test]
fn targets_come_from_documents_and_bad_ones_change_nothing() {
    let name = "targets_come_from_documents_and_bad_ones_change_nothing";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let document = serve(&net);
    let config = "interval = \"20ms\"\n[[target]]\naddress = \"192.0.2.2:862\"\nname = \"own\"\n\
        [[file-sd]]\nfile = \"FOLDER/sd.json\"\n[[http-sd]]\nurl = \"http://127.0.0.1:9863/sd\"\nrefresh = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "own", 20);
    assert_eq!(names(&net), ["own"]);
    *document.lock().unwrap() = r#"[{"targets": ["[2001:db8::2]:862"], "labels": {"via": "http"}}]"#.into();
    replace(&probe.path("sd.json"), r#"[{"targets": ["192.0.2.2:862"], "labels": {"via": "file"}}]"#);
    probe.until_answered(&net, "[2001:db8::2]:862", 20);
    probe.until_answered(&net, "192.0.2.2:862", 20);
    *document.lock().unwrap() = "[{".into();
    replace(&probe.path("sd.json"), r#"{"targets": []}"#);
    let failed = |net: &Net, of: &str| {
        let metrics = get(net, API, "/metrics").unwrap_or_default();
        let line =
            metrics.lines().find(|line| line.starts_with("teaparty_probe_source_failures_total") && line.contains(of));
        line.is_some_and(|line| line.rsplit(' ').next().is_some_and(|count| count.parse::<u64>().unwrap() >= 2))
    };
    probe.until("failures", || failed(&net, "http://") && failed(&net, "sd.json"));
    assert_eq!(names(&net), ["own", "192.0.2.2:862", "[2001:db8::2]:862"]);
    // A mistake in the file changes nothing either; a good file does, and leaves the others alone.
    let session = target(&net, "192.0.2.2:862").unwrap()["session"].clone();
    let received = number(&net, "192.0.2.2:862", "received").unwrap();
    let text = std::fs::read_to_string(probe.path("probe.toml")).unwrap();
    replace(&probe.path("probe.toml"), &format!("nonsense = 1\n{text}"));
    let log = probe.path("log");
    probe.until("a refusal", || std::fs::read_to_string(&log).unwrap().contains("1:1: nonsense"));
    replace(&probe.path("probe.toml"), &text.replace("name = \"own\"", "name = \"renamed\""));
    probe.until_answered(&net, "renamed", 20);
    assert_eq!(names(&net), ["renamed", "192.0.2.2:862", "[2001:db8::2]:862"]);
    let kept = target(&net, "192.0.2.2:862").unwrap();
    assert_eq!(kept["session"], session);
    assert!(kept["received"].as_u64().unwrap() >= received, "it began anew: {kept}");
    probe.end();
}
