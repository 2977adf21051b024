//! The load itself: packets at a steady rate from within the kernel, and what is seen of their replies.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::gettid;
use teaparty_common::wire::{Timestamp, TimestampFormat};
use teaparty_lab::programs;

use super::packets::{Fresh, Kinds, PACKETS, Template};
use crate::net::{End, FAR, Net};

/// Frames of one run of the generator in the kernel, sent or not: more than a flood takes, because a run that ends and
/// another one that begins are many milliseconds apart.
const ENDLESS: u32 = 2_000_000_000;
/// Frames that the kernel makes at a time; of those that the kernel answers, as many as it polls for at a time.
const BATCH: u32 = 16;
const BATCH_ANSWERED: u32 = 64;

/// Modes of `xtask/bench/ebpf/src/bin/traffic_gen.rs`, and how much it restores.
const UNAUTHENTICATED: u32 = 1;
const AUTHENTICATED: u32 = 2;
const NOTED: u32 = 4;
const ECHOED: u32 = 8;
const RESTORED: u32 = 16;
const WAITS: u32 = 32;
const RESTORED_LEN: usize = 14 + 20 + 8 + 44;

/// Both ends of the load, for one pair of namespaces.
pub(crate) struct Load<'a> {
    net: &'a Net,
    object: Ebpf,
    interface: u32,
    replies: PerCpuArray<MapData, u64>,
    mode: Array<MapData, u32>,
    /// Time of the next burst, interval, packets sent; packets of a burst in the lower half.
    pace: Array<MapData, [u64; 4]>,
    fresh: Array<MapData, Fresh>,
    restored: Array<MapData, [u8; RESTORED_LEN]>,
    samples: Array<MapData, [u64; 4]>,
    sampled: Array<MapData, u32>,
    /// The processor that the load comes from.
    processor: usize,
    template: Template,
}

/// The fields that are recorded of each reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// Nothing, it is only counted.
    Nothing,
    /// T1 to T4.
    Times,
    /// T1 and T4: it is the request itself that comes back.
    Echo,
}

/// The times of one reply, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// T3 − T2, where the reply says it. What is missing from T4 − T1 then is what the timestamps miss, on a path without
    /// delay.
    pub(crate) residence: Option<i64>,
    /// T4 − T1.
    pub(crate) round_trip: i64,
}

