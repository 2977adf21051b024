//! A reflector in the test's own process, in the namespace of a veth pair, so that its handle can be used.

use std::sync::mpsc;

use teaparty_testing::reflector::Net;
use teaparty_user::reflector::Reflector;
use teaparty_user::reflector::config::{ReflectorConfig, ReflectorSettings};
use teaparty_user::reflector::handle::ReflectorHandle;

/// The reflector. Dropping it ends it.
pub(crate) struct Inside {
    pub(crate) handle: ReflectorHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Inside {
    /// Starts one on veth0.
    pub(crate) fn start(net: &Net, settings: ReflectorSettings) -> Self {
        let (sender, receiver) = mpsc::channel();
        let namespace = net.near_file();
        let run = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let settings = ReflectorSettings { iface: vec!["veth0".into()], ..settings };
                let (reflector, handle) = Reflector::start(ReflectorConfig::try_from(settings).unwrap()).unwrap();
                sender.send(handle.clone()).unwrap();
                reflector.run(&handle).await.unwrap();
            });
        };
        let thread = std::thread::spawn(run);
        Self { handle: receiver.recv().expect("the reflector starts"), thread: Some(thread) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}
