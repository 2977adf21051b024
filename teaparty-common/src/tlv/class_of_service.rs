//! Class of Service (RFC 8972 §4.4, EID 8199, draft-ietf-ippm-stamp-cos-ecn-01 §3) and the namesake's two relatives.

use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::policy::Policy;
use crate::wire::{Dscp, Ecn, TrafficClass};

/// Class of Service TLV body, 4 octets: `DSCP1 6 | DSCP2 6 | EC2 2 | RPD 2 | EC1 2 | RPE 2 | Reserved 12`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(transparent)]
pub struct ClassOfService(pub U32);

/// RPD or RPE of a [`ClassOfService`] in a reply.
const APPLIED_ECN: u32 = 0b11;
const REFUSED_ECN: u32 = 0b10;
const REFUSED_DSCP: u32 = 0b01;

impl ClassOfService {
    /// As a Session-Sender sends it: what it wants for the reply, all else zero. `ecn` 0 is what RFC 8972 alone knows.
    pub const fn request(dscp1: Dscp, ec1: Ecn) -> Self {
        Self(U32::new((dscp1.value() as u32) << 26 | (ec1.value() as u32) << 14))
    }

    /// DSCP1: wanted for the reply.
    #[inline(always)]
    pub const fn dscp1(self) -> Dscp {
        Dscp::from_low6((self.0.get() >> 26) as u8)
    }

    /// DSCP2: as the request arrived.
    pub const fn dscp2(self) -> Dscp {
        Dscp::from_low6((self.0.get() >> 20) as u8)
    }

    /// EC2: the ECN field as the request arrived.
    pub const fn ec2(self) -> Ecn {
        Ecn::from_low2((self.0.get() >> 18) as u8)
    }

    /// RPD: 0 if DSCP1 was used, 1 if the reflector's policy refused it.
    pub const fn rpd(self) -> u8 {
        (self.0.get() >> 16 & 3) as u8
    }

    /// EC1: the ECN field wanted for the reply.
    #[inline(always)]
    pub const fn ec1(self) -> Ecn {
        Ecn::from_low2((self.0.get() >> 14) as u8)
    }

    /// RPE: 0 from a reflector that knows RFC 8972 only, 3 if EC1 was used, 2 if it could not be.
    pub const fn rpe(self) -> u8 {
        (self.0.get() >> 12 & 3) as u8
    }

    /// The reply's body and the traffic class that the reply is to have.
    #[inline(always)]
    pub fn reflect(self, received: TrafficClass, policy: &Policy) -> (Self, TrafficClass) {
        let (dscp, rpd) =
            if policy.allows_dscp(self.dscp1()) { (self.dscp1(), 0) } else { (received.dscp(), REFUSED_DSCP) };
        let (ecn, rpe) = if policy.is_cos_legacy() {
            (Ecn::default(), 0)
        } else if policy.allows_ecn(self.ec1()) {
            (self.ec1(), APPLIED_ECN)
        } else {
            (Ecn::default(), REFUSED_ECN)
        };
        // Under RFC 8972 alone the bits of EC1 are reserved, and so zero in a reply.
        let ec1 = if policy.is_cos_legacy() { 0 } else { u32::from(self.ec1().value()) };
        let word = u32::from(self.dscp1().value()) << 26
            | u32::from(received.dscp().value()) << 20
            | u32::from(received.ecn().value()) << 18
            | rpd << 16
            | ec1 << 14
            | rpe << 12;
        (Self(U32::new(word)), TrafficClass::new(dscp, ecn))
    }
}

/// Class of Service v2 body, 4 octets, each a traffic class (the namesake's).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct ClassOfServiceV2 {
    /// The octet that the sender claims to have put into the request's IP header.
    pub sent: u8,
    /// The octet that the request arrived with. Zero in a request.
    pub received: u8,
    /// The octet that the sender wants in the reply.
    pub wanted: u8,
    /// The octet that the reply was given. Zero in a request.
    pub used: u8,
}

impl ClassOfServiceV2 {
    /// Returns true if a request's body is one that may be answered.
    #[inline(always)]
    pub const fn is_request(self) -> bool {
        self.received == 0 && self.used == 0
    }

    /// The reply's body and the traffic class that the reply is to have: a refused part is zero.
    #[inline(always)]
    pub fn reflect(self, received: TrafficClass, policy: &Policy) -> (Self, TrafficClass) {
        let wanted = TrafficClass(self.wanted);
        let dscp = if policy.allows_dscp(wanted.dscp()) { wanted.dscp() } else { Dscp::default() };
        let ecn = if policy.allows_ecn(wanted.ecn()) { wanted.ecn() } else { Ecn::default() };
        let used = TrafficClass::new(dscp, ecn);
        (Self { received: received.0, used: used.0, ..self }, used)
    }
}

/// DSCP ECN body, 4 octets (older releases of the namesake).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct DscpEcn {
    /// The traffic class wanted for the reply.
    pub wanted: u8,
    /// The traffic class that the request arrived with.
    pub received: u8,
    /// [`DscpEcn::REFUSED`] where the reply could not be given what was wanted, else zero.
    pub outcome: u8,
    /// Zero.
    pub reserved: u8,
}

impl DscpEcn {
    /// The reflector could not, or would not, set what was wanted.
    pub const REFUSED: u8 = 0x40;

    /// The reply's body and the traffic class that the reply is to have; `otherwise` where the wanted one is refused.
    #[inline(always)]
    pub fn reflect(self, received: TrafficClass, otherwise: TrafficClass, policy: &Policy) -> (Self, TrafficClass) {
        let wanted = TrafficClass(self.wanted);
        let allowed = policy.allows_dscp(wanted.dscp()) && policy.allows_ecn(wanted.ecn());
        let (used, outcome) = if allowed { (wanted, 0) } else { (otherwise, Self::REFUSED) };
        (Self { wanted: self.wanted, received: received.0, outcome, reserved: 0 }, used)
    }
}
