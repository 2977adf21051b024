//! The Session-Sender: sends test packets, matches replies, and turns four timestamps into numbers.
//!
//! Reading order: [`config`] (what is asked for) and [`target`] (of whom), [`run`] (start to exit status), [`engine`] (the
//! loop that does I/O) and [`session`] (one target, no I/O); then the pure parts: [`schedule`] (when), [`packet`] and
//! [`tlvs`] (what goes out and comes back), [`reply`], [`exchange`] (which belongs to which, and what is lost where),
//! [`timeline`] (which clock a time is of), [`sample`] (delays), [`stats`], [`variation`] and [`histogram`]; last
//! [`report`] (what is printed), [`output`] (where to), [`live`] (the live view), [`saved`] (what was written
//! earlier), [`check`] (thresholds) and
//! [`event`] (what a running measurement tells).

pub mod check;
pub mod config;
pub mod engine;
pub mod event;
pub mod exchange;
pub mod histogram;
pub mod live;
pub mod output;
pub mod packet;
pub mod reflector_clock;
pub mod reply;
pub mod report;
pub mod run;
pub mod sample;
pub mod saved;
pub mod schedule;
pub mod session;
pub mod silence;
pub mod stats;
pub mod target;
pub mod timeline;
pub mod tlvs;
pub mod variation;
