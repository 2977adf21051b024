//! Where replies are taken from the kernel: on the engine's own thread, or for fast schedules on one beside it.
//!
//! Taking a reply in costs the kernel about as much as sending a packet, so two processors go nearly twice as far. All else
//! stays with the engine: the thread only moves datagrams into batches, and what they mean is found out where it always is.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, mem};

use anyhow::Context;

use crate::net::batch::ReceiveBatch;
use crate::net::poll::{WakeEvent, set_realtime, wait};
use crate::net::socket::Socket;

/// Datagrams taken in by one system call.
pub(super) const BATCH: usize = 64;
/// Batches that are under way between the two threads. What does not fit waits in the socket's queue.
const BATCHES: usize = 16;
/// So long the thread lets datagrams gather, when it had taken all there were: being woken for each of them costs more than
/// they do, the sender's thread above all, which has to do the waking. When they came, the kernel has noted.
const GATHER: Duration = Duration::from_micros(50);
/// So long the thread leaves alone a socket that only has reports, which are not its to take.
const REPORTS_WAIT: Duration = Duration::from_micros(200);

/// The source of a socket's replies.
pub(super) enum ReplyReader {
    /// The engine's thread, with the batch that it uses again and again.
    Here(ReceiveBatch),
    /// A thread of their own.
    Beside(Thread),
}

impl ReplyReader {
    /// `payload`: octets that a datagram may have.
    pub(super) fn here(payload: usize) -> Self {
        Self::Here(ReceiveBatch::new(BATCH, payload))
    }

    /// Starts a thread for receiving, with real-time priority if `is_realtime`.
    pub(super) fn beside(socket: &Arc<Socket>, payload: usize, is_realtime: bool) -> io::Result<Self> {
        Thread::start(Arc::clone(socket), payload, is_realtime).map(Self::Beside)
    }

    /// Returns true if nothing is in transit: [`ReplyReader::take`] brings or has brought all that came before this call.
    pub(super) fn is_settled(&self, socket: &Socket) -> io::Result<bool> {
        match self {
            Self::Here(_) => Ok(true),
            Self::Beside(thread) => {
                // In this order: what the thread has taken out of the socket, it says that it is busy with.
                Ok(!wait(&[socket], Some(Duration::ZERO))? && !thread.is_busy.load(Ordering::SeqCst))
            }
        }
    }

    /// Returns true if replies are taken in by the engine's own thread.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Replies that arrived since, to be handed back by [`ReplyReader::give_back`].
    pub(super) fn take(&mut self, socket: &Socket) -> anyhow::Result<Option<ReceiveBatch>> {
        match self {
            Self::Here(batch) => {
                socket.receive(batch).context("cannot receive")?;
                Ok((!batch.is_empty()).then(|| mem::take(batch)))
            }
            Self::Beside(thread) => thread.filled.try_recv().ok().transpose().context("cannot receive"),
        }
    }

    pub(super) fn give_back(&mut self, batch: ReceiveBatch) {
        match self {
            Self::Here(place) => *place = batch,
            Self::Beside(thread) => {
                if let Some(spare) = &thread.spare {
                    // It has room for all there are. If the thread has ended, it has told why.
                    let _ = spare.try_send(batch);
                }
            }
        }
    }

    /// Returns what to wait for besides the socket itself.
    pub(super) fn wake_event(&self) -> Option<&dyn AsFd> {
        match self {
            Self::Here(_) => None,
            Self::Beside(thread) => Some(&*thread.filled_event),
        }
    }

    /// To be called after waiting and before [`ReplyReader::take`].
    pub(super) fn clear_wake(&self) {
        if let Self::Beside(thread) = self {
            thread.filled_event.clear();
        }
    }
}

/// A thread that takes replies in, and how to talk to it. It ends when this is dropped.
pub(super) struct Thread {
    filled: Receiver<io::Result<ReceiveBatch>>,
    filled_event: Arc<WakeEvent>,
    spare: Option<SyncSender<ReceiveBatch>>,
    end_event: Arc<WakeEvent>,
    is_busy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(socket: Arc<Socket>, payload: usize, is_realtime: bool) -> io::Result<Self> {
        let (filled_in, filled) = sync_channel(BATCHES + 1);
        let (spare, spare_out) = sync_channel(BATCHES);
        for _ in 0..BATCHES {
            // There is room for it.
            let _ = spare.try_send(ReceiveBatch::new(BATCH, payload));
        }
        let (filled_event, end_event) = (Arc::new(WakeEvent::new()?), Arc::new(WakeEvent::new()?));
        let is_busy = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            socket,
            filled: filled_in,
            filled_event: Arc::clone(&filled_event),
            spare: spare_out,
            end_event: Arc::clone(&end_event),
            is_busy: Arc::clone(&is_busy),
        };
        let (placed, placement) = sync_channel(1);
        let thread = std::thread::Builder::new().name("replies".into()).spawn(move || {
            // A thread does not inherit it.
            let result = if is_realtime { set_realtime() } else { Ok(()) };
            let is_placed = result.is_ok();
            // It is waited for.
            let _ = placed.send(result);
            if is_placed {
                worker.run();
            }
        })?;
        placement.recv().unwrap_or(Ok(()))?;
        Ok(Self { filled, filled_event, spare: Some(spare), end_event, is_busy, thread: Some(thread) })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Whatever it waits for: a spare batch, or a datagram.
        self.spare = None;
        self.end_event.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    socket: Arc<Socket>,
    filled: SyncSender<io::Result<ReceiveBatch>>,
    filled_event: Arc<WakeEvent>,
    spare: Receiver<ReceiveBatch>,
    end_event: Arc<WakeEvent>,
    /// True if datagrams may have left the socket and not have got to the engine.
    is_busy: Arc<AtomicBool>,
}