/// The result of sending for a while.
pub(crate) struct Flood {
    /// Replies per second.
    pub(crate) replies_pps: f64,
    /// Replies for each second that the sending thread ran. Where the kernel answers, that is where all is done, and the
    /// figure does not depend on who else uses the processor.
    pub(crate) replies_per_busy_second: f64,
    /// Packets sent in all, and those without a reply.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl<'a> Load<'a> {
    /// Loads the programs and attaches the one that counts.
    pub(crate) fn new(net: &'a Net, object: &Path, processor: usize) -> Result<Self> {
        let mut object = programs::load(object)?;
        programs::costs(&mut object)?;
        let interface = net.inside(End::Far, None, || {
            program(&mut object, "traffic_sink")?.attach(FAR, XdpMode::Driver).context("cannot attach the sink")?;
            Ok(nix::net::if_::if_nametoindex(FAR)?)
        })?;
        let mut take = |name| object.take_map(name).with_context(|| format!("no map `{name}`"));
        let replies = PerCpuArray::try_from(take("replies")?)?;
        let mode = Array::try_from(take("mode")?)?;
        let pace = Array::try_from(take("pace")?)?;
        let fresh = Array::try_from(take("fresh")?)?;
        let restored = Array::try_from(take("template")?)?;
        let samples = Array::try_from(take("samples")?)?;
        let sampled = Array::try_from(take("sampled")?)?;
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
            restored,
            samples,
            sampled,
            processor,
            template: Template::new(Kinds::Authenticated),
        })
    }

    fn replies(&self) -> Result<u64> {
        Ok(self.replies.get(&0, 0)?.iter().sum())
    }

    /// Makes the packets of a kind, which all that follows sends.
    pub(crate) fn prepare(&mut self, kind: Kinds) -> Result<()> {
        self.template = Template::new(kind);
        for sequence in 0..PACKETS {
            self.fresh.set(sequence, self.template.number(sequence), 0)?;
        }
        let head = self.template.frame().first_chunk().context("every packet has a base packet")?;
        Ok(self.restored.set(0, *head, 0)?)
    }

    /// Sends `rate_pps` packets a second (infinite: as many as it can), and calls a function after `warm_up`. Returns its
    /// result, and replies per second while it ran.
    pub(crate) fn send<T>(
        &mut self,
        rate_pps: f64,
        warm_up: Duration,
        note: Note,
        meanwhile: impl FnOnce() -> Result<T>,
    ) -> Result<(T, f64)> {
        let (result, replies, [wall, _]) = self.send_timed(rate_pps, warm_up, note, meanwhile)?;
        Ok((result, replies as f64 / wall.as_secs_f64()))
    }

    /// [`Load::send`] that returns how many replies came, in what time, and how much of that the sending thread ran.
    fn send_timed<T>(
        &mut self,
        rate_pps: f64,
        warm_up: Duration,
        note: Note,
        meanwhile: impl FnOnce() -> Result<T>,
    ) -> Result<(T, u64, [Duration; 2])> {
        // Replies to base packets are in the requests' memory.
        let (mode, batch) = match self.template.kind() {
            Kinds::Authenticated => (AUTHENTICATED, BATCH),
            Kinds::History => (UNAUTHENTICATED, BATCH),
            Kinds::Base => (UNAUTHENTICATED | RESTORED, BATCH_ANSWERED),
        };
        let noted = match note {
            Note::Nothing => 0,
            Note::Times => NOTED,
            Note::Echo => NOTED | ECHOED,
        };
        // A batch is sent when it is whole, dropped frames included: where T1 matters, it is a burst.
        let (waits, batch, burst) = match note {
            Note::Nothing => (0, batch, 1),
            Note::Times | Note::Echo => (WAITS, burst(rate_pps), burst(rate_pps)),
        };
        self.mode.set(0, mode | noted | waits, 0)?;
        self.pace.set(0, [0, (f64::from(burst) * 1e9 / rate_pps) as u64, 0, u64::from(burst)], 0)?;
        let sender: &Xdp = self.object.program("traffic_send").context("no program `traffic_send`")?.try_into()?;
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
                let used = || thread_time(Path::new("/proc/self/task"), thread.load(Ordering::Acquire));
                let (before, start, used_before) = (this.replies()?, Instant::now(), used());
                let result = meanwhile()?;
                let replies = this.replies()? - before;
                Ok((result, replies, [start.elapsed(), used().saturating_sub(used_before)]))
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

    /// Sends for a while and waits for what is still on its way. Replies per second while it ran, and how many packets
    /// were sent and not answered.
    pub(crate) fn flood(&mut self, rate_pps: f64, warm_up: Duration, time: Duration) -> Result<Flood> {
        let before = self.replies()?;
        let sleep = || {
            std::thread::sleep(time);
            Ok(())
        };
        let ((), replies, [wall, used]) = self.send_timed(rate_pps, warm_up, Note::Nothing, sleep)?;
        std::thread::sleep(Duration::from_millis(100));
        let [_, _, sent, _] = self.pace.get(&0, 0)?;
        let lost = sent.saturating_sub(self.replies()? - before);
        let per = |time: Duration| replies as f64 / time.as_secs_f64();
        Ok(Flood { replies_pps: per(wall), replies_per_busy_second: per(used), sent, lost })
    }

    /// Waits until the reflector answers.
    pub(crate) fn wait_until_answered(&mut self) -> Result<()> {
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

    /// Sends `rate_pps` packets a second for a while, in bursts of [`burst`], and gives what the replies show, as far
    /// as there is room for them, how many packets were sent, and how many that is for each second that the sending thread
    /// ran: others use the processor too.
    pub(crate) fn observe(&mut self, rate_pps: f64, time: Duration, note: Note) -> Result<(Vec<Sample>, u64, f64)> {
        let before = self.replies()?;
        self.sampled.set(0, 0, 0)?;
        // As many samples as there is room for.
        let time = time.min(Duration::from_secs_f64(500_000.0 / rate_pps));
        let sleep = || {
            std::thread::sleep(time);
            Ok(())
        };
        let ((), replies, [_, used]) = self.send_timed(rate_pps, Duration::ZERO, note, sleep)?;
        // What is still on its way.
        std::thread::sleep(Duration::from_millis(100));
        self.mode.set(0, 0, 0)?;
        let [_, _, sent, _] = self.pace.get(&0, 0)?;
        let answered = (self.replies()? - before) as f64 / sent.max(1) as f64;
        let tai_offset = tai_offset_ns()?;
        let mut samples = Vec::new();
        for index in 0..self.sampled.get(&0, 0)? {
            let [t1, t2, t3, t4] = self.samples.get(&index, 0)?;
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
        Ok((samples, sent, replies as f64 / answered / used.as_secs_f64()))
    }
}

/// Packets that leave together at a rate, a power of two: the kernel takes about a microsecond for each time, however many
/// they are, and 16 is as many as it hands to an interface at once.
pub(crate) fn burst(rate_pps: f64) -> u32 {
    match rate_pps {
        ..1_050_000.0 => 1,
        ..1_200_000.0 => 2,
        ..1_800_000.0 => 4,
        _ => 16,
    }
}

extern "C" fn ignore(_: libc::c_int) {}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}

/// CLOCK_TAI minus CLOCK_REALTIME, which is whole seconds.
pub(crate) fn tai_offset_ns() -> Result<u64> {
    let (tai, real) = (clock_gettime(ClockId::CLOCK_TAI)?, clock_gettime(ClockId::CLOCK_REALTIME)?);
    let difference = (tai.tv_sec() - real.tv_sec()) as f64 + (tai.tv_nsec() - real.tv_nsec()) as f64 / 1e9;
    Ok(difference.round() as u64 * 1_000_000_000)
}

/// Returns the processor time of a process so far, of all its threads.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let tasks = std::fs::read_dir(&folder).context("the reflector has ended")?;
    Ok(tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok())
        .map(|id| thread_time(&folder, id))
        .sum())
}

/// Returns the time of one thread; zero where it has ended.
fn thread_time(folder: &Path, id: i32) -> Duration {
    let text = std::fs::read_to_string(folder.join(format!("{id}/schedstat"))).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
