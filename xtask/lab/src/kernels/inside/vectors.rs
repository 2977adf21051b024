//! The vectors of `testing_data/vectors/vectors.json` as raw frames, built and judged by code that shares nothing with
//! `teaparty-common`: the counterpart of the script that the tests use, for guests without a Python.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Recorder;
use super::checks::{Bench, hex};
use super::frame::{self, Datagram};
use super::net::End;
use super::peer::hmac;
use super::raw::Raw;

/// Most time for replies; time to wait for their absence.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(400);

/// Vectors that one reflector with these arguments answers. `KEY` and `TLVKEY` stand for files with the vectors' keys.
struct Group {
    arguments: &'static [&'static str],
    ids: &'static [&'static str],
}

const fn group(arguments: &'static [&'static str], ids: &'static [&'static str]) -> Group {
    Group { arguments, ids }
}

const GROUPS: &[Group] = &[
    group(
        &["--stateless", "--allow-destination-port"],
        &[
            "V01", "V05", "V07", "V09", "V10", "V20", "V21", "V22", "V23", "V25", "V26", "V30", "V31", "V33", "V35",
            "V37", "V41", "V44", "V55", "V70", "V71", "V73", "V74", "V77", "V85", "V90", "V92", "V94", "V95", "V96",
        ],
    ),
    group(&["--stateless", "--cos-legacy"], &["V36"]),
    group(&["--stateless", "--deny-ecn", "all"], &["V39"]),
    group(&["--stateless", "--micro-session-id", "34"], &["V78"]),
    group(&["--stateless", "--allow-return-address"], &["V76"]),
    group(&["--stateless", "--allow-reflected-control"], &["V80", "V83", "V84"]),
    group(&["--allow-reflected-control"], &["V81"]),
    group(&[], &["V02", "V03"]),
    // V40 and V43 are of one session, which is to have another past.
    group(&[], &["V40"]),
    group(&[], &["V43", "V93"]),
    group(&["--stateless", "--auth-key-file", "KEY"], &["V11", "V12", "V13"]),
    group(&["--auth-key-file", "KEY"], &["V15"]),
    group(&["--stateless", "--tlv-key-file", "TLVKEY"], &["V50", "V51", "V53"]),
    group(&["--stateless", "--auth-key-file", "KEY", "--tlv-key-file", "TLVKEY"], &["V57", "V58"]),
];

/// Sends all of them.
pub(super) fn run(bench: &Bench<'_>, recorder: &Recorder<'_>) {
    recorder.check("vectors", || {
        let text = std::fs::read_to_string(&bench.tried.vectors).context("cannot read the vectors")?;
        let file: Value = serde_json::from_str(&text)?;
        let all = file["vectors"].as_array().context("the file has no list of vectors")?;
        let id = |vector: &Value| vector["id"].as_str().unwrap_or_default().to_owned();
        let is_sent = |name: &str| GROUPS.iter().any(|group| group.ids.contains(&name));
        let missing: Vec<String> = all.iter().map(id).filter(|name| !is_sent(name)).collect();
        ensure!(missing.is_empty(), "no reflector is started for {missing:?}");
        let mut failed = Vec::new();
        for group in GROUPS {
            recorder.progress(&format!("vectors {}…", group.ids[0]));
            let vectors = all.iter().filter(|vector| group.ids.contains(&id(vector).as_str()));
            failed.extend(send_group(bench, group, &file["constants"], vectors)?);
        }
        ensure!(failed.is_empty(), "{}", failed.join("; "));
        Ok(())
    });
}

