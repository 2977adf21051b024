//! The Session-Reflector in the driver layer: an XDP program.
#![no_std]
#![no_main]
