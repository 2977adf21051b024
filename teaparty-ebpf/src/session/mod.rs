//! Whether a packet is to be answered at all, and the state of the session that it belongs to.

mod addresses;
mod admission;
mod history;
mod lifecycle;
pub(crate) mod op;
mod provisioned;
pub(crate) mod table;

pub(crate) use self::addresses::{check_link, is_node};
pub(crate) use self::admission::{KernelAdmission, KernelAdmitted, is_loop_due, is_within_rate};
pub(crate) use self::history::remember;
pub(crate) use self::lifecycle::{find_or_make, restart_marks};
pub(crate) use self::provisioned::{own_ssid, provisioned};
