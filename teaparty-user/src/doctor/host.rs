//! What the system is like: kernel, privileges, BPF, descriptors, clock.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::{DoctorFinding, DoctorVerdict};
use crate::reflector::kernel::load_error::{LoadError, OLDEST_KERNEL};
use crate::reflector::kernel::object;
use crate::reflector::kernel::pins;
use crate::sys::capabilities;
use crate::sys::clock::{ClockState, claimed_bound_ns};

/// Clock sources that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"];

/// Descriptors that a reflector on one more interface opens: maps, programs, sockets, and what wakes its threads.
const DESCRIPTORS_EACH: u64 = 40;
/// Those of the process itself and of clients of its API.
const DESCRIPTORS: u64 = 100;

/// Checks the host, for a reflector on this many interfaces.
pub(super) fn inspect(interfaces: usize) -> Vec<DoctorFinding> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let folder_state = pins::state();
    let missing = capabilities::missing();
    let is_inside = read("/proc/self/uid_map").is_some_and(|map| is_user_namespace(&map));
    let size = object::object().map(|object| object.len());
    // What fails for want of privileges says nothing of the kernel.
    let tried = (size.is_ok() && missing.is_empty()).then(object::try_load);
    let has_loaded = matches!(tried, Some(Ok(())));
    let mut findings = vec![
        kernel(&release),
        object(size, tried),
        capabilities(missing, is_inside && !has_loaded),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        bpffs(&folder_state),
        jit(read("/proc/sys/net/core/bpf_jit_enable").as_deref()),
    ];
    if let Ok(limits) = getrlimit(Resource::RLIMIT_NOFILE) {
        findings.push(descriptors(interfaces, limits));
    }
    if let Ok(state) = folder_state {
        findings.extend(state.left.iter().map(|name| left_behind(name)));
        findings.extend(state.stale.iter().map(|name| stale(name)));
    }
    findings.extend(clock(ClockState::read().unwrap_or(ClockState::UNKNOWN)));
    findings.push(clock_source(read("/sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref()));
    findings
}

fn kernel(release: &str) -> DoctorFinding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_KERNEL;
    if version >= (major.into(), minor.into()) {
        return DoctorFinding::good("kernel", format!("Linux {release}; the XDP program needs {major}.{minor}"));
    }
    DoctorFinding::new("kernel", DoctorVerdict::Failure, format!("Linux {release} is older than {major}.{minor}"))
        .remedy("take a newer kernel, or let sockets answer: --xdp-mode off")
}

/// Judges the program by its length in octets and by the kernel's verdict on loading it.
fn object(found: Result<usize, LoadError>, tried: Option<Result<(), LoadError>>) -> DoctorFinding {
    match (found, tried) {
        (Ok(octets), Some(Ok(()))) => {
            DoctorFinding::good("program", format!("the kernel loads the XDP program, of {octets} octets"))
        }
        (Ok(_), Some(Err(error))) => DoctorFinding::new("program", DoctorVerdict::Failure, error.to_string())
            .remedy("sockets answer on this kernel (--xdp-mode auto or off); report the text with `uname -r`"),
        (Ok(octets), None) => {
            let found = format!("the XDP program is there, {octets} octets; to try it takes the privileges below");
            DoctorFinding::new("program", DoctorVerdict::Note, found)
        }
        (Err(error), _) => DoctorFinding::new("program", DoctorVerdict::Failure, error.to_string())
            .remedy("build it (`cargo xtask build-ebpf`) and then teaparty, or let sockets answer: --xdp-mode off"),
    }
}

/// Returns true if a process with this `/proc/self/uid_map` is in a user namespace other than the system's first one.
fn is_user_namespace(map: &str) -> bool {
    let numbers: Vec<&str> = map.split_whitespace().collect();
    numbers != ["0", "0", "4294967295"]
}

/// Judges the soft and the hard limit of open descriptors.
fn descriptors(interfaces: usize, (soft, hard): (u64, u64)) -> DoctorFinding {
    let needed = DESCRIPTORS + DESCRIPTORS_EACH * interfaces as u64;
    let found = format!("{soft} may be open, at most {hard}; {interfaces} interfaces take some {needed}");
    // A start raises the soft limit to the hard one.
    if hard >= needed {
        return DoctorFinding::good("descriptors", found);
    }
    DoctorFinding::new("descriptors", DoctorVerdict::Failure, found)
        .remedy(format!("ulimit -n {needed}, LimitNOFILE={needed} in the unit, or fewer interfaces (--iface)"))
}

fn capabilities(missing: CapabilitySet, is_inside: bool) -> DoctorFinding {
    if is_inside {
        return DoctorFinding::new(
            "privileges",
            DoctorVerdict::Failure,
            "this is a user namespace: its root and capabilities are not the host's, and the kernel refuses XDP to them",
        )
        .remedy("run it outside of the user namespace (a container as root, without --userns), or --xdp-mode off");
    }
    if missing.is_empty() {
        return DoctorFinding::good("privileges", "all capabilities that a reflector keeps");
    }
    let names: Vec<String> = missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    DoctorFinding::new("privileges", DoctorVerdict::Failure, format!("without {}", names.join(", ")))
        .remedy("run this, and the reflector, as root (sudo), or with these capabilities as in dist/teaparty.service")
}

fn btf(is_there: bool) -> DoctorFinding {
    if is_there {
        return DoctorFinding::good("BTF", "the kernel describes its types");
    }
    DoctorFinding::new(
        "BTF",
        DoctorVerdict::Warning,
        "no /sys/kernel/btf/vmlinux: the kernel was built without CONFIG_DEBUG_INFO_BTF",
    )
    .remedy("take a kernel with BTF, or expect bpftool to show the maps as plain octets")
}

fn bpffs(state: &Result<pins::FolderState, pins::NotMounted>) -> DoctorFinding {
    match state {
        Ok(state) if state.is_writable => DoctorFinding::good("bpffs", "mounted, and programs can be pinned in it"),
        Ok(_) => DoctorFinding::new("bpffs", DoctorVerdict::Failure, "mounted, but this user cannot pin in it")
            .remedy("run as root, or make /sys/fs/bpf/teaparty this user's, as dist/teaparty.service does"),
        Err(error) => DoctorFinding::new("bpffs", DoctorVerdict::Warning, error.to_string())
            .remedy("a reflector started by root mounts it; else: mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn left_behind(name: &str) -> DoctorFinding {
    DoctorFinding::new(
        "left behind",
        DoctorVerdict::Note,
        format!("{name}: a program answers there, and no controller runs"),
    )
    .remedy(format!(
        "the next `teaparty reflector --iface {name}` goes on with it; `teaparty detach --iface {name}` ends it"
    ))
}

fn stale(name: &str) -> DoctorFinding {
    DoctorFinding::new("left behind", DoctorVerdict::Note, format!("{name}: pinned for an interface that is gone"))
        .remedy("the next start removes it, and so does `teaparty detach --all`")
}

fn jit(enabled: Option<&str>) -> DoctorFinding {
    match enabled {
        Some("0") => DoctorFinding::new(
            "JIT",
            DoctorVerdict::Warning,
            "BPF programs are interpreted: ours is refused, and sockets answer",
        )
        .remedy("sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) => DoctorFinding::good("JIT", "BPF programs are compiled"),
        None => {
            DoctorFinding::new("JIT", DoctorVerdict::Note, "this user may not see whether BPF programs are compiled")
        }
    }
}

fn clock(state: ClockState) -> [DoctorFinding; 2] {
    let error = match claimed_bound_ns(state.maximum_error_ns) {
        Some(bound) => format!("within {:?}", std::time::Duration::from_nanos(bound)),
        None => "error unknown".into(),
    };
    let is = if state.is_synchronized {
        DoctorFinding::good("clock", format!("synchronised, {error}"))
    } else {
        DoctorFinding::new("clock", DoctorVerdict::Warning, format!("not synchronised, {error}"))
            .remedy("run chrony, ntpd or ptp4l with phc2sys: round trips are right without, one-way delays are not")
    };
    let tai = match state.tai_offset_s {
        0 => DoctorFinding::new(
            "TAI offset",
            DoctorVerdict::Note,
            "0: the kernel was not told how far UTC is behind TAI",
        )
        .remedy("for --timestamp-format ptp have chrony set it: `leapsectz right/UTC`"),
        seconds => DoctorFinding::good("TAI offset", format!("{seconds} s")),
    };
    [is, tai]
}

fn clock_source(name: Option<&str>) -> DoctorFinding {
    match name {
        Some(name) if FAST_CLOCKS.contains(&name) => DoctorFinding::good("clock source", name),
        Some(name) => DoctorFinding::new("clock source", DoctorVerdict::Warning, format!("{name}: reading it is slow, and each packet reads it twice"))
            .remedy("see /sys/devices/system/clocksource/clocksource0/available_clocksource for tsc; the kernel's log says why it was given up"),
        None => DoctorFinding::new("clock source", DoctorVerdict::Note, "the system does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, verdict) in [
            ("6.1.0-13-amd64", DoctorVerdict::Good),
            ("6.18.44", DoctorVerdict::Good),
            ("10.0.1", DoctorVerdict::Good),
            ("6.0.19", DoctorVerdict::Failure),
            ("5.15.0-91-generic", DoctorVerdict::Failure),
            ("", DoctorVerdict::Failure),
        ] {
            assert_eq!(kernel(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let found = capabilities(CapabilitySet::BPF | CapabilitySet::NET_RAW, false);
        assert_eq!(found.verdict, DoctorVerdict::Failure);
        assert!(found.found.contains("CAP_BPF") && found.found.contains("CAP_NET_RAW"), "{found:?}");
        assert_eq!(capabilities(CapabilitySet::empty(), false).verdict, DoctorVerdict::Good);
        let found = capabilities(CapabilitySet::empty(), true);
        assert!(found.verdict == DoctorVerdict::Failure && found.found.contains("user namespace"), "{found:?}");
        assert_eq!(object(Err(LoadError::NoObject), None).verdict, DoctorVerdict::Failure);
        let refused = object(Ok(9), Some(Err(LoadError::Load("R3 min value is outside".into()))));
        assert!(refused.verdict == DoctorVerdict::Failure && refused.found.contains("R3 min value"), "{refused:?}");
        assert_eq!(
            (object(Ok(9), None).verdict, object(Ok(9), Some(Ok(()))).verdict),
            (DoctorVerdict::Note, DoctorVerdict::Good)
        );
        assert_eq!(descriptors(40, (1024, 1024)).verdict, DoctorVerdict::Failure);
        assert_eq!(descriptors(40, (1024, 524_288)).verdict, DoctorVerdict::Good);
        assert_eq!(descriptors(4, (1024, 524_288)).verdict, DoctorVerdict::Good);
        assert!(!is_user_namespace("         0          0 4294967295"));
        assert!(is_user_namespace("         0       1000          1\n         1     100000      65536"));
        assert_eq!((btf(false).verdict, jit(Some("0")).verdict), (DoctorVerdict::Warning, DoctorVerdict::Warning));
        assert_eq!(clock_source(Some("hpet")).verdict, DoctorVerdict::Warning);
        assert_eq!(
            clock(ClockState::UNKNOWN).map(|found| found.verdict),
            [DoctorVerdict::Warning, DoctorVerdict::Note]
        );
        assert_eq!(clock(ClockState::UNKNOWN)[0].found, "not synchronised, error unknown");
        let good =
            ClockState { is_synchronized: true, tai_offset_s: 37, maximum_error_ns: 5_000_000, ..ClockState::UNKNOWN };
        assert_eq!(clock(good).map(|found| found.verdict), [DoctorVerdict::Good, DoctorVerdict::Good]);
        assert_eq!(clock(good)[0].found, "synchronised, within 5ms");
    }
}
