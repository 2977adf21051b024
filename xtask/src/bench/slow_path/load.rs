//! The load itself: packets at a steady rate from within the kernel, and what is seen of their replies.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;
use teaparty_common::wire::{Timestamp, TimestampFormat};

use super::packets::{Fresh, Kinds, PACKETS, Template};
use crate::bench::net::{End, FAR, Net};
use crate::verify;

/// Frames of one run of the generator in the kernel, sent or not: more than a flood takes, because a run that ends and
/// another one that begins are many milliseconds apart.
const ENDLESS: u32 = 2_000_000_000;
/// Frames that the kernel makes at a time.
const BATCH: u32 = 16;

/// Both ends of the load, for one pair of namespaces.
pub(super) struct Load<'a> {
    net: &'a Net,
    object: Ebpf,
    interface: u32,
    replies: PerCpuArray<MapData, u64>,
    mode: Array<MapData, u32>,
    /// When the next one is due, the interval, how many were sent.
    pace: Array<MapData, [u64; 3]>,
    fresh: Array<MapData, Fresh>,
    samples: RingBuf<MapData>,
    /// The processor that the load comes from.
    processor: usize,
    template: Template,
}

/// What is noted of each reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing, it is only counted.
    Nothing,
    /// T1 to T4.
    Times,
    /// T1 and T4: it is the request itself that comes back.
    Echo,
}

/// What one reply shows, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    /// T3 − T2, where the reply says it. What is missing from T4 − T1 then is what the timestamps miss, on a path without
    /// delay.
    pub(super) residence: Option<i64>,
    /// T4 − T1.
    pub(super) round_trip: i64,
}

impl<'a> Load<'a> {
    /// Loads the programs and attaches the one that counts.
    pub(super) fn new(net: &'a Net, object: &Path, processor: usize) -> Result<Self> {
        let mut object = verify::load(object)?;
        verify::costs(&mut object)?;
        let interface = net.inside(End::Far, None, || {
            program(&mut object, "load_sink")?.attach(FAR, XdpMode::Driver).context("cannot attach the sink")?;
            Ok(nix::net::if_::if_nametoindex(FAR)?)
        })?;
        let mut take = |name| object.take_map(name).with_context(|| format!("no map `{name}`"));
        let replies = PerCpuArray::try_from(take("replies")?)?;
        let mode = Array::try_from(take("mode")?)?;
        let pace = Array::try_from(take("pace")?)?;
        let fresh = Array::try_from(take("fresh")?)?;
        let samples = RingBuf::try_from(take("samples")?)?;
        // Interrupts the flood, and does nothing else.
        let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing at all.
        unsafe { sigaction(Signal::SIGUSR1, &action) }?;
        Ok(Self {
            net,
            object,
            interface,
            replies,
            mode,
            pace,
            fresh,
            samples,
            processor,
            template: Template::new(Kinds::Authenticated),
        })
    }

    fn replies(&self) -> Result<u64> {
        Ok(self.replies.get(&0, 0)?.iter().sum())
    }

    /// Makes the packets of a kind, which all that follows sends.
    pub(super) fn prepare(&mut self, kind: Kinds) -> Result<()> {
        self.template = Template::new(kind);
        for sequence in 0..PACKETS {
            self.fresh.set(sequence, self.template.number(sequence), 0)?;
        }
        Ok(())
    }