impl Worker {
    fn run(self) {
        while let Ok(batch) = self.spare.recv() {
            let result = self.fill(batch);
            let is_last = !matches!(result, Ok(Some(_)));
            let has_all = matches!(&result, Ok(Some(batch)) if !batch.is_full());
            // There is room for every batch and for one error, so that it never waits here.
            if let Some(result) = result.transpose() {
                let _ = self.filled.try_send(result);
                self.filled_event.wake();
            }
            self.is_busy.store(false, Ordering::SeqCst);
            if is_last {
                return;
            }
            if has_all {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Waits for datagrams; `None` at the end.
    fn fill(&self, mut batch: ReceiveBatch) -> io::Result<Option<ReceiveBatch>> {
        loop {
            if self.receive(&mut batch)? {
                return Ok(Some(batch));
            }
            wait(&[&*self.socket, &*self.end_event], None)?;
            if wait(&[&*self.end_event], Some(Duration::ZERO))? {
                return Ok(None);
            }
            if self.receive(&mut batch)? {
                return Ok(Some(batch));
            }
            // A report is there for the engine, which may be asleep.
            self.filled_event.wake();
            std::thread::sleep(REPORTS_WAIT);
        }
    }

    /// Returns true if there were datagrams; they are then on the way to the engine.
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<bool> {
        self.is_busy.store(true, Ordering::SeqCst);
        let has_some = self.socket.receive(batch)? > 0;
        self.is_busy.store(has_some, Ordering::SeqCst);
        Ok(has_some)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use super::*;
    use crate::net::socket::Options;

    fn socket() -> (Arc<Socket>, UdpSocket) {
        let socket = Socket::open(&Options::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        (Arc::new(socket), peer)
    }

    /// All payloads up to the `count`th, in the order in which they come out.
    fn payloads(reader: &mut ReplyReader, socket: &Socket, count: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while found.len() < count {
            let fd: &dyn AsFd = reader.wake_event().unwrap_or(socket);
            assert!(wait(&[fd], Some(Duration::from_secs(10))).unwrap(), "{} of {count} came", found.len());
            reader.clear_wake();
            while let Some(batch) = reader.take(socket).unwrap() {
                found.extend(batch.iter().map(|datagram| datagram.payload.to_vec()));
                reader.give_back(batch);
            }
        }
        found
    }

    /// Takes all the batches that there are, each with a datagram.
    fn keep_all(reader: &mut ReplyReader, socket: &Socket, peer: &UdpSocket) -> Vec<ReceiveBatch> {
        let mut next = || {
            peer.send(&[0]).unwrap();
            assert!(wait(&[reader.wake_event().unwrap()], Some(Duration::from_secs(10))).unwrap());
            reader.clear_wake();
            reader.take(socket).unwrap().unwrap()
        };
        (0..BATCHES).map(|_| next()).collect()
    }

    #[test]
    fn both_ways_bring_every_datagram_once_and_in_order() {
        // More than there are batches, so that they are used again, and few enough for the socket's queue at each time.
        let sent: Vec<Vec<u8>> = (0..40 * BATCH as u32).map(|number| number.to_be_bytes().to_vec()).collect();
        for is_beside in [false, true] {
            let (socket, peer) = socket();
            let mut reader =
                if is_beside { ReplyReader::beside(&socket, 64, false).unwrap() } else { ReplyReader::here(64) };
            for part in sent.chunks(100) {
                for octets in part {
                    peer.send(octets).unwrap();
                }
                assert_eq!(payloads(&mut reader, &socket, part.len()), part);
            }
            assert!(reader.take(&socket).unwrap().is_none());
        }
    }

    #[test]
    fn batches_that_nobody_gives_back_leave_datagrams_in_the_socket() {
        let (socket, peer) = socket();
        let mut reader = ReplyReader::beside(&socket, 64, false).unwrap();
        let mut kept = keep_all(&mut reader, &socket, &peer);
        peer.send(&[99]).unwrap();
        assert!(wait(&[&*socket], Some(Duration::from_secs(10))).unwrap());
        assert!(reader.take(&socket).unwrap().is_none());
        reader.give_back(kept.pop().unwrap());
        assert_eq!(payloads(&mut reader, &socket, 1), [[99]]);
    }

    #[test]
    fn the_thread_ends_with_its_reader_whatever_it_waits_for() {
        let (socket, peer) = socket();
        drop(ReplyReader::beside(&socket, 64, false).unwrap());
        assert_eq!(Arc::strong_count(&socket), 1);
        let mut reader = ReplyReader::beside(&socket, 64, false).unwrap();
        let kept = keep_all(&mut reader, &socket, &peer);
        drop(reader);
        drop(kept);
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}
