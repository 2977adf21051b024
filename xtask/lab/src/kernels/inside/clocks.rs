//! Clocks that move, in a guest of its own clock: T2 and T3 follow within a second, the Error Estimate says what the kernel
//! knows, and senders go on being answered.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::Recorder;
use super::checks::Bench;
use super::net::{End, NEAR_V4};
use super::peer::{Peer, Reply, now};

/// Most time for T2, T3 and the Error Estimate to follow: a second, and an exchange on an emulated processor.
const GRACE: Duration = Duration::from_millis(1500);
/// Most difference of T2 and T3 from the clock as read after the exchange.
const NEAR: f64 = 0.5;
/// A daemon's typical claim, in microseconds.
const MAXIMUM_ERROR_US: i64 = 2_000;
/// TAI - UTC since 2017.
const TAI_OFFSET_S: i32 = 37;
const DAY_S: i64 = 86_400;
/// Bits of the Error Estimate (RFC 4656 §4.1.2, RFC 8186 §2.1).
const S: u16 = 0x8000;
const Z: u16 = 0x4000;

/// Moves the clock while a reflector with NTP timestamps answers, and then one with PTP timestamps.
pub(super) fn run(bench: &Bench<'_>, recorder: &Recorder<'_>) {
    recorder.check("clocks, NTP", || ntp(bench, recorder));
    recorder.check("clocks, PTP", || ptp(bench, recorder));
    recorder.check("known senders while the clock is set", || known_senders(bench));
}

fn ntp(bench: &Bench<'_>, recorder: &Recorder<'_>) -> Result<()> {
    discipline(false)?;
    set_tai_offset(0)?;
    let running = bench.reflector(&[])?;
    let mut sender = Sender { peer: Peer::new(bench.net, End::Far, NEAR_V4)?, tai_offset_s: None };
    sender.follows(false).context("at the start")?;
    discipline(true)?;
    sender.follows(true).context("once synchronised")?;
    recorder.progress("a step of an hour");
    step(3_600)?;
    // The kernel takes a clock that was set for one that nobody keeps.
    sender.follows(false).context("after a step of an hour")?;
    discipline(true)?;
    sender.follows(true).context("synchronised again")?;
    for offset in [TAI_OFFSET_S, 0, TAI_OFFSET_S] {
        set_tai_offset(offset)?;
        sender.follows(true).with_context(|| format!("with a TAI offset of {offset}"))?;
    }
    recorder.progress("a leap second, announced and withdrawn");
    set_status(libc::STA_INS)?;
    sender.follows(true).context("with a leap second announced")?;
    set_status(0)?;
    sender.follows(true).context("with the leap second withdrawn")?;
    recorder.progress("a leap second that happens");
    leap(&mut sender)?;
    running.stop().map(drop)
}

/// Has a leap second happen two seconds from now, at the end of a day.
fn leap(sender: &mut Sender) -> Result<()> {
    let midnight = (seconds_now()? / DAY_S + 1) * DAY_S;
    step(midnight - 2 - seconds_now()?)?;
    discipline(true)?;
    set_status(libc::STA_INS)?;
    let begun = Instant::now();
    while tai_offset()? == TAI_OFFSET_S {
        ensure!(begun.elapsed() < Duration::from_secs(10), "the kernel inserts no second");
        std::thread::sleep(Duration::from_millis(50));
    }
    let inserted = sender.follows(true).context("in the leap second");
    set_status(0)?;
    inserted?;
    std::thread::sleep(Duration::from_secs(1));
    sender.follows(true).context("after the leap second")
}

fn ptp(bench: &Bench<'_>, recorder: &Recorder<'_>) -> Result<()> {
    discipline(true)?;
    set_tai_offset(TAI_OFFSET_S)?;
    let running = bench.reflector(&["--timestamp-format", "ptp"])?;
    let mut sender = Sender { peer: Peer::new(bench.net, End::Far, NEAR_V4)?, tai_offset_s: Some(TAI_OFFSET_S) };
    sender.follows(true).context("with a TAI offset of 37")?;
    recorder.progress("a TAI offset of 0, then 37");
    for offset in [0, TAI_OFFSET_S] {
        set_tai_offset(offset)?;
        sender.tai_offset_s = Some(offset);
        // S is about the clock, which is synchronised whatever the offset is.
        sender.follows(true).with_context(|| format!("with a TAI offset of {offset}"))?;
    }
    running.stop().map(drop)
}

