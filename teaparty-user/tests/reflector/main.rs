//! A running reflector on a veth pair: its replies by each engine, its limits, its secrets, and what it tells of itself.
//! Needs root, for namespaces and programs.

mod addresses;
mod bad_input;
mod capture;
mod link_layer;
mod live;
mod logs;
mod metrics;
mod policy;
mod privileges;
mod reflected_control;
mod restart;
mod return_path;
mod safety;
mod several;
mod slow_path;
mod status_doctor;
mod transmit;
