//! `teaparty capture`: packets of a running reflector, asked of its API, as pcapng.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};
use teaparty_common::reflect::{Disposition, REASONS, Reason};
use tokio::signal::unix::{SignalKind, signal};

use super::status::address::ApiAddress;
use super::status::client::{Client, StreamReply, Streaming};
use crate::exit_code::{Exit, UsageError};
use crate::reflector::capture::pcapng::{BlockReader, PACKET, STATISTICS, read_statistics};
use crate::reflector::capture::request::{CaptureDirection, DEFAULT_RATE, MAX_RATE, SNAPLEN};
use crate::sys::stdio::{complain, reader_gone};
use crate::units::parse_duration;

/// Captures what a running reflector answers and drops, in the kernel too, as pcapng for tshark and Wireshark.
#[derive(Args, Clone, Debug)]
pub struct CaptureArguments {
    /// Only packets by this interface
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    /// Frames as they arrived, as they left, or both
    #[arg(long, value_enum, default_value_t)]
    direction: CaptureDirection,
    /// Only packets with this verdict; may repeat
    #[arg(long, value_parser = PossibleValuesParser::new(VERDICTS.map(Disposition::label)))]
    verdict: Vec<String>,
    /// Only packets with this reason; may repeat
    #[arg(long, value_parser = PossibleValuesParser::new(REASONS.iter().map(|reason: &Reason| reason.label())))]
    reason: Vec<String>,
    /// Only packets from or to this address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Only packets of this session: SOURCE,PORT,DESTINATION,PORT,SSID
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only packets of authenticated sessions, as the controller gets them
    #[arg(long)]
    authenticated: bool,
    /// Most octets of a frame
    #[arg(long, value_name = "OCTETS", default_value_t = SNAPLEN.1,
          value_parser = clap::value_parser!(u32).range(SNAPLEN.0 as i64..=SNAPLEN.1 as i64))]
    snaplen: u32,
    /// End after this many frames
    #[arg(short, long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// End after this time, in whole seconds (10s, 5m)
    #[arg(short, long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Most frames a second; of more, an even sample is captured, and the others are counted
    #[arg(long, value_name = "FRAMES", default_value_t = DEFAULT_RATE,
          value_parser = clap::value_parser!(u32).range(1..=MAX_RATE as i64))]
    rate: u32,
    /// Address of the reflector's API: http://ADDRESS:PORT, https://ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "URL|unix:PATH", default_value = "http://127.0.0.1:8000")]
    api: ApiAddress,
    /// Certificates by which to know an API by https (PEM): its issuer's, or its own [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    api_ca: Option<PathBuf>,
    /// File with the token that the API wants
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// All verdicts.
const VERDICTS: [Disposition; 4] = [Disposition::Reflect, Disposition::Punt, Disposition::Drop, Disposition::Pass];

impl CaptureArguments {
    /// Captures until it is over, the reader has gone, or Ctrl-C.
    pub fn run(self) -> anyhow::Result<Exit> {
        let body = self.body()?;
        let client = Client::new(self.api.clone(), self.token_file.as_deref(), self.api_ca.as_deref())?;
        let mut output = CaptureFile::open(&self.write)?;
        client.runtime().block_on(async {
            let mut stream = match client.stream("/api/v1/captures", &body).await? {
                StreamReply::Stream(stream) => stream,
                StreamReply::Refused(problem) => bail!("cannot capture: {problem}"),
            };
            let ending = follow(&client, &mut stream, &mut output).await?;
            complain(ending);
            Ok(Exit::Success)
        })
    }

    /// Returns the request's body.
    fn body(&self) -> Result<Value, UsageError> {
        let mut body = Map::new();
        let mut add = |name: &str, value: Value| body.insert(name.into(), value);
        self.iface.as_ref().map(|name| add("interface", json!(name)));
        add("direction", json!(self.direction));
        add("verdicts", json!(self.verdict));
        add("reasons", json!(self.reason));
        self.host.map(|host| add("host", json!(host)));
        self.session.as_ref().map(|session| add("session", json!(session)));
        add("authenticated", json!(self.authenticated));
        add("snaplen", json!(self.snaplen));
        self.count.map(|count| add("count", json!(count)));
        if let Some(duration) = self.duration {
            if duration.as_secs() == 0 || duration.subsec_nanos() != 0 {
                return Err(UsageError::new("--duration: give whole seconds, one at least, such as 10s"));
            }
            add("duration_seconds", json!(duration.as_secs()));
        }
        add("rate", json!(self.rate));
        Ok(body.into())
    }
}

/// Where the capture goes.
struct CaptureFile {
    out: Box<dyn Write>,
    /// True for standard output, whose reader may go.
    is_piped: bool,
    what: String,
}

impl CaptureFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                let text = "a capture is no text: name a file with -w, or pipe it: teaparty capture | tshark -r -";
                return Err(UsageError::new(text).into());
            }
            return Ok(Self { out: Box::new(io::stdout()), is_piped: true, what: "standard output".into() });
        }
        let file = File::create(path).with_context(|| format!("-w: cannot write {}", path.display()))?;
        Ok(Self { out: Box::new(file), is_piped: false, what: path.display().to_string() })
    }

    /// Writes whole blocks; returns false if the reader has gone.
    fn write(&mut self, block: &[u8]) -> anyhow::Result<bool> {
        match self.out.write_all(block).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot write to {}", self.what)),
        }
    }
}

/// Writes what comes, and returns what to say at the end.
async fn follow(client: &Client, stream: &mut Streaming, output: &mut CaptureFile) -> anyhow::Result<String> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut reader = BlockReader::default();
    let (mut frames, mut losses) = (0u64, None);
    let mut is_ending = false;
    let mut gone = std::pin::pin!(reader_gone());
    loop {
        let part = tokio::select! {
            part = stream.next() => part,
            // Without a packet nothing would be written, and the program with capture would stay in place.
            () = &mut gone, if output.is_piped => break,
            _ = interrupt.recv(), if !is_ending => {
                is_ending = true;
                client.delete(&stream.location).await?;
                continue;
            }
            _ = terminate.recv(), if !is_ending => {
                is_ending = true;
                client.delete(&stream.location).await?;
                continue;
            }
        };
        let Some(part) = part else { break };
        let part = part.context("the capture breaks off; has the reflector ended?")?;
        let mut whole = Vec::new();
        for (kind, block) in reader.read(&part)? {
            match kind {
                PACKET => frames += 1,
                STATISTICS => {
                    let (above, other) = losses.unwrap_or((0, 0));
                    let (_, above_rate, lost) = read_statistics(&block).unwrap_or_default();
                    losses = Some((above + above_rate, other + lost));
                }
                _ => {}
            }
            whole.extend_from_slice(&block);
        }
        if !output.write(&whole)? {
            // Whoever closed the pipe has seen enough.
            break;
        }
    }
    let lost = match losses {
        Some((0, 0)) => "no packet was missed".to_owned(),
        Some((above, other)) => {
            format!("not captured: {above} packets above the rate, {other} because ring or client were behind")
        }
        None => "how many packets were not captured is unknown".to_owned(),
    };
    Ok(format!("{frames} frames captured; {lost}"))
}
