//! The Session-Sender: sends test packets, matches replies, and turns four timestamps into numbers.
//!
//! Reading order: [`config`] (what is asked for) and [`target`] (of whom), [`run`] (start to exit status), [`engine`]
//! (the loop that does I/O) and [`session`] (one target, no I/O); then the pure parts: [`schedule`] (when),
//! [`packet`] and [`tlvs`] (what goes out and comes back), [`reply`], [`matcher`] (which belongs to which, and what
//! is lost where), [`timeline`] (which clock a time is of), [`delays`] (delays), [`stats`], [`variation`] and
//! [`histogram`]; last [`report`] (what is printed), [`line_writer`] (where to), [`tui`] (the live view),
//! [`saved_run`] (what was written earlier), [`thresholds`] (thresholds) and [`event`] (what a running measurement
//! tells).

pub mod config;
pub mod delays;
pub mod engine;
pub mod event;
pub mod histogram;
pub mod line_writer;
pub mod matcher;
pub mod packet;
pub mod reflector_clock;
pub mod reply;
pub mod report;
pub mod run;
pub mod saved_run;
pub mod schedule;
pub mod session;
pub mod silence;
pub mod stats;
pub mod target;
pub mod thresholds;
pub mod timeline;
pub mod tlvs;
pub mod tui;
pub mod variation;
