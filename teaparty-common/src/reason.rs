//! Every end that a packet can come to: numbered once, with the label and the help line that users see.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal $class:ident $label:literal $help:literal)*) => {
        /// The reason for the end of a packet. Numbers index the kernel's counters and never change; retired ones
        /// stay unused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason { $(#[doc = $help] $name = $number),* }

        /// Every reason, in the order of their numbers.
        pub const REASONS: &[Reason] = &[$(Reason::$name),*];

        impl Reason {
            /// Label in metrics, JSON and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),* }
            }

            /// One line that says what it means.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help),* }
            }

            /// Returns the disposition of the packet.
            pub const fn disposition(self) -> Disposition {
                match self { $(Self::$name => Disposition::$class),* }
            }

            /// The reason with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

/// The possible treatments of a packet by a reflector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// Answered.
    Reflect,
    /// Handed to the controller, untouched.
    Punt,
    /// Ended here without an answer.
    Drop,
    /// Left to the network stack, untouched.
    Pass,
}

impl Disposition {
    /// Label in metrics, JSON and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reflect => "reflect",
            Self::Punt => "punt",
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

reasons! {
    Reflected = 0 Reflect "reflected" "Answered with a reflected test packet."

    NotIp = 1 Pass "not-ip" "Not IPv4 or IPv6, or more than two VLAN tags."
    NotUdp = 2 Pass "not-udp" "IP, but not UDP."
    NotOurPort = 3 Pass "not-our-port" "UDP to a port that the reflector does not listen on."
    NotOurAddress = 4 Pass "not-our-address" "To an IP or MAC address that is not this interface's."
    Fragment = 5 Pass "fragment" "An IP fragment: the network stack reassembles it."
    MalformedHeader = 6 Pass "malformed-header" "Ethernet, IP or UDP header cut short, or lengths that contradict each other."
    PuntUnavailable = 7 Pass "punt-unavailable" "Needs the controller, but is longer than a punted frame can be: left to the stack and its socket."
    StepMissing = 8 Pass "step-missing" "The program that would look at it next is gone, as while the reflector is taken off the interface: left to the stack."
    NotOurVlan = 9 Pass "not-our-vlan" "With a VLAN tag that this host has no device for on the interface, or to an address that the device does not have."

    ShortPacket = 16 Punt "short-packet" "Shorter than the base packet: the answer is longer than the question (RFC 8762 §4.6)."
    IpOptions = 17 Punt "ip-options" "IPv4 options, IPv6 extension headers, or octets after the UDP datagram."
    LongPacket = 18 Punt "long-packet" "Longer than the fast path reaches, or in several buffers."
    ManyTlvs = 19 Punt "many-tlvs" "More TLVs or sub-TLVs than the fast path walks."
    Authenticated = 20 Punt "authenticated" "Of an authenticated session: the keys are in the controller."
    IntegrityTlv = 21 Punt "hmac-tlv" "Carries the HMAC TLV: the keys are in the controller."
    ControllerTlv = 22 Punt "controller-tlv" "Carries a TLV that only the controller can finish."

    LoopGuard = 32 Drop "loop-guard" "From one of our own listening ports: answering could go on forever between two reflectors."
    NotAllowed = 33 Drop "not-allowed" "From a source that is not on the allow-list."
    RateLimited = 34 Drop "rate-limited" "From a source that sends more than its rate limit."
    TooShort = 35 Drop "too-short" "UDP payload shorter than the minimum."
    ChecksumMissing = 36 Drop "checksum-missing" "IPv6 without a UDP checksum (RFC 8200 §8.1)."
    ChecksumWrong = 37 Drop "checksum-wrong" "IPv4 header checksum or UDP checksum verified and found wrong."
    ZeroMultiplier = 38 Drop "zero-multiplier" "Error Estimate with Multiplier 0, refused under the strict policy (RFC 4656 §4.1.2)."
    NotProvisioned = 39 Drop "not-provisioned" "Of no provisioned session, while only those are answered (RFC 8972 §3)."
    NoReplyWanted = 40 Drop "no-reply-wanted" "Return Path Control Code asks for no reply (RFC 9503 §4.1.1)."
    MicroSession = 41 Drop "micro-session" "Micro-session ID names another member link (RFC 9534 §3.2)."
    AuthenticationFailed = 42 Drop "authentication-failed" "HMAC of the base packet is wrong, or the packet too short to have one (RFC 8762 §4.4)."
    ControlNoReply = 43 Drop "control-no-reply" "Reflected Test Packet Control asks for no packet, or names a group that we are not in (RFC 10052 §3)."
    RingFull = 44 Drop "ring-full" "Needs the controller, which is behind: the punt ring is full, or a socket's queue."
    TableFull = 45 Drop "table-full" "A new session, while the session table has no place."
    SendFailed = 46 Drop "send-failed" "The controller could not send the reply."
    NoKey = 47 Drop "no-key" "Of an authenticated session that has no key."
    Internal = 48 Drop "internal" "The configuration was missing: the controller has not finished starting."

    Repeated = 49 Reflect "repeated" "One more reply to a packet that asked for several (RFC 10052 §3)."

    InvalidSource = 50 Drop "invalid-source" "From an address that no host may send from: multicast, broadcast, unspecified, loopback from outside, our own from elsewhere, UDP port 0, a group MAC address (RFC 1122 §3.2.1.3, RFC 4291)."
    ReplyLoop = 51 Drop "reply-loop" "A reply to one of our replies, known by a time that we sent in the last seconds: answering could go on forever between two reflectors."
    PuntLimited = 52 Drop "punt-limited" "Needs the controller, and is of no provisioned session, while those have used up their part of it (--punt-limit)."
    Heartbeat = 53 Drop "heartbeat" "A heartbeat of another reflector, from a port that we listen on: nobody answers those."
    FragmentDiscarded = 54 Drop "fragment-discarded" "A fragment of a datagram that is not put together: others overlap it, are missing, or more are under way than there is room for (RFC 5722)."
}

impl Reason {
    /// What to do about such packets, in one line; `None` where they are as they should be.
    pub const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::NotOurAddress => "Send to an address of the interface, or name the address with --address.",
            Self::MalformedHeader => "Look for the device that damages packets, or for a scanner.",
            Self::StepMissing => "Start the reflector again if this keeps growing while it runs.",
            Self::NotOurVlan => "Give this host a device for the VLAN with that address, or start with --any-vlan.",
            Self::LoopGuard => "Let the sender use another source port, or set loop-exempt for its session.",
            Self::NotAllowed => "Add the source with --allow, if it may measure.",
            Self::RateLimited => "Raise --rate-limit, or let the source send less.",
            Self::TooShort => "Let the sender send longer packets, or lower --min-payload.",
            Self::ChecksumMissing => "Let the sender compute UDP checksums.",
            Self::ChecksumWrong => "Look for the device on the path that damages packets.",
            Self::ZeroMultiplier => "Correct the sender's Error Estimate, or start without --strict.",
            Self::NotProvisioned => "Provision the session, or start without --provisioned-only.",
            Self::MicroSession => "Send on the other member link, or correct --micro-session-id.",
            Self::AuthenticationFailed => "Give both sides the same key.",
            Self::RingFull => "Send fewer packets that need the controller, or give it a faster processor.",
            Self::TableFull => "Raise --max-sessions, or lower --session-timeout.",
            Self::SendFailed => "See the reflector's log for the system's error.",
            Self::NoKey => "Give the session a key, or start with --auth-key-file.",
            Self::Internal => "Wait until the reflector is ready; report it if this keeps growing.",
            Self::InvalidSource => "Look for spoofed sources, or for a broken NAT.",
            Self::ReplyLoop => "Two reflectors answer each other: let one use another port, or block it.",
            Self::PuntLimited => "Raise --punt-limit, or provision the session.",
            Self::Heartbeat => "Nothing, if that reflector is yours; else block its address.",
            Self::FragmentDiscarded => "Let the sender send packets that fit the path's MTU.",
            Self::Reflected
            | Self::Repeated
            | Self::NotIp
            | Self::NotUdp
            | Self::NotOurPort
            | Self::Fragment
            | Self::PuntUnavailable
            | Self::ShortPacket
            | Self::IpOptions
            | Self::LongPacket
            | Self::ManyTlvs
            | Self::Authenticated
            | Self::IntegrityTlv
            | Self::ControllerTlv
            | Self::NoReplyWanted
            | Self::ControlNoReply => return None,
        })
    }
}

/// Places that the kernel's counters need: one more than the largest number, as a power of two for the verifier.
pub const REASON_SLOTS: usize = 64;

const _: () = assert!((REASONS[REASONS.len() - 1] as usize) < REASON_SLOTS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_labels_and_classes_are_consistent() {
        for (i, reason) in REASONS.iter().enumerate() {
            assert_eq!(Reason::from_number(*reason as u32), Some(*reason));
            assert!(
                REASONS[..i].iter().all(|other| other.label() != reason.label() && (*other as u32) < *reason as u32)
            );
            assert!(reason.help().ends_with('.'));
            assert!(reason.remedy().is_none_or(|remedy| remedy.ends_with('.')));
        }
        assert_eq!(Reason::from_number(63), None);
    }
}