fn send_group<'a>(
    bench: &Bench<'_>,
    group: &Group,
    constants: &Value,
    vectors: impl Iterator<Item = &'a Value>,
) -> Result<Vec<String>> {
    let key_file = |key: &str| bench.tried.key_file(constants[key].as_str().unwrap_or_default());
    let files = [("KEY", key_file("key")?), ("TLVKEY", key_file("tlv_key")?)];
    let file = |argument: &&'static str| files.iter().find(|(name, _)| name == argument).map(|(_, file)| file.as_str());
    let arguments: Vec<&str> = group.arguments.iter().map(|argument| file(argument).unwrap_or(argument)).collect();
    let running = bench.reflector(&arguments)?;
    let raw = bench.net.inside(End::Far, || Raw::open(&bench.link.far))?;
    let mut failed = Vec::new();
    for vector in vectors {
        let exchange = Exchange { raw: &raw, ctx: &vector["ctx"], mac: mac(&bench.link.mac) };
        if let Err(error) = exchange.judge(vector) {
            failed.push(format!("{}: {error:#}", vector["id"].as_str().unwrap_or_default()));
        }
    }
    running.stop()?;
    Ok(failed)
}

fn mac(text: &str) -> [u8; 6] {
    hex(&text.replace(':', "")).try_into().expect("six octets")
}

/// One vector's packets.
struct Exchange<'a> {
    raw: &'a Raw,
    ctx: &'a Value,
    mac: [u8; 6],
}

