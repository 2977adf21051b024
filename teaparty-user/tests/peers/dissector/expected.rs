//! The fields of a packet by the parser of `teaparty-common`: what the dissector is to show.

use teaparty_common::policy::Policy;
use teaparty_common::tlv::{TlvOverrun, TlvView, tlvs};
use teaparty_common::wire::reflector::{AuthenticatedReply, UnauthenticatedReply};
use teaparty_common::wire::sender::{AuthenticatedPacket, UnauthenticatedPacket};
use teaparty_common::wire::{ErrorEstimate, Mode, Timestamp, TimestampFormat};
use zerocopy::FromBytes;

use super::bodies;
use super::tshark::Fields;

/// The end that sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Sender,
    Reflector,
}

/// The formats of both clocks of an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Formats {
    pub(crate) sender: TimestampFormat,
    pub(crate) reflector: TimestampFormat,
}

/// Fields as they are found. Values of one name keep their order.
pub(crate) struct Found {
    pub(crate) fields: Fields,
    /// Time of the capture, which tells the era of timestamps.
    near: u64,
}

impl Found {
    /// Adds a value.
    pub(crate) fn add(&mut self, name: &str, value: impl ToString) {
        self.fields.entry(format!("stamp.{name}")).or_default().push(value.to_string());
    }

    /// Adds octets, unless there are none.
    pub(crate) fn add_octets(&mut self, name: &str, octets: &[u8]) {
        if !octets.is_empty() {
            self.add(name, hex(octets));
        }
    }

    /// Adds a timestamp with its parts.
    pub(crate) fn add_time(&mut self, name: &str, time: Timestamp, format: TimestampFormat) {
        self.add(name, date(time.to_nanos(format, self.near)));
        self.add("time.seconds", time.bits() >> 32);
        let rest = match format {
            TimestampFormat::Ntp => "time.fraction",
            TimestampFormat::Ptp => "time.nanoseconds",
        };
        self.add(rest, time.bits() & 0xffff_ffff);
    }

    fn add_error_estimate(&mut self, name: &str, estimate: ErrorEstimate) {
        self.add(name, estimate.bits());
        self.add(&format!("{name}.s"), u8::from(estimate.is_synchronized()));
        self.add(&format!("{name}.z"), u8::from(estimate.format() == TimestampFormat::Ptp));
        self.add(&format!("{name}.scale"), estimate.scale());
        self.add(&format!("{name}.multiplier"), estimate.multiplier());
    }
}

/// Returns octets as tshark writes them.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns an instant in nanoseconds since 1970 as tshark writes it.
fn date(nanos: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut day, mut year, mut month) = (seconds / 86_400, 1970, 0);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{} {:>2}, {year} {hour:02}:{minute:02}:{second:02}.{nanos:09} UTC", MONTHS[month], day + 1)
}

/// Returns the fields that the octets of a packet have; not those that tshark computes from several packets.
pub(crate) fn fields(payload: &[u8], origin: Origin, mode: Mode, near: u64) -> Fields {
    let mut found = Found { fields: Fields::new(), near };
    found.add("role", if origin == Origin::Sender { 1 } else { 2 });
    found.add("mode", if mode == Mode::Authenticated { 1 } else { 0 });
    let formats = match (origin, mode) {
        (Origin::Sender, Mode::Unauthenticated) => unauthenticated_packet(&mut found, payload),
        (Origin::Sender, Mode::Authenticated) => authenticated_packet(&mut found, payload),
        (Origin::Reflector, Mode::Unauthenticated) => unauthenticated_reply(&mut found, payload),
        (Origin::Reflector, Mode::Authenticated) => authenticated_reply(&mut found, payload),
    };
    add_tlvs(&mut found, payload, mode.base_len(), formats);
    found.fields
}

fn unauthenticated_packet(found: &mut Found, payload: &[u8]) -> Formats {
    let mut whole = payload.to_vec();
    whole.resize(payload.len().max(Mode::Unauthenticated.base_len()), 0);
    let (packet, _) = UnauthenticatedPacket::read_from_prefix(&whole).unwrap();
    let format = packet.error_estimate.format();
    found.add("seq", packet.sequence_number);
    found.add_time("t1", packet.timestamp, format);
    found.add_error_estimate("error_estimate", packet.error_estimate);
    if payload.len() < whole.len() {
        // A packet of TWAMP-Test: what follows is padding.
        found.add_octets("padding", &payload[14..]);
    } else {
        found.add("ssid", packet.ssid);
        found.add_octets("mbz", &packet.mbz);
    }
    Formats { sender: format, reflector: format }
}

