//! One emulated machine: qemu without KVM, one processor, two network cards on one hub.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::exec;

use super::kernel::{self, Kernel};
use super::report::{self, Message};
use super::{Subject, image};

/// MAC addresses of the two cards: the reflector's, and the other one's.
pub(super) const NEAR_MAC: &str = "02:00:00:00:00:01";
pub(super) const FAR_MAC: &str = "02:00:00:00:00:02";

/// Most lines of the console that a failure shows.
const CONSOLE_LINES: usize = 30;

/// Boots a kernel, has [`super::inside`] run with these arguments, and adds what it says to `messages`.
///
/// Fails if that takes longer than `limit`, or the guest ends before it says that it is through; what it said until then
/// is in `messages` all the same.
pub(super) fn run(
    kernel: &Kernel,
    subject: &Subject,
    arguments: &[String],
    limit: Duration,
    messages: &mut Vec<Message>,
) -> Result<()> {
    let console = kernel::folder().join(format!("{}.console", kernel.name));
    let mut command = qemu(kernel, subject, arguments)?;
    // The kernel's own messages are kept in a file; the checks report by the second port.
    command.args(["-display", "none", "-monitor", "none", "-serial"]).arg(format!("file:{}", console.display()));
    command.args(["-serial", "stdio"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| exec::cannot_start(&command))?;
    let heard = listen(&mut child, kernel.name, Instant::now() + limit, messages);
    let _ = child.kill();
    child.wait()?;
    heard?;
    if !messages.contains(&Message::End) {
        bail!("the guest ended before it was through; its console said:\n{}", tail(&console));
    }
    Ok(())
}

/// Collects what the guest says until it ends.
fn listen(child: &mut Child, name: &str, deadline: Instant, messages: &mut Vec<Message>) -> Result<()> {
    let out = child.stdout.take().context("qemu has no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => messages.extend(report::heard(name, &line)),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let last = messages.iter().rev().find_map(Message::progress).unwrap_or("booting");
                bail!("it takes too long; it was at: {last}");
            }
        }
    }
}

/// Boots a kernel for work by hand.
pub(super) fn shell(kernel: &Kernel, subject: &Subject) -> Result<()> {
    let mut command = qemu(kernel, subject, &["shell".to_owned()])?;
    exec::show(command.args(["-nographic"]))
}

/// The command line, without what becomes of the serial ports.
fn qemu(kernel: &Kernel, subject: &Subject, arguments: &[String]) -> Result<Command> {
    let vmlinuz = kernel.folder()?.join(format!("boot/vmlinuz-{}", kernel.release()?));
    let image = image::build(kernel, subject)?;
    let mut command = kernel::qemu();
    // With several threads Linux 6.12 dies of an instruction that it has patched.
    command.args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", "1024", "-no-reboot"]);
    command.arg("-kernel").arg(vmlinuz).arg("-initrd").arg(image);
    for (id, mac) in [("near", NEAR_MAC), ("far", FAR_MAC)] {
        command.arg("-netdev").arg(format!("hubport,id={id},hubid=0"));
        // With what joins or leaves out checksums, virtio_net refuses an XDP program. No boot from the network.
        command.arg("-device").arg(format!(
            "virtio-net-pci,netdev={id},mac={mac},romfile=,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
             guest_csum=off"
        ));
    }
    let teaparty =
        subject.teaparty.as_ref().map_or(String::new(), |_| format!(" --teaparty {}", image::GUEST_TEAPARTY));
    // A guest that gets no processor for a while takes its timer for broken and panics, unless an option switches the check off.
    command.arg("-append").arg(format!(
        "console=ttyS0 quiet no_timer_check panic=-1 rdinit={} -- kernels-inside {} --object {}{teaparty} --vectors {}",
        image::GUEST_LAB,
        arguments.join(" "),
        image::GUEST_OBJECT,
        image::GUEST_VECTORS,
    ));
    Ok(command)
}

fn tail(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
