//! The program's sender: the packets that it sends, what it makes of replies, and the forms of its results.

mod claims;
mod clock;
mod conformance;
mod hostile;
mod measures;
mod model;
mod our_reflector;
mod output;
mod path;
mod relay;
mod stall;
mod terminal;
mod twamp_light;
