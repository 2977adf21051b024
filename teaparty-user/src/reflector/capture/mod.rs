//! The capture of packets: who captures, what they want, and what they get.
//!
//! [`request`] is what a client asks for, [`packet`] what was captured, [`pcapng`] the form in which the client gets it.
//! [`Captures`] has a place for each capture. Engines and the program's ring deliver to it, and wait for nobody: a client that is
//! behind loses packets, which are counted.

pub mod packet;
pub mod pcapng;
pub mod request;
pub mod stream;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use teaparty_common::maps::capture::{CaptureConfig, CaptureCounts, MAX_CAPTURES, MIN_MIRRORED};
use tokio::sync::{Notify, mpsc};

use self::packet::CapturedPacket;
use self::request::CaptureRequest;
use crate::sync::locked;

/// Packets that wait for a client that is behind.
const QUEUE: usize = 2048;

/// All captures of a reflector.
#[derive(Debug, Default)]
pub struct Captures {
    places: RwLock<[Option<Arc<Capture>>; MAX_CAPTURES]>,
    is_on: AtomicBool,
    /// Held by whoever brings the programs in line with the captures.
    pub(in crate::reflector) turn: Mutex<()>,
}

/// One capture.
#[derive(Debug)]
pub struct Capture {
    /// Its number among the captures of the reflector.
    pub number: usize,
    /// What it is for.
    pub request: CaptureRequest,
    queue: mpsc::Sender<Arc<CapturedPacket>>,
    /// When the token bucket of its rate is full again.
    full_at_ns: Mutex<u64>,
    lost: Mutex<BTreeMap<u32, Losses>>,
    end: Notify,
}

/// Packets of one interface that a capture has not got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Above the rate.
    pub above_rate: u64,
    /// The program's ring was full.
    pub ring_full: u64,
    /// The client was behind.
    pub queue_full: u64,
}

impl Captures {
    /// Returns true if anybody captures.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Takes a place for a capture, and gives the packets that it will get. `None` if there is no place.
    pub(in crate::reflector) fn begin(
        &self,
        request: CaptureRequest,
    ) -> Option<(Arc<Capture>, mpsc::Receiver<Arc<CapturedPacket>>)> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let number = places.iter().position(Option::is_none)?;
        let (queue, packets) = mpsc::channel(QUEUE);
        let (full_at_ns, lost) = (Mutex::default(), Mutex::default());
        let capture = Arc::new(Capture { number, request, queue, full_at_ns, lost, end: Notify::new() });
        places[number] = Some(capture.clone());
        self.is_on.store(true, Ordering::Relaxed);
        Some((capture, packets))
    }

    /// Gives the place of a capture back.
    pub(in crate::reflector) fn end(&self, capture: &Capture) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places[capture.number] = None;
        self.is_on.store(places.iter().any(Option::is_some), Ordering::Relaxed);
    }

    /// Asks a capture to end; returns true if there is one with this number.
    pub fn ask_to_end(&self, number: usize) -> bool {
        let found = self.all().into_iter().find(|capture| capture.number == number);
        found.inspect(|capture| capture.end.notify_one()).is_some()
    }

    /// Returns what the program on an interface is to mirror; `None` where that is nothing.
    pub(in crate::reflector) fn kernel_config(&self, interface: &str) -> Option<CaptureConfig> {
        let mut config = CaptureConfig { snaplen: MIN_MIRRORED as u32, ..CaptureConfig::default() };
        for capture in self.all().iter().filter(|capture| capture.request.is_of(interface)) {
            config.filters[capture.number] = capture.request.kernel_filter();
            config.snaplen = config.snaplen.max(capture.request.snaplen);
        }
        config.filters.iter().any(|filter| filter.reasons != 0).then_some(config.derived())
    }

    /// Delivers a packet that came by an interface, called so, to the captures that are for it. `among` has the bits of those that may
    /// get it.
    pub fn deliver(&self, interface: &str, among: u32, packet: CapturedPacket) {
        let packet = Arc::new(packet);
        for capture in self.all() {
            if among >> capture.number & 1 != 0 && capture.request.is_of(interface) && capture.request.matches(&packet)
            {
                capture.take(&packet);
            }
        }
    }

    /// Adds packets that the program on an interface, by its number, has not mirrored.
    pub(in crate::reflector) fn add_lost(&self, interface: u32, lost: &CaptureCounts) {
        for capture in self.all() {
            let (above_rate, ring_full) = (lost.above_rate[capture.number], lost.ring_full[capture.number]);
            if above_rate + ring_full > 0 {
                let mut all = locked(&capture.lost);
                let known = all.entry(interface).or_default();
                known.above_rate += above_rate;
                known.ring_full += ring_full;
            }
        }
    }

    fn all(&self) -> Vec<Arc<Capture>> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }
}

