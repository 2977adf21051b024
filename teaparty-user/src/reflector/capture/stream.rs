//! A capture as its client gets it: pcapng, part by part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::packet::{CapturedPacket, LinkType};
use super::pcapng::{CaptureInterface, PcapngWriter};
use super::request::CaptureDirection;
use super::{Capture, Captures};
use crate::net::interface::interface_speed;
use crate::net::namespace::interface_name;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Packets that are written in one part.
const BATCH: usize = 256;
/// The time for packets that are on their way from the program when a capture is to end.
const LINGER: Duration = Duration::from_millis(200);

/// A capture that runs until this is dropped.
pub struct CaptureStream {
    captures: Arc<Captures>,
    capture: Arc<Capture>,
    packets: Receiver<Arc<CapturedPacket>>,
    /// Called when the capture has given its place back.
    ended: Option<Box<dyn FnOnce() + Send>>,
    writer: PcapngWriter,
    /// The numbers of interfaces in the file, by number and first header.
    numbers: BTreeMap<(u32, LinkType), u32>,
    delivered: BTreeMap<u32, u64>,
    frames: u64,
    end: Option<Instant>,
    is_over: bool,
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        self.captures.end(&self.capture);
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }
}

impl CaptureStream {
    /// The stream of a capture, whose packets come by `packets`. Calls `ended` when it is over, whatever the reason.
    pub(in crate::reflector) fn new(
        captures: Arc<Captures>,
        (capture, packets): (Arc<Capture>, Receiver<Arc<CapturedPacket>>),
        ended: Box<dyn FnOnce() + Send>,
    ) -> Self {
        Self {
            captures,
            capture,
            packets,
            ended: Some(ended),
            writer: PcapngWriter::default(),
            numbers: BTreeMap::new(),
            delivered: BTreeMap::new(),
            frames: 0,
            end: None,
            is_over: false,
        }
    }

    /// The number by which [`Captures::ask_to_end`] knows it.
    pub fn number(&self) -> usize {
        self.capture.number
    }

    /// Writes the head, and an interface for each of these, by number and name; its time counts from now.
    pub(in crate::reflector) fn begin(&mut self, interfaces: &[(u32, String)]) {
        self.writer.section();
        for (index, name) in interfaces {
            self.add(*index, LinkType::Ethernet, name);
        }
        self.end = self.capture.request.duration.map(|duration| Instant::now() + duration);
    }

    /// Returns the next part; `None` after the last one.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let part = self.writer.take();
            if !part.is_empty() {
                return Some(part);
            }
            if self.is_over {
                return None;
            }
            let mut batch = Vec::with_capacity(BATCH);
            let is_due = self.wait(&mut batch).await;
            if is_due {
                tokio::time::sleep(LINGER).await;
                while let Ok(packet) = self.packets.try_recv() {
                    batch.push(packet);
                }
            }
            let is_full = self.write_all(&batch);
            if is_due || is_full {
                self.write_statistics();
                self.is_over = true;
            }
        }
    }

    /// Waits for packets; returns true if the capture is to end instead.
    async fn wait(&mut self, batch: &mut Vec<Arc<CapturedPacket>>) -> bool {
        let end = self.end;
        let due = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => true,
            () = self.capture.asked_to_end() => true,
            count = self.packets.recv_many(batch, BATCH) => count == 0,
        }
    }

    /// Writes the frames of packets; returns true if there are as many as were asked for.
    fn write_all(&mut self, packets: &[Arc<CapturedPacket>]) -> bool {
        let capture = self.capture.clone();
        let request = &capture.request;
        let is_full = |frames| request.count.is_some_and(|count| frames >= count);
        for packet in packets {
            let mut is_shown = false;
            let frames = [(CaptureDirection::Out, &packet.arrival, false), (CaptureDirection::In, &packet.reply, true)];
            for (other, frame, is_reply) in frames {
                let Some(frame) = frame else { continue };
                if request.direction == other || is_full(self.frames) {
                    continue;
                }
                let number = self.number_of(packet.interface, frame.link);
                self.writer.frame(number, packet, is_reply, request.snaplen);
                self.frames += 1;
                is_shown = true;
            }
            *self.delivered.entry(packet.interface).or_default() += u64::from(is_shown);
        }
        is_full(self.frames)
    }

    /// Returns the number of an interface in the file, which is written where it is new.
    fn number_of(&mut self, index: u32, link: LinkType) -> u32 {
        match self.numbers.get(&(index, link)) {
            Some(number) => *number,
            None => {
                let name = interface_name(index).unwrap_or_else(|| format!("interface {index}"));
                self.add(index, link, &name)
            }
        }
    }

    fn add(&mut self, index: u32, link: LinkType, name: &str) -> u32 {
        let number = self.numbers.len() as u32;
        let interface = CaptureInterface { name: name.to_owned(), speed: interface_speed(name), link };
        self.writer.interface(&interface, self.capture.request.snaplen);
        self.numbers.insert((index, link), number);
        number
    }

    /// Writes the statistics of each interface. What has two numbers, as its packets begin with two headers, has one.
    fn write_statistics(&mut self) {
        let (now_ns, lost) = (SystemClock.realtime_ns(), self.capture.lost());
        // Losses of an interface that has sent nothing.
        for index in lost.keys() {
            if !self.numbers.keys().any(|(known, _)| known == index) {
                self.number_of(*index, LinkType::Ethernet);
            }
        }
        let mut written = Vec::new();
        for ((index, _), number) in &self.numbers {
            if !written.contains(index) {
                written.push(*index);
                let delivered = self.delivered.get(index).copied().unwrap_or(0);
                let lost = lost.get(index).copied().unwrap_or_default();
                self.writer.statistics(*number, now_ns, delivered, &lost);
            }
        }
    }
}
