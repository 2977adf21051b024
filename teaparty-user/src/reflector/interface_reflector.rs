//! The reflector on one interface: its sockets, its XDP program if it has one, and the threads that answer.

use std::io::PipeWriter;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use teaparty_common::maps::{Clock, SessionKey};
use teaparty_common::reflect::Reason;

use crate::net::host::Host;
use crate::net::interface::Interface;
use crate::net::socket::Socket;
use crate::reflector::config::{ReflectorConfig, XdpMode};
use crate::reflector::engine::burst_queue::BurstQueue;
use crate::reflector::engine::context::{InterfaceContext, InterfaceCounters, Outlets};
use crate::reflector::engine::transmit::TransmitWatch;
use crate::reflector::error::ReflectorError;
use crate::reflector::kernel::attachment::Attachment;
use crate::reflector::kernel::kernel_log::{Follower, KernelLog};
use crate::reflector::kernel::load_error::LoadError;
use crate::reflector::kernel::loader::{KernelObjects, Loading};
use crate::reflector::kernel::map_reader::MapReader;
use crate::reflector::kernel::maps::Maps;
use crate::reflector::kernel::pinned_map::MapsError;
use crate::reflector::kernel::pins::folder::Folder;
use crate::reflector::provisioned::ProvisionedSet;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::reflector::{engine::udp, kernel::pins};
use crate::sync::locked;
use crate::sys::hardening::explain_descriptor_limit;

mod capture;
mod threads;

pub(crate) use capture::CaptureStep;
use capture::CaptureThread;
use threads::{limit_sockets, run_engines};

/// A running reflector on one interface.
pub(crate) struct InterfaceReflector {
    /// The state that the engines share.
    pub context: Arc<InterfaceContext>,
    /// One for each port and address family.
    pub sockets: Vec<Arc<Socket>>,
    /// The name of the interface at the start: it is awaited by that name when it has gone.
    pub configured: String,
    kernel: Option<InterfaceKernel>,
    /// Why there is no program, where one was to be expected.
    without_program: Option<String>,
    transmit: TransmitWatch,
    engines: Vec<JoinHandle<()>>,
    waker: Option<PipeWriter>,
}

impl Drop for InterfaceReflector {
    /// Ends the engines of a reflector whose task is dropped: their threads would wait on a closed pipe, which never blocks.
    fn drop(&mut self) {
        self.halt();
    }
}

/// The controller's end of the XDP program.
struct InterfaceKernel {
    maps: Mutex<Maps>,
    program: Program,
    /// The thread that takes what the programs with capture mirror, while they are attached.
    capture: Option<CaptureThread>,
}

/// The state of the program.
enum Program {
    /// Its maps are there, and sockets answer by them.
    Loading(Box<Loading>),
    /// It is on the interface, and logs what it has to say as long as the follower lives.
    Attached(Box<Attachment>, #[expect(dead_code, reason = "held, not used")] Option<Follower>),
    /// It could not be had, or was given back.
    Gone,
}

impl InterfaceReflector {
    /// Starts to answer with all that is configured: [`InterfaceReflector::begin`] and [`InterfaceReflector::attach`].
    ///
    /// `held` is what [`InterfaceReflector::part`] has given for this interface; it is put back if the program is unavailable.
    pub(crate) fn start(
        (interface, host): (Interface, &Arc<Host>),
        config: &Arc<ReflectorConfig>,
        provisioned: ProvisionedSet,
        clock: Clock,
        outlets: Outlets,
        counters: Arc<InterfaceCounters>,
        held: &mut Option<Folder>,
    ) -> Result<Self, ReflectorError> {
        let mut instance = Self::begin((interface, host), config, provisioned, clock, outlets, counters, held)?;
        instance.attach(held)?;
        Ok(instance)
    }

