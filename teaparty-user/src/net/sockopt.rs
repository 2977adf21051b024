//! Options of sockets, and the one for stamps of datagrams by whichever of its two numbers the kernel knows.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

/// `SO_TIMESTAMPING_NEW` (`asm-generic/socket.h`, Linux 5.1), whose stamps have 64 bits on every machine. musl's headers lack it.
pub(super) const SO_TIMESTAMPING_NEW: c_int = 65;

/// Octets of three stamps with 64 bits for seconds and nanoseconds each. The older option's are shorter on 32-bit machines.
pub(super) const STAMPS_LEN: usize = 48;

/// Has the kernel stamp the datagrams of a socket as `flags` (`SOF_TIMESTAMPING_…`) say.
///
/// Where neither number is known, as to an emulator of system calls, datagrams come without stamps. Whoever takes the time
/// of one then says that it is the program's own ([`StampSource::User`](super::received::StampSource::User)).
pub(super) fn enable_timestamps(socket: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    for option in [SO_TIMESTAMPING_NEW, libc::SO_TIMESTAMPING] {
        match set_int(socket, libc::SOL_SOCKET, option, flags as c_int) {
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
            result => return result,
        }
    }
    tracing::debug!("the kernel does not stamp datagrams");
    Ok(())
}

/// Sets an option whose value is a C integer.
pub(super) fn set_int(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<c_int>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::batch::{Outgoing, ReceiveBatch, SendBatch, StampSource};
    use super::super::poll::wait;
    use super::super::socket::{Options, Socket};
    use super::*;

    /// Has the kernel answer this thread from now on that it knows no socket options of these numbers.
    fn refuse(options: &[c_int]) {
        const DATA_NR: u32 = 0;
        // The third argument: half of it, which holds all of a C integer.
        const DATA_OPTION: u32 = 16 + 8 * 2 + if cfg!(target_endian = "big") { 4 } else { 0 };
        let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
        let is = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf);
        let end = |verdict| step(libc::BPF_RET | libc::BPF_K, verdict, 0, 0);
        let mut program = vec![load(DATA_NR), is(libc::SYS_setsockopt as u32, 1, 0), end(libc::SECCOMP_RET_ALLOW)];
        program.push(load(DATA_OPTION));
        for option in options {
            program.extend([is(*option as u32, 0, 1), end(libc::SECCOMP_RET_ERRNO | libc::ENOPROTOOPT as u32)]);
        }
        program.push(end(libc::SECCOMP_RET_ALLOW));
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the program outlives both calls, which change nothing but this thread.
        let result = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// The source of a datagram's stamp, on a thread that may not set these options.
    fn stamp_without(options: &'static [c_int]) -> Option<StampSource> {
        let run = move || {
            refuse(options);
            let [sender, receiver] =
                [(); 2].map(|()| Socket::open(&Options::new(SocketAddr::from(([127, 0, 0, 1], 0)))));
            let (sender, receiver) = (sender.unwrap(), receiver.unwrap());
            let mut batch = SendBatch::new();
            batch.push(&Outgoing::to(receiver.local_addr().unwrap()), b"x");
            sender.send(&mut batch).unwrap();
            let mut received = ReceiveBatch::new(1, 64);
            while received.iter().next().is_none() {
                wait(&[&receiver], None).unwrap();
                receiver.receive(&mut received).unwrap();
            }
            let stamp = received.iter().next().unwrap().stamp;
            stamp.map(|stamp| stamp.source)
        };
        std::thread::spawn(run).join().unwrap()
    }

    #[test]
    fn an_old_kernel_stamps_by_the_old_option_and_one_that_knows_neither_does_not_stamp() {
        // Not the first datagram: the kernel begins to stamp in the background. With this socket open it goes on.
        let _other = Socket::open(&Options::new(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let until_stamped = |options| (0..1000).find_map(|_| stamp_without(options));
        assert_eq!(until_stamped(&[SO_TIMESTAMPING_NEW]), Some(StampSource::Kernel));
        assert_eq!(stamp_without(&[SO_TIMESTAMPING_NEW, libc::SO_TIMESTAMPING]), None);
    }
}
