//! The threads of the engines of an interface.

use std::io::{PipeReader, PipeWriter};
use std::sync::Arc;
use std::thread::JoinHandle;

use aya::maps::{MapData, RingBuf};

use crate::net::interface::Interface;
use crate::net::packet::{FrameSocket, PacketSocket};
use crate::net::poll::set_short_time_slice;
use crate::net::socket::Socket;
use crate::reflector::engine::context::{InterfaceContext, Notice};
use crate::reflector::engine::frame_replies::ReplyPorts;
use crate::reflector::engine::{af_packet, burst_scheduler, ring, udp};
use crate::reflector::error::ReflectorError;

/// Runs the engines of an interface until the second return value is dropped and [`InterfaceContext::stop`] was called.
pub(super) fn run_engines(
    context: &Arc<InterfaceContext>,
    sockets: &[Arc<Socket>],
    punts: Option<RingBuf<MapData>>,
) -> Result<(Vec<JoinHandle<()>>, PipeWriter), ReflectorError> {
    // An error has the engines end that run already.
    run_each(context, sockets, punts).inspect_err(|_| context.stop())
}

fn run_each(
    context: &Arc<InterfaceContext>,
    sockets: &[Arc<Socket>],
    punts: Option<RingBuf<MapData>>,
) -> Result<(Vec<JoinHandle<()>>, PipeWriter), ReflectorError> {
    let snapshot = context.snapshot();
    let Interface { name, index, is_loopback, .. } = &*snapshot.interface;
    let (wake, waker) = std::io::pipe().map_err(ReflectorError::System)?;
    let has_punts = punts.is_some();
    let frames = (!has_punts && snapshot.config.link_layer).then(|| open_frames(context, sockets)).transpose()?;
    let mut engines = vec![spawn_sockets(name, context, sockets.to_vec(), wake.try_clone()?)?];
    let refused = |source| ReflectorError::Frames { interface: name.clone(), source };
    let packet = (has_punts || frames.is_some()) && !is_loopback;
    let packet = packet.then(|| PacketSocket::open(*index)).transpose().map_err(refused)?;
    let ports = Arc::new(ReplyPorts { packet, sockets: sockets.to_vec() });
    if let Some(punts) = punts {
        let (engine, ports, wake) = (context.clone(), ports.clone(), wake.try_clone()?);
        let run = move || ring::run(&engine, punts, &ports, &wake);
        engines.push(spawn(format!("ring-{name}"), context, run)?);
    }
    if let Some(frames) = frames {
        let (engine, ports, wake) = (context.clone(), ports.clone(), wake.try_clone()?);
        let run = move || af_packet::run(&engine, &frames, &ports, &wake);
        engines.push(spawn(format!("link-{name}"), context, run)?);
    }
    let engine = context.clone();
    let pace = move || {
        let counters = if has_punts { &engine.counters.ring } else { &engine.counters.socket };
        burst_scheduler::run(&engine, counters, &ports, &wake);
    };
    engines.push(spawn(format!("pace-{name}"), context, pace)?);
    Ok((engines, waker))
}

/// The packet socket of the link engine. The others keep what is not its part.
fn open_frames(context: &InterfaceContext, sockets: &[Arc<Socket>]) -> Result<FrameSocket, ReflectorError> {
    let snapshot = context.snapshot();
    let Interface { name, index, mtu, .. } = &*snapshot.interface;
    let failed = |source| ReflectorError::LinkLayer { interface: name.clone(), source };
    limit_sockets(sockets, *mtu).map_err(failed)?;
    FrameSocket::open(*index, &snapshot.config.ports, udp::QUEUE).map_err(failed)
}

/// Leaves frames that are not longer than the MTU to the link engine.
pub(super) fn limit_sockets(sockets: &[Arc<Socket>], mtu: u32) -> std::io::Result<()> {
    sockets.iter().try_for_each(|socket| socket.limit_to_longer_than(mtu))
}

fn spawn_sockets(
    name: &str,
    context: &Arc<InterfaceContext>,
    sockets: Vec<Arc<Socket>>,
    wake: PipeReader,
) -> Result<JoinHandle<()>, ReflectorError> {
    let engine = context.clone();
    spawn(format!("socket-{name}"), context, move || udp::run(&engine, &sockets, &wake))
}

/// Runs an engine in a thread of its own, whose panic ends the reflector: half of it would answer as if nothing were wrong.
fn spawn(
    name: String,
    context: &Arc<InterfaceContext>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ReflectorError> {
    let (context, engine) = (context.clone(), name.clone());
    let run = move || {
        if let Err(error) = set_short_time_slice() {
            tracing::debug!(%error, "the scheduler gives turns of the usual length");
        }
        if let Some(what) = panic_of(&engine, run) {
            context.notify(Notice::Failed { what });
        }
    };
    // The kernel keeps 15 octets of a thread's name.
    std::thread::Builder::new().name(name).spawn(run).map_err(ReflectorError::System)
}

/// Runs an engine; what is to be said if it panics.
fn panic_of(engine: &str, run: impl FnOnce()) -> Option<String> {
    // What an engine shares is counters, and locks that are taken whatever happened to the one who had them before.
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).err()?;
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    Some(format!(
        "the thread {engine} has panicked, which is a bug in teaparty: {}",
        text.unwrap_or("it does not say why")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_panics_says_which_it_was_and_why() {
        assert_eq!(panic_of("ring-eth0", || ()), None);
        let said = panic_of("ring-eth0", || panic!("index {} of 3", 7)).unwrap();
        assert_eq!(said, "the thread ring-eth0 has panicked, which is a bug in teaparty: index 7 of 3");
        assert!(panic_of("socket-eth0", || panic!("a word")).unwrap().ends_with("teaparty: a word"));
    }
}