    /// Opens the sockets and starts to answer by them, in the sessions that the program will go on with. Goes on counting in
    /// `counters`.
    pub(crate) fn begin(
        (interface, host): (Interface, &Arc<Host>),
        config: &Arc<ReflectorConfig>,
        provisioned: ProvisionedSet,
        clock: Clock,
        outlets: Outlets,
        counters: Arc<InterfaceCounters>,
        held: &mut Option<Folder>,
    ) -> Result<Self, ReflectorError> {
        let name = interface.name.clone();
        let _span = tracing::info_span!("start", interface = name).entered();
        let snapshot = ConfigSnapshot::new(config.clone(), interface, host).with_provisioned(provisioned);
        if snapshot.addresses.is_empty() {
            tracing::warn!(
                interface = name,
                "it has none of the addresses to answer for; answers begin when it gets one"
            );
        }
        let transmit = TransmitWatch::new(&name, counters.clone());
        let (mut loading, without_program) = load(&snapshot, held)?;
        let begun = (|| {
            // Only now: what comes before is refused by the stack, and would wait here.
            let sockets: Vec<Arc<Socket>> = udp::open(config, &name)?.into_iter().map(Arc::new).collect();
            let burst_queue = BurstQueue::new()?;
            let opened = loading.as_mut().map(|loading| loading.open(&snapshot, &clock)).transpose()?;
            let (maps, store, punts) = match opened {
                Some(KernelObjects { maps, punts, store }) => (Some(maps), Some(store), Some(punts)),
                None => (None, None, None),
            };
            let context = Arc::new(InterfaceContext::new(snapshot, clock, store, outlets, burst_queue, counters));
            let (engines, waker) = run_engines(&context, &sockets, punts)?;
            Ok((sockets, maps, context, engines, waker))
        })();
        let (sockets, maps, context, engines, waker) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                *held = loading.and_then(Loading::give_up);
                return Err(error);
            }
        };
        let kernel = loading.zip(maps).map(|(loading, maps)| InterfaceKernel {
            maps: Mutex::new(maps),
            program: Program::Loading(Box::new(loading)),
            capture: None,
        });
        let (configured, waker) = (name, Some(waker));
        Ok(Self { context, sockets, configured, kernel, without_program, transmit, engines, waker })
    }

    /// Has the kernel load the program and attaches it, if there is to be one. With [`XdpMode::Auto`] sockets go on where it
    /// is unavailable; else the error ends all of it.
    pub(crate) fn attach(&mut self, held: &mut Option<Folder>) -> Result<(), ReflectorError> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let Program::Loading(loading) = std::mem::replace(&mut kernel.program, Program::Gone) else { return Ok(()) };
        let snapshot = self.context.snapshot();
        let _span = tracing::info_span!("start", interface = snapshot.interface.name).entered();
        let mode = snapshot.config.xdp_mode;
        let (error, folder) = match loading.attach(&snapshot.interface, mode) {
            Ok((attachment, log)) => {
                kernel.program = Program::Attached(Box::new(attachment), log.map(KernelLog::follow));
                return Ok(());
            }
            Err(not_attached) => not_attached,
        };
        *held = folder;
        if mode == XdpMode::Auto && error.is_optional() {
            let error = explain_descriptor_limit(error);
            tracing::warn!(interface = snapshot.interface.name, error, "no XDP, sockets answer instead, slower");
            self.fall_back_to_sockets(error)
        } else {
            self.halt();
            Err(error.into())
        }
    }

    /// Has sockets answer without the kernel's maps, in the sessions that have begun there.
    fn fall_back_to_sockets(&mut self, reason: String) -> Result<(), ReflectorError> {
        self.halt();
        let sessions = self.reader().map(|reader| reader.sessions().collect::<Vec<_>>()).unwrap_or_default();
        self.context = Arc::new(self.context.without_kernel(BurstQueue::new()?, sessions));
        self.kernel = None;
        self.without_program = Some(reason);
        let (engines, waker) = run_engines(&self.context, &self.sockets, None)?;
        (self.engines, self.waker) = (engines, Some(waker));
        Ok(())
    }

    /// Ends the engines. What they count is final then.
    pub(crate) fn halt(&mut self) {
        if let Some(ended) = self.end_capture() {
            ended.finish();
        }
        self.context.stop();
        self.waker = None;
        for engine in self.engines.drain(..) {
            // One that has panicked has told the reflector's task.
            let _ = engine.join();
        }
    }

    /// Ends the engines and takes the program away, unless that is to go on answering.
    pub(crate) fn stop(mut self, keep_program: bool) -> Result<(), ReflectorError> {
        self.halt();
        match self.kernel.take().map(|kernel| kernel.program) {
            Some(Program::Attached(attachment, _)) if !keep_program => {
                Ok(attachment.detach().map_err(LoadError::from)?)
            }
            Some(Program::Loading(loading)) => {
                loading.give_up();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the engines because the interface is gone. Gives the folder in which its sessions are kept for when it comes back,
    /// if they are the kernel's.
    pub(crate) fn part(mut self) -> Option<Folder> {
        self.halt();
        match self.kernel.take()?.program {
            Program::Attached(attachment, _) => Some(attachment.part()),
            Program::Loading(loading) => loading.give_up(),
            Program::Gone => None,
        }
    }

    /// Returns true if frames come from a packet socket.
    pub(crate) fn has_link_engine(&self) -> bool {
        self.kernel.is_none() && self.context.snapshot().config.link_layer
    }

    /// Name of the interface.
    pub(crate) fn name(&self) -> String {
        self.context.snapshot().interface.name.clone()
    }

    /// Returns the mode of attachment; [`XdpMode::Off`] without a program, or after another program has removed it.
    pub(crate) fn mode(&self) -> XdpMode {
        let attachment = self.attachment().filter(|attachment| attachment.lost.is_none());
        attachment.map_or(XdpMode::Off, |attachment| attachment.mode)
    }

    /// Looks whether the program is still on the interface. To be called twice a second.
    pub(crate) fn follow_program(&mut self) {
        if let Some(InterfaceKernel { program: Program::Attached(attachment, _), .. }) = &mut self.kernel {
            attachment.follow(&self.context.snapshot().interface);
        }
    }

    /// Returns why [`InterfaceReflector::mode`] is not the one to be expected, where it is not.
    pub(crate) fn mode_reason(&self) -> Option<&str> {
        match self.attachment() {
            Some(attachment) => attachment.lost.as_deref().or(attachment.reason.as_deref()),
            None => self.without_program.as_deref(),
        }
    }

    /// Returns how many replies of the program the driver could not send, as it says now.
    pub(crate) fn transmit_errors(&self) -> u64 {
        if self.mode() == XdpMode::Native {
            self.transmit.count(&self.name());
        }
        self.context.counters.transmit_errors.load(Ordering::Relaxed)
    }

    /// Warns if the driver could not send replies of the program. To be called about once a second.
    pub(crate) fn watch_transmit_errors(&self) {
        if self.mode() == XdpMode::Native {
            let answered = self.reader().map_or(0, |reader| reader.counters()[Reason::Reflected as usize]);
            self.transmit.watch(&self.name(), answered);
        }
    }

    /// The attached program, if there is one.
    pub(crate) fn attachment(&self) -> Option<&Attachment> {
        match &self.kernel {
            Some(InterfaceKernel { program: Program::Attached(attachment, _), .. }) => Some(attachment),
            _ => None,
        }
    }

    /// Calls `with` with the kernel's maps, where there are some.
    pub(crate) fn maps<T>(&self, with: impl FnOnce(&mut Maps) -> T) -> Option<T> {
        self.kernel.as_ref().map(|kernel| with(&mut locked(&kernel.maps)))
    }

    /// Puts another version of the configuration in force, in the kernel and here.
    ///
    /// Here first: a packet that the kernel hands over under the new version must find its keys. Where the kernel refuses
    /// it, the old version stays in force.
    pub(crate) fn set_snapshot(&self, snapshot: ConfigSnapshot) -> Result<(), MapsError> {
        let clock = self.context.clock();
        let before = self.context.snapshot();
        if self.has_link_engine()
            && snapshot.interface.mtu != before.interface.mtu
            && let Err(error) = limit_sockets(&self.sockets, snapshot.interface.mtu)
        {
            tracing::warn!(
                interface = self.name(),
                octets = snapshot.interface.mtu,
                %error,
                "datagrams as long as its MTU may be answered twice or not"
            );
        }
        self.context.set_snapshot(snapshot.clone());
        if let Err(error) = self.maps(|maps| maps.publish(&snapshot, &clock)).transpose() {
            self.context.set_snapshot((*before).clone());
            return Err(error);
        }
        locked(&self.context.table).keep_configured(&snapshot);
        Ok(())
    }

    /// Puts a version in force that differs by one provisioned session, with little to do for each such change.
    ///
    /// Otherwise like [`InterfaceReflector::set_snapshot`].
    pub(crate) fn set_session(&self, snapshot: ConfigSnapshot, key: &SessionKey) -> Result<(), MapsError> {
        let before = self.context.snapshot();
        if snapshot.flags() != before.flags() {
            return self.set_snapshot(snapshot);
        }
        self.context.set_snapshot(snapshot.clone());
        if let Err(error) = self.maps(|maps| maps.publish_session(&snapshot, key)).transpose() {
            self.context.set_snapshot((*before).clone());
            return Err(error);
        }
        locked(&self.context.table).keep_changed(&snapshot, key);
        Ok(())
    }

    /// Returns a reader of the kernel's maps, where there are some. Readers do not block writers.
    pub(crate) fn reader(&self) -> Option<Arc<MapReader>> {
        self.maps(|maps| maps.reader())
    }

    /// Publishes the clock's state, in the kernel and here.
    pub(crate) fn set_clock(&self, clock: Clock) -> Result<(), MapsError> {
        self.context.set_clock(clock);
        self.maps(|maps| maps.publish_clock(&clock)).transpose().map(|_| ())
    }
}

/// Brings maps and session program into the kernel as configured, or says why there is no program where one was to be expected. With
/// [`XdpMode::Auto`] there is none, and a warning, where it is unavailable.
fn load(
    snapshot: &ConfigSnapshot,
    held: &mut Option<Folder>,
) -> Result<(Option<Loading>, Option<String>), ReflectorError> {
    let mode = snapshot.config.xdp_mode;
    let name = &snapshot.interface.name;
    if snapshot.config.without_xdp.contains(name) {
        if mode == XdpMode::Off {
            return Ok((None, None));
        }
        tracing::warn!(interface = %name, "its XDP program is another reflector's; sockets answer for this one, slower");
        return Ok((None, Some("the XDP program of the interface is another reflector's".into())));
    }
    if mode == XdpMode::Off {
        // Its program would go on answering, by rules that are no longer ours.
        let interface = snapshot.interface.name.clone();
        return if pins::has_left(snapshot.interface.index) {
            Err(LoadError::Left { interface }.into())
        } else {
            Ok((None, None))
        };
    }
    if !snapshot.interface.has_ethernet_header() {
        if mode != XdpMode::Auto {
            return Err(LoadError::NotEthernet { interface: name.clone() }.into());
        }
        tracing::info!(interface = %name, "sockets answer: its frames have no Ethernet header (tun, WireGuard, PPP)");
        return Ok((None, Some("its frames have no Ethernet header".into())));
    }
    match Loading::begin(snapshot, held) {
        Ok(loading) => Ok((Some(loading), None)),
        Err(error) if mode == XdpMode::Auto && error.is_optional() => {
            let error = explain_descriptor_limit(error);
            tracing::warn!(interface = snapshot.interface.name, error, "no XDP, sockets answer instead, slower");
            Ok((None, Some(error)))
        }
        Err(error) => Err(error.into()),
    }
}
