//! What other users and programs hold: folders, links, sockets, pipes and descriptors keep no start, reload or end back.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Net, start};
use teaparty_testing::skip::or_skip;

use super::identity::{ALL, Apart, START, USER, detach, has_program};

#[test]
fn links_and_folders_of_others_are_refused_and_not_followed() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("mount -t bpf bpf /sys/fs/bpf");
    let precious = apart.path("/sys/fs/bpf/precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::create_dir(precious.join("link")).unwrap();
    let (all, folder) = (apart.path(ALL), net.pins().file_name().unwrap().to_owned());
    let refused = |what: &str, words: &str| {
        for arguments in [&START[..], &["detach", "--iface", "veth0"]] {
            let output = apart.teaparty(&net, arguments).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && error.contains(words), "{what}: {arguments:?}: {error}");
        }
        assert!(precious.join("link").exists() && !has_program(&net, "veth0"), "{what}");
    };
    symlink("/sys/fs/bpf/precious", &all).unwrap();
    refused("a link in the place of all folders", "symbolic link");
    std::fs::remove_file(&all).unwrap();
    std::fs::create_dir(&all).unwrap();
    symlink("/sys/fs/bpf/precious", all.join(&folder)).unwrap();
    refused("a link in the place of a folder", "symbolic link");
    std::fs::remove_file(all.join(&folder)).unwrap();
    // A folder of somebody else's is not used; root may take it away.
    std::fs::create_dir(all.join(&folder)).unwrap();
    chown(all.join(&folder), Some(USER), None).unwrap();
    let output = apart.teaparty(&net, &START).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("65534") && error.contains("detach --all"), "{error}");
    assert!(apart.teaparty(&net, &["detach", "--all"]).output().unwrap().status.success());
    assert!(!all.join(&folder).exists());
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert_eq!(std::fs::metadata(all.join(&folder)).unwrap().mode() & 0o777, 0o700);
    assert!(reflector.stop().status.success());
}

#[test]
fn who_holds_an_abstract_socket_keeps_nobody_from_starting() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _held = net.in_near(|| {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name("teaparty/reflector/veth0").unwrap();
        std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap()
    });
    net.reflector(&["--xdp-mode", "native"]).kill();
    assert_eq!(detach(&net, &["--iface", "veth0"]), (Some(0), "veth0: detached\n".into()));
    // The lock is the folder's.
    let _running = net.reflector(&["--xdp-mode", "native"]);
    let (code, text) = detach(&net, &["--iface", "veth0"]);
    assert!(code == Some(1) && text.contains("another teaparty reflector is running on veth0"), "{text}");
}

#[test]
fn a_folder_that_was_given_to_another_user_keeps_no_program_attached() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("mount -t bpf bpf /sys/fs/bpf");
    let (all, folder) = (apart.path(ALL), net.pins().file_name().unwrap().to_owned());
    let give = |path: &Path| {
        chown(path, Some(USER), Some(USER)).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    };
    // The folder of all, and then the interface's own too.
    for is_whole in [false, true] {
        let reflector = start(&mut apart.teaparty(&net, &START));
        give(&all);
        if is_whole {
            give(&all.join(&folder));
        }
        let ended = reflector.stop();
        assert!(!has_program(&net, "veth0"), "{}", ended.error);
        // The folder is in another one, where a reflector without CAP_DAC_OVERRIDE can't remove it.
        assert_eq!(ended.status.code(), Some(1), "{}", ended.error);
        assert!(ended.error.contains("left in") && ended.error.contains("teaparty detach --all"), "{}", ended.error);
        assert!(is_whole || std::fs::read_dir(all.join(&folder)).unwrap().next().is_none(), "no pin is left");
        let detached = apart.teaparty(&net, &["detach", "--all"]).output().unwrap();
        assert!(detached.status.success(), "{}", String::from_utf8_lossy(&detached.stderr));
        assert!(!all.join(&folder).exists());
    }
    // A start finds the folder given away, has its program all the same, and leaves nothing.
    std::fs::create_dir_all(&all).unwrap();
    give(&all);
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert!(has_program(&net, "veth0"));
    let ended = reflector.stop();
    assert!(ended.status.success() && !has_program(&net, "veth0"), "{}", ended.error);
    assert!(!all.join(&folder).exists() && std::fs::metadata(&all).unwrap().uid() == USER);
    // Root's command works on what another user's reflector has left.
    start(&mut apart.teaparty(&net, &START)).kill();
    give(&all.join(&folder));
    let detached = apart.teaparty(&net, &["detach", "--iface", "veth0"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&detached.stdout), "veth0: detached\n");
    assert!(!has_program(&net, "veth0") && !all.join(&folder).exists());
}