impl Capture {
    /// Queues a packet, if the rate allows it and the client is not behind.
    fn take(&self, packet: &Arc<CapturedPacket>) {
        let is_within = {
            let mut full_at_ns = locked(&self.full_at_ns);
            // By its arrival, as the program counts: packets come from there in lots.
            let charged = self.request.token_rate().charge(*full_at_ns, packet.received_ns);
            charged.inspect(|charged| *full_at_ns = *charged).is_some()
        };
        if is_within && self.queue.try_send(packet.clone()).is_ok() {
            return;
        }
        let mut all = locked(&self.lost);
        let lost = all.entry(packet.interface).or_default();
        *(if is_within { &mut lost.queue_full } else { &mut lost.above_rate }) += 1;
    }

    /// Waits until somebody asks it to end.
    pub(in crate::reflector) async fn asked_to_end(&self) {
        self.end.notified().await;
    }

    /// Returns what it has lost, by the number of the interface.
    pub fn lost(&self) -> BTreeMap<u32, Losses> {
        locked(&self.lost).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use teaparty_common::reflect::Reason;

    use super::*;

    fn packet(received_ns: u64) -> CapturedPacket {
        CapturedPacket { received_ns, ..packet::tests::packet(Reason::Reflected) }
    }

    #[test]
    fn there_are_as_many_captures_as_places_and_a_place_is_given_back() {
        let captures = Captures::default();
        let all: Vec<_> = (0..MAX_CAPTURES).map(|_| captures.begin(CaptureRequest::default()).unwrap()).collect();
        assert!(captures.begin(CaptureRequest::default()).is_none() && captures.is_on());
        assert!(captures.ask_to_end(1) && !captures.ask_to_end(MAX_CAPTURES));
        captures.end(&all[1].0);
        assert!(!captures.ask_to_end(1));
        assert_eq!(captures.begin(CaptureRequest::default()).unwrap().0.number, 1);
        (0..MAX_CAPTURES).for_each(|number| captures.end(&all[number].0));
        assert!(!captures.is_on() && captures.kernel_config("eth0").is_none());
    }

    #[test]
    fn above_the_rate_packets_are_sampled_evenly_and_counted() {
        let captures = Captures::default();
        let request =
            CaptureRequest { rate: 1000, direction: request::CaptureDirection::In, ..CaptureRequest::default() };
        let (capture, mut packets) = captures.begin(request).unwrap();
        // One second of 5000 packets a second.
        let start = 1_000_000_000_000;
        (0..5000).for_each(|n| captures.deliver("eth0", u32::MAX, packet(start + n * 200_000)));
        let mut times = Vec::new();
        while let Ok(got) = packets.try_recv() {
            times.push(got.received_ns - start);
        }
        let lost = capture.lost()[&7];
        assert_eq!(times.len() as u64 + lost.above_rate, 5000);
        assert_eq!((lost.ring_full, lost.queue_full), (0, 0));
        assert!((1000..=1030).contains(&times.len()), "{}", times.len());
        // After the burst that is saved up, one in five.
        let after = times.windows(2).filter(|pair| pair[0] > Duration::from_millis(100).as_nanos() as u64);
        assert!(after.map(|pair| pair[1] - pair[0]).all(|gap| gap == 1_000_000));
    }

    #[test]
    fn a_client_that_is_behind_loses_packets_that_are_counted() {
        let captures = Captures::default();
        let request = CaptureRequest { rate: 1_000_000, ..CaptureRequest::default() };
        let (capture, _packets) = captures.begin(request).unwrap();
        (0..QUEUE as u64 + 5).for_each(|n| captures.deliver("eth0", u32::MAX, packet(n * 1_000_000)));
        assert_eq!(capture.lost()[&7], Losses { queue_full: 5, ..Losses::default() });
    }
}