    /// Sends `rate_pps` packets a second, and calls `meanwhile` once that has gone on for `warm_up`. Returns what that
    /// gave, and replies per second while it ran.
    pub(super) fn send<T>(
        &mut self,
        rate_pps: f64,
        warm_up: Duration,
        note: Note,
        meanwhile: impl FnOnce() -> Result<T>,
    ) -> Result<(T, f64)> {
        let mode = if self.template.kind() == Kinds::Authenticated { 2 } else { 1 };
        let noted = match note {
            Note::Nothing => 0,
            Note::Times => 4,
            Note::Echo => 4 | 8,
        };
        self.mode.set(0, mode | noted, 0)?;
        self.pace.set(0, [0, (1e9 / rate_pps) as u64, 0], 0)?;
        let sender: &Xdp = self.object.program("load_send").context("no program `load_send`")?.try_into()?;
        // A batch is sent when it is whole, dropped frames included: one frame at a time where its T1 matters.
        let batch = if note == Note::Nothing { BATCH } else { 1 };
        let this = &*self;
        let thread = AtomicI32::new(0);
        let is_over = AtomicBool::new(false);
        let send = || {
            this.net.inside(End::Far, Some(this.processor), || {
                thread.store(gettid().as_raw(), Ordering::Release);
                this.send_until(sender, batch, &is_over)
            })
        };
        std::thread::scope(|scope| {
            let flood = scope.spawn(send);
            std::thread::sleep(warm_up);
            let measured = (|| {
                let (before, start) = (this.replies()?, Instant::now());
                let result = meanwhile()?;
                let replies = this.replies()? - before;
                Ok((result, replies as f64 / start.elapsed().as_secs_f64()))
            })();
            is_over.store(true, Ordering::Relaxed);
            while !flood.is_finished() {
                let thread = thread.load(Ordering::Acquire);
                if thread != 0 {
                    // SAFETY: takes no pointers. A thread that has ended this moment makes it fail, and no harm.
                    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            flood.join().expect("the thread hands its errors on")?;
            measured
        })
    }

    fn send_until(&self, sender: &Xdp, batch: u32, is_over: &AtomicBool) -> Result<()> {
        let frame = self.template.frame();
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let words = [0, frame.len() as u32, 0, self.interface, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        while !is_over.load(Ordering::Relaxed) {
            let options = TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat: ENDLESS,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::default()
            };
            if let Err(error) = sender.test_run(options)
                && !is_over.load(Ordering::Relaxed)
            {
                return Err(error).context("the kernel does not send live frames");
            }
        }
        Ok(())
    }

    /// Waits until the reflector answers.
    pub(super) fn wait_until_answered(&mut self) -> Result<()> {
        for _ in 0..100 {
            let wait = || {
                std::thread::sleep(Duration::from_millis(50));
                Ok(())
            };
            if self.send(100.0, Duration::ZERO, Note::Nothing, wait)?.1 > 0.0 {
                return Ok(());
            }
        }
        bail!("no reply within some seconds")
    }

    /// Sends `rate_pps` packets a second for a while and gives what the replies show, how many packets were sent,
    /// and how long that took: less than asked for where there is no room for all samples.
    pub(super) fn observe(
        &mut self,
        rate_pps: f64,
        time: Duration,
        note: Note,
    ) -> Result<(Vec<Sample>, u64, Duration)> {
        while self.samples.next().is_some() {}
        // As many samples as there is room for.
        let time = time.min(Duration::from_secs_f64(500_000.0 / rate_pps));
        self.send(rate_pps, Duration::ZERO, note, || {
            std::thread::sleep(time);
            Ok(())
        })?;
        // What is still on its way.
        std::thread::sleep(Duration::from_millis(100));
        self.mode.set(0, 0, 0)?;
        let [_, _, sent] = self.pace.get(&0, 0)?;
        let tai_offset = tai_offset_ns()?;
        let mut samples = Vec::new();
        while let Some(record) = self.samples.next() {
            let mut words =
                record.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight octets")));
            let mut next = || words.next().context("a sample is too short");
            let (t1, t2, t3, t4) = (next()?, next()?, next()?, next()?);
            let [t2, t3] = [t2, t3].map(|bits| {
                Timestamp::from_bits(bits).to_nanos(TimestampFormat::Ntp, t4).wrapping_add(tai_offset) as i64
            });
            let (t1, t4, residence) = (t1 as i64, t4 as i64, t3 - t2);
            let round_trip = t4 - t1;
            if note == Note::Echo {
                samples.push(Sample { residence: None, round_trip });
            } else if residence >= 0 && t2 >= t1 && t4 >= t3 {
                // A reply that comes after its Sequence Number was used again is no better than a lost one.
                samples.push(Sample { residence: Some(residence), round_trip });
            }
        }
        Ok((samples, sent, time))
    }
}

extern "C" fn ignore(_: libc::c_int) {}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}

/// CLOCK_TAI minus CLOCK_REALTIME, which is whole seconds.
fn tai_offset_ns() -> Result<u64> {
    let (tai, real) = (clock_gettime(ClockId::CLOCK_TAI)?, clock_gettime(ClockId::CLOCK_REALTIME)?);
    let difference = (tai.tv_sec() - real.tv_sec()) as f64 + (tai.tv_nsec() - real.tv_nsec()) as f64 / 1e9;
    Ok(difference.round() as u64 * 1_000_000_000)
}

/// What a process has used of its processor so far, all its threads together.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the reflector has ended")? {
        let mut text = String::new();
        // A thread may end meanwhile.
        let Ok(mut file) = File::open(task?.path().join("schedstat")) else { continue };
        std::io::Read::read_to_string(&mut file, &mut text)?;
        total += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}