#[test]
fn a_file_system_that_we_mount_is_ours_alone() {
    let Some(net) = or_skip(Net::new()) else { return };
    let apart = Apart::new("while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done; test -d /sys/fs/bpf");
    let reflector = start(&mut apart.teaparty(&net, &START));
    assert_eq!(std::fs::metadata(apart.path("/sys/fs/bpf")).unwrap().mode() & 0o777, 0o700);
    assert!(apart.path(ALL).exists());
    assert!(reflector.stop().status.success());
}

#[test]
fn more_descriptors_than_the_soft_limit_are_had_and_the_hard_one_is_told() {
    let Some(net) = or_skip(Net::new()) else { return };
    let limited = |limits: &str| {
        let mut command = net.command("prlimit");
        command.args([&format!("--nofile={limits}"), env!("CARGO_BIN_EXE_teaparty")]);
        command.args(["reflector", "--api", "none", "--iface", "lo", "--iface", "veth0", "--xdp-mode", "skb"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        command
    };
    assert!(start(&mut limited("24:4096")).stop().status.success());
    let output = limited("24:24").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("LimitNOFILE") && error.contains("(24)"), "{error}");
    assert!(!net.pins().exists());
}

#[test]
fn a_pipe_in_the_place_of_a_file_hinders_neither_a_reload_nor_the_end() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (settings, key) = (path("teaparty.toml"), path("key"));
    let write = |path: &str, text: &str| {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write(&settings, &format!("iface = [\"veth0\"]\nxdp-mode = \"off\"\ntlv-key-file = \"{key}\"\n"));
    write(&key, "a-key-of-this-test\n");
    // In the place of either file: a pipe, a file of another user, and a folder.
    for (at, replaced) in [&settings, &key].into_iter().enumerate() {
        let kept = path("kept");
        let arguments = ["reflector", "--config", &settings, "--api", "127.0.0.1:8000"];
        let reflector = start(&mut net.teaparty(&arguments));
        std::fs::rename(replaced, &kept).unwrap();
        let refused = |words: &str| {
            let (status, answer) = net.api("POST", "/api/v1/reload", "");
            assert!(status == 422 && answer.to_string().contains(words), "{at}: {status} {answer}");
        };
        nix::unistd::mkfifo(&**replaced, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("a named pipe");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(reflector.pid() as i32), nix::sys::signal::Signal::SIGHUP)
            .unwrap();
        std::fs::remove_file(replaced).unwrap();
        std::fs::create_dir(replaced).unwrap();
        // A folder may hold a configuration, but not a key.
        refused(["is a folder without teaparty.toml", "Is a directory"][at]);
        std::fs::remove_dir(replaced).unwrap();
        std::fs::copy(&kept, replaced).unwrap();
        chown(replaced, Some(USER), None).unwrap();
        // Without CAP_DAC_OVERRIDE a file of mode 0600 can't be read at all.
        std::fs::set_permissions(replaced, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        refused("65534");
        std::fs::rename(&kept, replaced).unwrap();
        let begun = Instant::now();
        assert!(reflector.stop().status.success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    // At the start too.
    std::fs::remove_file(&settings).unwrap();
    nix::unistd::mkfifo(&*settings, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = net.teaparty(&["reflector", "--config", &settings]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("a named pipe"), "{error}");
}

#[test]
fn a_descriptor_that_gives_nothing_hinders_neither_a_reload_nor_the_end() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("teaparty.toml");
    std::fs::write(&settings, "iface = [\"veth0\"]\nxdp-mode = \"off\"\n").unwrap();
    let mut command = net.teaparty(&["reflector", "--config", settings.to_str().unwrap(), "--api", "127.0.0.1:8000"]);
    // Standard input is a pipe that nobody writes to.
    let reflector = start(command.stdin(Stdio::piped()));
    std::fs::write(&settings, "iface = [\"veth0\"]\nxdp-mode = \"off\"\ntlv-key-file = \"fd:0\"\n").unwrap();
    let (status, answer) = net.api("POST", "/api/v1/reload", "");
    assert!(status == 409 && answer.to_string().contains("not read within"), "{status} {answer}");
    let begun = Instant::now();
    assert!(reflector.stop().status.success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
