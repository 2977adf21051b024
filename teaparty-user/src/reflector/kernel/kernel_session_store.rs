//! The store of the sessions that the kernel owns: each operation is a run of the program that the kernel has for it.

use std::path::Path;

use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use teaparty_common::frame::ETHERNET_LEN;
use teaparty_common::maps::{
    HistoryKey, HistoryRing, HistorySlot, SessionKey, SessionOp, SessionOpRequest, name, program,
};
use teaparty_common::reflect::{PacketMeta, Reason};
use teaparty_common::wire::sender::ReflectedFields;
use zerocopy::{FromBytes, IntoBytes};

use crate::reflector::config::HISTORY_RINGS;
use crate::reflector::kernel::pinned_map::{MapsError, open};
use crate::reflector::session::session_store::SessionStore;
use crate::reflector::snapshot::ConfigSnapshot;

/// Why the kernel's sessions cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum SessionStoreError {
    /// Its program.
    #[error("the session program: {0}")]
    Program(#[from] ProgramError),
    /// A map that it works on.
    #[error(transparent)]
    Map(#[from] MapsError),
}

/// The kernel's session program and the histories that it keeps.
pub(crate) struct KernelSessionStore {
    program: Xdp,
    history: Array<MapData, HistoryRing>,
}

impl KernelSessionStore {
    /// Opens the session program that is pinned in a folder, with the maps that it works on.
    pub(crate) fn open(pins: &Path) -> Result<Self, SessionStoreError> {
        let program = Xdp::from_pin(pins.join(program::SESSION_OP), XdpAttachType::Interface)?;
        Ok(Self { program, history: open(pins, name::HISTORY)? })
    }

    /// Has the kernel carry out one request; `None` if it can't.
    fn run(&self, request: SessionOpRequest) -> Option<SessionOpRequest> {
        const LEN: usize = ETHERNET_LEN + size_of::<SessionOpRequest>();
        let mut input = [0u8; LEN];
        input[ETHERNET_LEN..].copy_from_slice(request.as_bytes());
        let mut output = [0u8; LEN];
        let options =
            TestRunOptions { data_in: Some(&input), data_out: Some(&mut output), ..TestRunOptions::default() };
        if let Err(error) = self.program.test_run(options) {
            tracing::debug!(%error, "the kernel does not write to a session");
            return None;
        }
        let answer = SessionOpRequest::read_from_bytes(&output[ETHERNET_LEN..]).ok()?;
        (answer.is_found != 0).then_some(answer)
    }
}

impl SessionStore for KernelSessionStore {
    fn claim(
        &self,
        key: &SessionKey,
        flags: u32,
        _: &ConfigSnapshot,
        reflected: &ReflectedFields,
        meta: &mut PacketMeta,
    ) -> Result<(), Reason> {
        let request = SessionOpRequest {
            key: *key,
            operation: SessionOp::Claim as u32,
            count: 1,
            received_ns: meta.received_ns,
            flags,
            exchange: HistorySlot {
                sender_sequence: reflected.sequence_number.get(),
                sender_timestamp: reflected.timestamp.bits(),
                ..HistorySlot::default()
            },
            ..SessionOpRequest::default()
        };
        let answer = self.run(request).ok_or(Reason::TableFull)?;
        answer.session().fill_meta(meta, answer.sequence, answer.received);
        Ok(())
    }

    fn claim_again(&self, key: &SessionKey, meta: &mut PacketMeta) -> Result<(), Reason> {
        let request = SessionOpRequest {
            key: *key,
            operation: SessionOp::Again as u32,
            count: 1,
            received_ns: meta.received_ns,
            ..SessionOpRequest::default()
        };
        let answer = self.run(request).ok_or(Reason::TableFull)?;
        answer.session().fill_meta(meta, answer.sequence, answer.received);
        Ok(())
    }

    fn unanswered(&self, key: &SessionKey, meta: &PacketMeta) {
        self.run(SessionOpRequest {
            key: *key,
            operation: SessionOp::Claim as u32,
            received_ns: meta.received_ns,
            ..SessionOpRequest::default()
        });
    }

    fn record_exchange(&self, key: &SessionKey, meta: &PacketMeta, exchange: HistorySlot) {
        self.run(SessionOpRequest {
            key: *key,
            operation: SessionOp::Record as u32,
            received_ns: meta.received_ns,
            exchange,
            ..SessionOpRequest::default()
        });
    }

    fn history_ring(&self, tag: u32) -> Option<HistoryRing> {
        if tag == 0 {
            return None;
        }
        self.history.get(&HistoryKey::ring(tag, HISTORY_RINGS), 0).ok()
    }
}