impl Exchange<'_> {
    fn octets(&self, key: &str) -> Vec<u8> {
        hex(self.ctx[key].as_str().unwrap_or_default())
    }

    fn number(&self, key: &str) -> u64 {
        self.ctx[key].as_u64().unwrap_or_default()
    }

    fn address(&self, key: &str) -> Result<IpAddr> {
        Ok(self.ctx[key].as_str().unwrap_or_default().parse()?)
    }

    fn is_authenticated(&self) -> bool {
        self.ctx["auth"] == true
    }

    /// The frame with this payload, and its IP header.
    fn request(&self, payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let lists = self.ctx["ext_hdrs"].as_array().into_iter().flatten();
        let extensions: Vec<u8> = lists.flat_map(|header| hex(header.as_str().unwrap_or_default())).collect();
        let packet = frame::Packet {
            source: self.address("src")?,
            destination: self.address("dst")?,
            ports: (self.number("sport") as u16, self.number("dport") as u16),
            traffic_class: (self.number("dscp") << 2 | self.number("ecn")) as u8,
            ttl: self.number("ttl") as u8,
            header: self.octets("ip_hdr"),
            extensions,
        };
        let (header, rest) = packet.octets(payload)?;
        let kind: [u8; 2] = if packet.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        Ok(([&self.mac[..], &self.octets("smac"), &kind, &header, &rest].concat(), header))
    }

    /// Returns the replies to a payload, `wanted` of them if that many come.
    fn replies(&self, payload: &[u8], sent: &[u8], wanted: usize) -> Result<Vec<(Vec<u8>, Datagram)>> {
        let until = Instant::now() + if wanted > 0 { PATIENCE } else { SILENCE };
        let mut found = Vec::new();
        while Instant::now() < until && found.len() < wanted.max(1) {
            let Some(frame) = self.raw.receive(until)? else { break };
            if frame == sent {
                continue;
            }
            if let Some(datagram) = frame::parse(&frame).filter(|datagram| self.answers(payload, datagram)) {
                found.push((frame, datagram));
            }
        }
        Ok(found)
    }

    /// Returns true if a datagram is from the port that was asked and repeats the request's number and T1.
    fn answers(&self, payload: &[u8], datagram: &Datagram) -> bool {
        let (sent, number, t1) = if self.is_authenticated() { (16, 48, 64) } else { (4, 24, 28) };
        let mut base = payload.to_vec();
        base.resize(base.len().max(112), 0);
        let reply = &datagram.payload;
        datagram.source_port == self.number("dport") as u16
            && reply.len() >= t1 + 8
            && reply[number..number + 4] == base[..4]
            && reply[t1..t1 + 8] == base[sent..sent + 8]
    }

    /// Sequence Number and T1 of each exchange that the context has the reflector remember, oldest first.
    fn past(&self, payload: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let history = self.ctx["history"].as_array().map_or(&[][..], Vec::as_slice);
        if !history.is_empty() {
            // Each is: reflector's number, sender's number, T2, T1, T3.
            let entries = history.iter().rev().map(|entry| hex(entry.as_str().unwrap_or_default()));
            return entries.map(|entry| (entry[4..8].to_vec(), entry[16..24].to_vec())).collect();
        }
        let is_direct_measurement = payload.get(45) == Some(&5);
        let count = match self.ctx["last"].as_array() {
            Some(last) => last[0].as_u64().unwrap_or_default() + 1,
            None if is_direct_measurement => self.number("tx"),
            None => 0,
        };
        (0..count).map(|number| ((number as u32).to_be_bytes().to_vec(), payload[4..12].to_vec())).collect()
    }

    /// Has the past happen; its replies.
    fn rehearse(&self, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for (number, t1) in self.past(payload) {
            let this = [&number[..], &t1, &payload[12..44]].concat();
            let (sent, _) = self.request(&this)?;
            self.raw.send(&sent)?;
            let answered = self.replies(&this, &sent, 1)?;
            let [(_, datagram)] = &answered[..] else { bail!("an exchange that was to be remembered did not happen") };
            found.push(datagram.payload.clone());
        }
        Ok(found)
    }

    /// Sends the vector; fails where what comes back is not what it says.
    fn judge(&self, vector: &Value) -> Result<()> {
        let payload = hex(vector["sender_hex"].as_str().unwrap_or_default());
        let before = self.rehearse(&payload)?;
        let (sent, header) = self.request(&payload)?;
        self.raw.send(&sent)?;
        let mut expected: Vec<Vec<u8>> = Vec::new();
        if vector["expect"] != "drop" {
            let more = vector["more_replies_hex"].as_array().into_iter().flatten();
            let texts = std::iter::once(&vector["reply_hex"]).chain(more);
            expected.extend(texts.map(|text| hex(text.as_str().unwrap_or_default())));
        }
        let found = self.replies(&payload, &sent, expected.len())?;
        ensure!(found.len() == expected.len(), "{} replies instead of {}", found.len(), expected.len());
        for ((frame, datagram), wanted) in found.iter().zip(expected) {
            self.judge_way(frame, datagram, &vector["reply_ip"])?;
            let mut wanted = remembered(wanted, &before);
            if !self.octets("ip_hdr").is_empty() {
                // The header that was sent differs from the vector's in length and checksum, and comes back as sent.
                replace(&mut wanted, &self.octets("ip_hdr"), &header);
            }
            self.judge_payload(vector, &datagram.payload, &wanted)?;
        }
        Ok(())
    }

    /// Fails unless a reply goes where it should, with right checksums.
    fn judge_way(&self, frame: &[u8], datagram: &Datagram, way: &Value) -> Result<()> {
        ensure!(frame[..6] == self.octets("smac"), "the frame does not go back to the sender");
        ensure!(datagram.ttl == 255 && datagram.is_header_right, "TTL {} or a wrong header checksum", datagram.ttl);
        // A reply to another address is sent by a socket, which leaves the checksum to the device.
        let is_elsewhere = way["dst"] != self.ctx["src"];
        let is_right = datagram.is_checksum_right || is_elsewhere && datagram.is_checksum_left;
        ensure!(is_right, "the UDP checksum is wrong");
        let wanted = |key: &str| way[key].as_str().unwrap_or_default().parse::<IpAddr>();
        ensure!(datagram.source == wanted("src")?, "it comes from {}", datagram.source);
        ensure!(datagram.destination == wanted("dst")?, "it goes to {}", datagram.destination);
        let number = |key: &str| way[key].as_u64().unwrap_or_default();
        ensure!(
            u64::from(datagram.destination_port) == number("dport"),
            "it goes to port {}",
            datagram.destination_port
        );
        let class = number("dscp") << 2 | number("ecn");
        ensure!(number("dscp") == 0 || u64::from(datagram.traffic_class) == class, "TOS {:#x}", datagram.traffic_class);
        Ok(())
    }

    fn judge_payload(&self, vector: &Value, reply: &[u8], wanted: &[u8]) -> Result<()> {
        ensure!(reply.len() == wanted.len(), "{} octets instead of {}", reply.len(), wanted.len());
        let mut mask = hex(vector["mask_hex"].as_str().unwrap_or_default());
        let verify = vector["verify"].as_array().map_or(&[][..], Vec::as_slice);
        let base = if self.is_authenticated() { 112 } else { 44 };
        if verify.iter().any(|part| part == "tlv") {
            // Computed again here: it covers the Synchronization Source.
            let at = hmac_tlv(reply, base);
            mask[at + 4..at + 20].fill(0);
            let covered = [&reply[..4], &reply[base..at]].concat();
            ensure!(hmac(&self.octets("tkey"), &covered)[..16] == reply[at + 4..at + 20], "the HMAC TLV is wrong");
        }
        if verify.iter().any(|part| part == "base") {
            ensure!(
                hmac(&self.octets("key"), &reply[..96])[..16] == reply[96..112],
                "the HMAC of the base packet is wrong"
            );
        }
        // Our clock is not synchronised, that of the vectors is: Synchronization Source is 5, not 1.
        let tells_source = vector["id"].as_str().is_some_and(|id| ["V23", "V35", "V57"].contains(&id));
        for (at, ((w, g), m)) in wanted.iter().zip(reply).zip(mask).enumerate() {
            let is_source = tells_source && (*w, *g) == (1, 5);
            ensure!((w ^ g) & m == 0 || is_source, "octet {at}: expected {w:02x}, got {g:02x}, mask {m:02x}");
        }
        Ok(())
    }
}

