//! Two network namespaces joined by a veth pair, `teaparty reflector` in one and a plain UDP client in the other.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::MapData;
use aya::programs::{Xdp, XdpMode};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_user::net::interface::Interface;
use teaparty_user::reflector::kernel::object::object;

use crate::namespace::inside;
use crate::program::program;

/// The reflector's IPv4 address.
pub const V4: &str = "192.0.2.1";
/// The reflector's IPv6 address.
pub const V6: &str = "2001:db8::1";

/// Most time for a reply. Machines are slow under load; nothing here measures.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Namespaces and veth pair. Dropping it removes both.
pub struct Net {
    near: String,
    far: String,
    // Keeps the program at the far end, without which frames sent by XDP_TX are dropped there.
    far_end: Option<Ebpf>,
}

impl Net {
    /// Makes them, if this process may.
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut net = Self { near: format!("ttn-{id}"), far: format!("ttf-{id}"), far_end: None };
        for name in [&net.near, &net.far] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        net.connect()?;
        Ok(net)
    }

    /// Creates a pair with nothing at the far end, as a container has it: a native program's replies are lost there.
    pub fn plain() -> Result<Self, String> {
        let mut net = Self::new()?;
        net.far_end = None;
        Ok(net)
    }

    /// Makes the veth pair and its addresses.
    pub fn connect(&mut self) -> Result<(), String> {
        let (near, far) = (&self.near, &self.far);
        ip(&["-n", near, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", far])?;
        for (name, device, v4, v6) in
            [(near, "veth0", "192.0.2.1/24", "2001:db8::1/64"), (far, "veth1", "192.0.2.2/24", "2001:db8::2/64")]
        {
            ip(&["-n", name, "address", "add", v4, "dev", device])?;
            ip(&["-n", name, "address", "add", v6, "dev", device, "nodad"])?;
            ip(&["-n", name, "link", "set", device, "up"])?;
        }
        self.far_end = Some(self.in_far(|| attach_pass("veth1"))?);
        Ok(())
    }

    /// Removes the veth pair.
    pub fn disconnect(&mut self) {
        self.far_end = None;
        ip(&["-n", &self.near, "link", "delete", "veth0"]).unwrap();
    }

    /// Runs `ip` in the reflector's namespace.
    pub fn near_ip(&self, arguments: &[&str]) {
        self.try_near_ip(arguments).unwrap();
    }

    /// Runs `ip` for a feature that this machine may lack.
    pub fn try_near_ip(&self, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.near], arguments].concat())
    }

    /// Runs `ip` in the client's namespace.
    pub fn far_ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.far], arguments].concat()).unwrap();
    }

    /// The MAC address of a device in the reflector's namespace.
    pub fn mac(&self, device: &str) -> [u8; 6] {
        let found = self.in_near(|| Interface::find(device));
        found.unwrap().mac
    }

    /// Calls `f` in the client's namespace.
    pub fn in_far<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.far, f)
    }

    /// Returns the path of the reflector's namespace.
    pub fn near_path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.near)
    }

    /// The reflector's namespace.
    pub fn near_file(&self) -> File {
        File::open(self.near_path()).unwrap()
    }

    /// Calls `f` in the reflector's namespace.
    pub fn in_near<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.near, f)
    }

    /// Runs `teaparty` in the reflector's namespace.
    pub fn teaparty(&self, arguments: &[&str]) -> Command {
        teaparty_in(&self.near, arguments)
    }

    /// Any program, to be run in the reflector's namespace.
    pub fn command(&self, program: &str) -> Command {
        command_in(&self.near, program)
    }

    /// Runs `teaparty` in the client's namespace.
    pub fn far_teaparty(&self, arguments: &[&str]) -> Command {
        teaparty_in(&self.far, arguments)
    }

    /// Starts a reflector on veth0 and waits until it is ready.
    pub fn reflector(&self, arguments: &[&str]) -> Running {
        start(&mut self.teaparty(&[&["reflector", "--api", "none", "--iface", "veth0"], arguments].concat()))
    }

    /// Starts another copy of the program.
    pub fn reflector_by(&self, program: &Path, arguments: &[&str]) -> Running {
        let mut command = command_in(&self.near, program);
        command.args(["reflector", "--api", "none", "--iface", "veth0"]).args(arguments);
        start(command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()))
    }

    /// Starts one on veth1, at the client's end, and waits until it is ready.
    pub fn far_reflector(&self, arguments: &[&str]) -> Running {
        start(&mut self.far_teaparty(&[&["reflector", "--api", "none", "--iface", "veth1"], arguments].concat()))
    }

    /// A client of the reflector at this address and port.
    pub fn client(&self, to: &str, port: u16) -> Client {
        self.client_from(to, port, 0)
    }

    /// A client on the reflector's own host, by loopback.
    pub fn near_client(&self, port: u16) -> Client {
        let socket = self.in_near(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, to: SocketAddr::from(([127, 0, 0, 1], port)), sent: 0 }
    }

    /// A client with a port of its own choice.
    pub fn client_from(&self, to: &str, port: u16, from: u16) -> Client {
        let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
        let any = if to.is_ipv6() { "::" } else { "0.0.0.0" };
        let socket = self.in_far(|| UdpSocket::bind((any, from))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, to, sent: 0 }
    }

    /// Asks the API at 127.0.0.1:8000 in the reflector's namespace: the status, and the JSON of the answer.
    pub fn api(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let mut stream = self.in_near(|| std::net::TcpStream::connect("127.0.0.1:8000")).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
    }

    /// Has the kernel refuse to write to one of the reflector's maps on veth0 from now on.
    pub fn freeze(&self, map: &str) {
        const BPF_MAP_FREEZE: libc::c_long = 22;
        let map = MapData::from_pin(self.pins().join(map)).expect("a pinned map");
        let attributes = [map.fd().as_fd().as_raw_fd() as u32; 1];
        // SAFETY: the command reads one descriptor from memory that outlives the call and is as long as stated.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_FREEZE, attributes.as_ptr(), std::mem::size_of_val(&attributes))
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// Returns the folder of the reflector's pins.
    pub fn pins(&self) -> PathBuf {
        let inode = |path: String| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        PathBuf::from(format!("/sys/fs/bpf/teaparty/veth0@{}", inode(format!("/run/netns/{}", self.near))))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Where namespaces cannot be made there is none, and the test is to be skipped and not to fail.
        if Path::new("/run/netns").join(&self.near).exists() {
            let _ = std::fs::remove_dir_all(self.pins());
        }
        for name in [&self.near, &self.far] {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// The program that lets everything pass, on this interface.
pub fn attach_pass(device: &str) -> Result<Ebpf, String> {
    let mut ebpf = load_pass()?;
    pass_on(&mut ebpf, device)?;
    Ok(ebpf)
}

/// Loads a program that passes all packets, on no interface yet.
pub fn load_pass() -> Result<Ebpf, String> {
    let object = object().map_err(|error| error.to_string())?;
    let mut ebpf = Ebpf::load(&object).map_err(|error| format!("{error:?}"))?;
    let pass: &mut Xdp = ebpf.program_mut("teaparty_pass").unwrap().try_into().unwrap();
    pass.load().map_err(|error| format!("{error:?}"))?;
    Ok(ebpf)
}

/// Attaches it.
pub fn pass_on(ebpf: &mut Ebpf, device: &str) -> Result<(), String> {
    let pass: &mut Xdp = ebpf.program_mut("teaparty_pass").unwrap().try_into().unwrap();
    pass.attach(device, XdpMode::Driver).map(|_| ()).map_err(|error| format!("{error:?}"))
}

fn teaparty_in(namespace: &str, arguments: &[&str]) -> Command {
    let mut command = command_in(namespace, program());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

fn command_in(namespace: &str, program: impl AsRef<Path>) -> Command {
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    let mut command = Command::new(program.as_ref());
    // SAFETY: setns is a bare system call, and the file stays open in the closure.
    unsafe { command.pre_exec(move || setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(Into::into)) };
    command
}

/// Starts a reflector and waits until it is ready.
pub fn start(command: &mut Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    // The last line of the ready block.
    while !ready.contains("  sessions ") {
        if out.read_line(&mut ready).unwrap() == 0 {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("the reflector ended: {error}{ready}");
        }
    }
    Running { child, out, ready }
}

/// A running `teaparty reflector`. Dropping it kills it.
pub struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    /// The block that it printed when it was ready.
    pub ready: String,
}

/// The end of a reflector.
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output after the ready block.
    pub out: String,
    /// Standard error.
    pub error: String,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits.
    pub fn stop(self) -> Ended {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Ended {
        let (mut out, mut error) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        Ended { status: self.child.wait().unwrap(), out, error }
    }

    /// Sends SIGTERM and waits, where standard error goes elsewhere.
    pub fn stop_quietly(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        self.child.wait().unwrap()
    }

    /// Sends SIGKILL and waits.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sender that numbers its packets and looks at nothing but what it is asked to.
pub struct Client {
    /// Its socket.
    pub socket: UdpSocket,
    to: SocketAddr,
    sent: u32,
}

impl Client {
    /// A test packet in unauthenticated mode with its number and these octets after the base packet.
    pub fn packet(&mut self, tail: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 44];
        packet[..4].copy_from_slice(&self.sent.to_be_bytes());
        packet[4..14].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
        packet.extend_from_slice(tail);
        self.sent += 1;
        packet
    }

    /// Sends a packet with this tail and waits for its reply.
    pub fn ask(&mut self, tail: &[u8]) -> Option<Vec<u8>> {
        let packet = self.packet(tail);
        self.exchange(&packet)
    }

    /// Sends these octets and waits for a reply.
    pub fn exchange(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.socket.send_to(packet, self.to).unwrap();
        let mut reply = vec![0; 65_536];
        let (len, from) = self.socket.recv_from(&mut reply).ok()?;
        assert_eq!(from, self.to, "the reply comes from the address that was asked");
        reply.truncate(len);
        Some(reply)
    }

    /// Sends these octets and waits for nothing.
    pub fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.to).unwrap();
    }

    /// The next reply, whatever it answers.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut reply = vec![0; 65_536];
        let len = self.socket.recv(&mut reply).ok()?;
        reply.truncate(len);
        Some(reply)
    }

    /// A reply that is here already.
    pub fn receive_now(&self) -> Option<Vec<u8>> {
        self.socket.set_nonblocking(true).unwrap();
        let reply = self.receive();
        self.socket.set_nonblocking(false).unwrap();
        reply
    }

    /// Asks until there is an answer, or for `limit`; whether there was one.
    pub fn ask_within(&mut self, limit: Duration) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = Instant::now() + limit;
        let mut is_answered = false;
        while !is_answered && Instant::now() < end {
            // A link that is not up yet refuses the packet.
            let packet = self.packet(&[]);
            let _ = self.socket.send_to(&packet, self.to);
            is_answered = self.socket.recv_from(&mut [0; 2048]).is_ok();
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        is_answered
    }
}

/// The Sequence Number of a reply.
pub fn sequence(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[..4].try_into().unwrap())
}

/// The Sequence Number of the request in a reply.
pub fn sender_sequence(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[24..28].try_into().unwrap())
}
