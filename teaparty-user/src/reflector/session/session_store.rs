//! What the engines ask of the sessions, whoever owns them: the kernel's maps or the controller's table.

use teaparty_common::maps::{HistoryRing, HistorySlot, SessionKey};
use teaparty_common::reflect::{PacketMeta, Reason};
use teaparty_common::wire::sender::ReflectedFields;

use crate::reflector::snapshot::ConfigSnapshot;

/// The source of a session's numbers: the kernel's maps for the sessions that the kernel owns, else our own table.
/// Each session has one owner.
pub trait SessionStore {
    /// Takes the Sequence Number for a reply that is certain, and adds what the session knows to the facts. `echo` is what the
    /// reply repeats of its request: where that is the first of a sender that has started again, the session starts
    /// over.
    fn claim(
        &self,
        key: &SessionKey,
        flags: u32,
        snapshot: &ConfigSnapshot,
        reflected: &ReflectedFields,
        meta: &mut PacketMeta,
    ) -> Result<(), Reason>;
    /// Takes the Sequence Number for another reply to a packet that has had one, and updates the metadata. Makes no
    /// session.
    fn claim_again(&self, key: &SessionKey, meta: &mut PacketMeta) -> Result<(), Reason>;
    /// Notes a packet that is not answered.
    fn unanswered(&self, key: &SessionKey, meta: &PacketMeta);
    /// Remembers an exchange whose reply was sent.
    fn record_exchange(&self, key: &SessionKey, meta: &PacketMeta, exchange: HistorySlot);
    /// The ring that holds a session's last exchanges, by the session's tag.
    fn history_ring(&self, tag: u32) -> Option<HistoryRing>;
}
