//! The loaded XDP program, run on frames by BPF_PROG_TEST_RUN: root is needed, a network interface is not.
//!
//! What a frame's payload is to come back as is said by `testing_data/vectors` and by the core on the host; what its
//! headers are to come back as, by code in `teaparty_testing::frame` that shares nothing with the program.

mod admission;
mod bad_input;
mod differential;
mod differential_admission;
mod headers;
mod limits;
mod reply_headers;
mod sessions;
mod tlvs;
mod vectors;
