//! A headless Chromium, driven by the WebDriver protocol (W3C), that looks at a page as people do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

/// Most time until a page is as a test waits for. Machines are slow under load; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(120);
/// The variable with the file of axe-core; `cargo xtask test` sets it.
const AXE: &str = "TEAPARTY_AXE";

/// A browser with one page.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    axe: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one. The error says what is missing.
    pub fn start() -> Result<Self, String> {
        let axe =
            std::env::var_os(AXE).map(PathBuf::from).ok_or(format!("{AXE} is not set; `cargo xtask test` sets it"))?;
        let axe = std::fs::read_to_string(&axe).map_err(|error| format!("{}: {error}", axe.display()))?;
        let mut command = Command::new("chromedriver");
        command.args(["--port=0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().map_err(|error| format!("chromedriver: {error}"))?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split("on port ").nth(1).filter(|_| line.contains("successfully"))?;
            port.trim_end_matches('.').parse().ok()
        });
        let port = port.ok_or("chromedriver ended before it was ready")?;
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut browser = Self { driver, port, session: String::new(), axe, _profile: profile };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            folder
        ]);
        let options = json!({"args": arguments});
        let wanted =
            json!({"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let answer = browser.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": wanted}}))?;
        browser.session = answer["sessionId"].as_str().ok_or("chromedriver gives no session")?.to_owned();
        Ok(browser)
    }

    /// One command to the driver; the error is what it says.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).map_err(|error| error.to_string())?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|error| error.to_string())?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| format!("chromedriver: {line}"))?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut octets = vec![0; length];
        reader.read_exact(&mut octets).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&octets).map_err(|error| error.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{path}: {error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body).unwrap()
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// Opens a page as soon as its server answers.
    pub fn open_when_there(&self, url: &str) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.ask("POST", &format!("/session/{}/url", self.session), &json!({"url": url})) {
            assert!(Instant::now() < end, "{url}: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Gives the page this width, and a theme by `prefers-color-scheme`.
    pub fn view(&self, width: u32, theme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let features = json!([
            {"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Runs a script in the page and returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The value of an expression, as text.
    pub fn text(&self, expression: &str) -> String {
        let value = self.run(&format!("return {expression}"));
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Waits until an expression is true.
    pub fn until(&self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != json!(true) {
            let page = || self.text("document.body.innerText");
            assert!(Instant::now() < end, "not so: {expression}\n{}\n{:?}", page(), self.complaints());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses keys where the focus is.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>()});
        self.command("POST", "/actions", &json!({"actions": [keyboard]}));
    }

    /// Saves a picture of the whole page to the folder that `TEAPARTY_TEST_PICTURES` names, if it does.
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("TEAPARTY_TEST_PICTURES") else { return };
        let size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]");
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": {
            "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1
        }});
        let answer =
            self.command("POST", "/goog/cdp/execute", &json!({"cmd": "Page.captureScreenshot", "params": shot}));
        let octets = BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), octets).unwrap();
    }

    /// Asserts what every page owes its readers: that axe-core finds no violation, that nothing is wider than the page, and that
    /// the browser refused and missed nothing.
    pub fn assert_accessible(&self, what: &str) {
        if self.run("return typeof axe === 'object'") != json!(true) {
            self.run(&format!("{}; return 0", self.axe));
        }
        let script = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then((found) => done(\
                      found.violations.map(({id, nodes}) => [id, nodes.map(({html, failureSummary}) => [html, failureSummary])])))";
        let found = self.command("POST", "/execute/async", &json!({"script": script, "args": []}));
        assert_eq!(found, json!([]), "{what}: axe-core finds {}", serde_json::to_string_pretty(&found).unwrap());
        let root = "document.documentElement";
        let is_wide = format!("return {root}.scrollWidth > {root}.clientWidth");
        assert_eq!(self.run(&is_wide), json!(false), "{what}: the page scrolls sideways");
    }

    /// Returns what the browser has complained of since the last call, except servers that do not answer.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({"type": "browser"}));
        let lines =
            log.as_array().into_iter().flatten().filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        let lines = lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned());
        lines.filter(|line| !line.contains("net::ERR_") && !line.contains("status of 4")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