/// A sender that the reflector knows is answered whatever happens to the clock: rates and ages are of another one.
fn known_senders(bench: &Bench<'_>) -> Result<()> {
    let running = bench.reflector(&[])?;
    let mut peer = Peer::new(bench.net, End::Far, NEAR_V4)?;
    let mut number = 0;
    for seconds in [0, -120, 7_200, -7_200, 120] {
        step(seconds)?;
        for _ in 0..10 {
            let found = peer.exchange(&[]).with_context(|| format!("after a step of {seconds} s"))?.sequence();
            ensure!(found == number, "after a step of {seconds} s the Sequence Number is {found} and not {number}");
            number += 1;
        }
    }
    running.stop().map(drop)
}

/// Asks until T2, T3 and the Error Estimate are right.
struct Sender {
    peer: Peer,
    /// TAI - UTC where timestamps are PTP's.
    tai_offset_s: Option<i32>,
}

impl Sender {
    /// Fails unless all is right within a second. `is_synchronized`: what S is to say.
    fn follows(&mut self, is_synchronized: bool) -> Result<()> {
        let until = Instant::now() + GRACE;
        loop {
            let reply = self.peer.exchange(&[])?;
            let judged = self.judge(&reply, is_synchronized);
            if judged.is_ok() || Instant::now() >= until {
                return judged;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn judge(&self, reply: &Reply, is_synchronized: bool) -> Result<()> {
        for (name, timestamp) in [("T2", reply.t2()), ("T3", reply.t3())] {
            let off = self.distance(timestamp);
            ensure!(off.abs() < NEAR, "{name} is {off:.3} s from the clock");
        }
        let estimate = reply.error_estimate();
        ensure!((estimate & S != 0) == is_synchronized, "S is {}", estimate >> 15);
        ensure!((estimate & Z != 0) == self.tai_offset_s.is_some(), "Z is {}", estimate >> 14 & 1);
        let error = bound(estimate);
        if is_synchronized {
            let claimed = MAXIMUM_ERROR_US as f64 / 1e6;
            ensure!((claimed..0.1).contains(&error), "the Error Estimate is {error} s");
        }
        ensure!(error > 0.0, "the Error Estimate has a Multiplier of 0");
        Ok(())
    }

    /// Returns the seconds by which a timestamp is ahead of the clock.
    fn distance(&self, timestamp: u64) -> f64 {
        let seconds = |ntp: u64| (ntp >> 32) as f64 + (ntp & 0xffff_ffff) as f64 / f64::from(u32::MAX);
        match self.tai_offset_s {
            None => seconds(timestamp) - seconds(now()),
            Some(offset) => {
                let ptp = (timestamp >> 32) as f64 + (timestamp & 0xffff_ffff) as f64 / 1e9;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
                ptp - f64::from(offset) - now
            }
        }
    }
}

/// The seconds that an Error Estimate says: Multiplier × 2^Scale × 2^-32.
fn bound(estimate: u16) -> f64 {
    f64::from(estimate & 0xff) * 2f64.powi(i32::from(estimate >> 8 & 0x3f) - 32)
}

/// Changes what `change` says in the kernel's state of the clock, and returns that state.
fn adjust(change: impl FnOnce(&mut libc::timex)) -> Result<libc::timex> {
    // SAFETY: all zeros are a valid `timex`.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    change(&mut timex);
    // SAFETY: it outlives the call.
    if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot change the clock's state");
    }
    Ok(timex)
}

/// Says that somebody keeps the clock synchronised, as a daemon would, or that nobody does.
fn discipline(is_synchronized: bool) -> Result<()> {
    adjust(|timex| {
        timex.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
        timex.status = if is_synchronized { 0 } else { libc::STA_UNSYNC };
        (timex.maxerror, timex.esterror) = (MAXIMUM_ERROR_US, MAXIMUM_ERROR_US / 2);
    })
    .map(drop)
}

fn set_status(status: i32) -> Result<()> {
    adjust(|timex| (timex.modes, timex.status) = (libc::ADJ_STATUS, status)).map(drop)
}

fn set_tai_offset(seconds: i32) -> Result<()> {
    adjust(|timex| (timex.modes, timex.constant) = (libc::ADJ_TAI, seconds.into())).map(drop)
}

fn tai_offset() -> Result<i32> {
    Ok(adjust(|_| ())?.tai)
}

fn seconds_now() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64)
}

/// Sets the clock forward or back.
fn step(seconds: i64) -> Result<()> {
    // SAFETY: all zeros are a valid `timespec`.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: it outlives both calls.
    let result = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time);
        time.tv_sec += seconds;
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const time)
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot set the clock");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_estimate_is_read_as_rfc_4656_has_it() {
        // S, Scale 10, Multiplier 5: 5 × 2^-22 s.
        assert!((bound(0x8a05) - 5.0 / 4_194_304.0).abs() < 1e-12);
        assert_eq!(bound(0x2001), 1.0);
    }
}