/// Returns the offset of the HMAC TLV.
fn hmac_tlv(reply: &[u8], base: usize) -> usize {
    let mut at = base;
    while reply[at + 1] != 8 {
        at += 4 + usize::from(u16::from_be_bytes([reply[at + 2], reply[at + 3]]));
    }
    at
}

/// The expected reply with T2 and T3 of the exchanges that did happen in place of the vector's.
fn remembered(mut wanted: Vec<u8>, before: &[Vec<u8>]) -> Vec<u8> {
    let Some(last) = before.last() else { return wanted };
    match wanted.get(45) {
        // A reflector that counts packets numbers its replies too; the vector has a stateless number.
        Some(5) => wanted[..4].copy_from_slice(&(before.len() as u32).to_be_bytes()),
        Some(7) => wanted[52..60].copy_from_slice(&last[4..12]),
        Some(244) => {
            for (place, reply) in before.iter().rev().enumerate() {
                let at = 48 + 32 * place;
                wanted[at + 8..at + 16].copy_from_slice(&reply[16..24]);
                wanted[at + 24..at + 32].copy_from_slice(&reply[4..12]);
            }
        }
        _ => (),
    }
    wanted
}

/// Puts `new` in the place of `old`, which is as long, wherever that is.
fn replace(octets: &mut [u8], old: &[u8], new: &[u8]) {
    for at in 0..=octets.len().saturating_sub(old.len()) {
        if octets[at..].starts_with(old) {
            octets[at..at + old.len()].copy_from_slice(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_of_the_file_is_sent_once() {
        let text = std::fs::read_to_string(xtask::paths::root().join(crate::kernels::image::VECTORS)).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let mut all: Vec<&str> =
            file["vectors"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap()).collect();
        let mut sent: Vec<&str> = GROUPS.iter().flat_map(|group| group.ids).copied().collect();
        all.sort_unstable();
        sent.sort_unstable();
        assert_eq!(sent, all);
    }

    #[test]
    fn what_has_happened_takes_the_place_of_the_vectors_past() {
        let before = [[1; 44].to_vec(), [2; 44].to_vec()];
        let mut direct = vec![0; 60];
        direct[45] = 5;
        assert_eq!(remembered(direct, &before)[..4], [0, 0, 0, 2]);
        let mut history = vec![0; 48 + 64];
        history[45] = 244;
        let history = remembered(history, &before);
        assert_eq!((history[56], history[72], history[88], history[104]), (2, 2, 1, 1));
        let mut octets = vec![9, 1, 2, 9];
        replace(&mut octets, &[1, 2], &[3, 4]);
        assert_eq!(octets, [9, 3, 4, 9]);
    }
}