fn authenticated_packet(found: &mut Found, payload: &[u8]) -> Formats {
    let (packet, _) = AuthenticatedPacket::read_from_prefix(payload).unwrap();
    let format = packet.error_estimate.format();
    found.add("seq", packet.sequence_number);
    found.add_time("t1", packet.timestamp, format);
    found.add_error_estimate("error_estimate", packet.error_estimate);
    found.add("ssid", packet.ssid);
    found.add_octets("mbz", &packet.mbz_after_sequence);
    found.add_octets("mbz", &packet.mbz);
    found.add_octets("hmac", &packet.hmac);
    Formats { sender: format, reflector: format }
}

fn unauthenticated_reply(found: &mut Found, payload: &[u8]) -> Formats {
    let (reply, _) = UnauthenticatedReply::read_from_prefix(payload).unwrap();
    let formats = Formats { sender: reply.sender_error_estimate.format(), reflector: reply.error_estimate.format() };
    found.add("seq", reply.sequence_number);
    found.add_time("t3", reply.timestamp, formats.reflector);
    found.add_error_estimate("error_estimate", reply.error_estimate);
    found.add("ssid", reply.ssid);
    found.add_time("t2", reply.receive_timestamp, formats.reflector);
    found.add("sender_seq", reply.sender_sequence_number);
    found.add_time("t1", reply.sender_timestamp, formats.sender);
    found.add_error_estimate("sender_error_estimate", reply.sender_error_estimate);
    found.add("sender_ttl", reply.sender_ttl);
    found.add_octets("mbz", &payload[38..40]);
    found.add_octets("mbz", &reply.mbz);
    formats
}

fn authenticated_reply(found: &mut Found, payload: &[u8]) -> Formats {
    let (reply, _) = AuthenticatedReply::read_from_prefix(payload).unwrap();
    let formats = Formats { sender: reply.sender_error_estimate.format(), reflector: reply.error_estimate.format() };
    found.add("seq", reply.sequence_number);
    found.add_time("t3", reply.timestamp, formats.reflector);
    found.add_error_estimate("error_estimate", reply.error_estimate);
    found.add("ssid", reply.ssid);
    found.add_time("t2", reply.receive_timestamp, formats.reflector);
    found.add("sender_seq", reply.sender_sequence_number);
    found.add_time("t1", reply.sender_timestamp, formats.sender);
    found.add_error_estimate("sender_error_estimate", reply.sender_error_estimate);
    found.add("sender_ttl", reply.sender_ttl);
    found.add_octets("mbz", &reply.mbz_after_sequence);
    found.add_octets("mbz", &reply.mbz_after_ssid);
    found.add_octets("mbz", &reply.mbz_after_receive);
    found.add_octets("mbz", &reply.mbz_after_sender_sequence);
    found.add_octets("mbz", &reply.mbz_after_error_estimate);
    found.add_octets("mbz", &reply.mbz);
    found.add_octets("hmac", &reply.hmac);
    formats
}

fn add_tlvs(found: &mut Found, payload: &[u8], base_len: usize, formats: Formats) {
    let mut end = base_len;
    for item in tlvs(payload, base_len, &Policy::DEFAULT) {
        match item {
            Ok(TlvView { tlv, flags, value }) => {
                add_header(found, "tlv", flags.0, tlv.code, tlv.length);
                let view = TlvView { tlv, flags, value };
                bodies::add(found, &view, formats);
                end = tlv.end();
            }
            Err(TlvOverrun { header, value, .. }) => {
                add_header(found, "tlv", header.flags.0, header.code, header.length.get());
                found.add_octets("tlv.value", value);
                end = payload.len();
            }
        }
    }
    let rest = payload.get(end..).unwrap_or_default();
    let is_padding = rest.iter().all(|octet| *octet == 0);
    found.add_octets(if is_padding { "padding" } else { "stray" }, rest);
}

/// Adds flags, Type and Length of a TLV or sub-TLV.
pub(crate) fn add_header(found: &mut Found, name: &str, flags: u8, code: u8, length: u16) {
    found.add(&format!("{name}.flags"), flags);
    for (flag, bit) in [("u", 0x80), ("m", 0x40), ("i", 0x20), ("c", 0x10)] {
        found.add(&format!("{name}.flags.{flag}"), u8::from(flags & bit != 0));
    }
    found.add(&format!("{name}.flags.reserved"), flags & 0xf);
    found.add(&format!("{name}.type"), code);
    found.add(&format!("{name}.length"), length);
}
