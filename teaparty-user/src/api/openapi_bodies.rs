//! What comes in, as the OpenAPI document describes it. Bodies are taken apart member by member ([`super::json_body`]), so that
//! each error names one; a test sends every member that is described here.

#![expect(dead_code, reason = "the document is made of these types, and no value ever is")]

use utoipa::ToSchema;

/// A session to be provisioned.
// In the document it has the members of `SessionChangeBody`, too.
#[derive(Debug, ToSchema)]
pub(crate) struct SessionBody {
    /// Address of the Session-Sender: unicast.
    #[schema(example = "192.0.2.1")]
    pub source: String,
    /// Its port; 0, or none given, for any.
    #[schema(default = 0)]
    pub source_port: Option<u16>,
    /// Our address, of the same family; unspecified, or none given, for any.
    #[schema(example = "0.0.0.0")]
    pub destination: Option<String>,
    /// Our port: one that is listened on, 862 where none is given.
    #[schema(example = 862)]
    pub destination_port: Option<u16>,
    /// Session-Sender Identifier; 0, or none given, for senders that use none.
    #[schema(example = 61183)]
    pub ssid: Option<u16>,
}

/// The configuration for the session that the path names.
#[derive(Debug, ToSchema)]
pub(crate) struct SessionChangeBody {
    /// Key of base packets, which makes the session authenticated: the octets themselves, `hex:…` or `base64:…`. Where none is
    /// given the keys of a session stay; null removes them. Write-only.
    #[schema(write_only, min_length = 1, max_length = 1024, pattern = "[^\\n]", example = "a shared secret")]
    pub key: Option<String>,
    /// Key of HMAC TLVs, in the same form. Write-only.
    #[schema(write_only, min_length = 1, max_length = 1024, pattern = "[^\\n]")]
    pub tlv_key: Option<String>,
    /// The octets after the base packet are padding, never TLVs.
    #[schema(default = false)]
    pub no_tlv: Option<bool>,
    /// The loop guard does not apply.
    #[schema(default = false)]
    pub loop_exempt: Option<bool>,
    /// Format of timestamps, where it is not the reflector's: `ntp` or `ptp`.
    #[schema(pattern = "^(ntp|ptp)$", example = "ntp")]
    pub timestamp_format: Option<String>,
    /// Pattern that padding is compared with where a packet states no Bit Error Pattern, in hex; none given for ff00.
    #[schema(pattern = "^(0x)?([0-9A-Fa-f]{2})+$", example = "ff00")]
    pub bit_error_pattern: Option<String>,
}

/// Keys that take the place of those there are.
#[derive(Debug, ToSchema)]
pub(crate) struct KeysBody {
    /// Key of base packets: the octets themselves, `hex:…` or `base64:…`. None given keeps those there are, null removes them.
    #[schema(write_only, min_length = 1, max_length = 1024, pattern = "[^\\n]", example = "a shared secret")]
    pub key: Option<String>,
    /// Key of HMAC TLVs, in the same form.
    #[schema(write_only, min_length = 1, max_length = 1024, pattern = "[^\\n]")]
    pub tlv_key: Option<String>,
}

/// The newer keys of a change-over.
#[derive(Debug, ToSchema)]
#[schema(min_properties = 1)]
pub(crate) struct NewerKeysBody {
    /// Key of base packets.
    #[schema(
        write_only,
        nullable = false,
        min_length = 1,
        max_length = 1024,
        pattern = "[^\\n]",
        example = "a newer secret"
    )]
    pub key: Option<String>,
    /// Key of HMAC TLVs.
    #[schema(write_only, nullable = false, min_length = 1, max_length = 1024, pattern = "[^\\n]")]
    pub tlv_key: Option<String>,
}

/// A session to be provisioned, in the earlier implementation's words.
#[derive(Debug, ToSchema)]
pub(crate) struct NamesakeSessionBody {
    /// Address of the Session-Sender: unicast.
    #[schema(example = "192.0.2.1")]
    pub src_ip: String,
    /// Its port; 0 for any.
    #[schema(example = 0)]
    pub src_port: u16,
    /// Our address; `0.0.0.0` or `::` for any.
    #[schema(example = "0.0.0.0")]
    pub dst_ip: String,
    /// Our port: one that is listened on.
    #[schema(example = 862)]
    pub dst_port: u16,
    /// Session-Sender Identifier; 0 for senders that use none.
    #[schema(example = 61183)]
    pub ssid: u16,
    /// Key of base packets, which makes the session authenticated: the octets themselves. Write-only.
    #[schema(write_only, min_length = 1, max_length = 1024, example = "a shared secret")]
    pub key: Option<String>,
    /// Pattern that padding is compared with where a packet states no Bit Error Pattern, in hex; none given for ff00.
    #[schema(pattern = "^(0x)?([0-9A-Fa-f]{2})+$", example = "ff00")]
    pub ber: Option<String>,
}

/// A session that was provisioned: what was posted, except the key.
#[derive(Debug, ToSchema)]
pub(crate) struct NamesakeConfirmation {
    /// Address of the Session-Sender.
    pub src_ip: String,
    /// Its port.
    pub src_port: u16,
    /// Our address.
    pub dst_ip: String,
    /// Our port.
    pub dst_port: u16,
    /// Session-Sender Identifier.
    pub ssid: u16,
    /// The pattern.
    pub ber: Option<String>,
}

/// What is to be captured, and how much of it.
#[derive(Debug, ToSchema)]
pub(crate) struct CaptureBody {
    /// Only packets by this interface.
    #[schema(example = "eth0")]
    pub interface: Option<String>,
    /// Frames as they arrived (`in`), as they left (`out`), or `both`.
    #[schema(default = "both", pattern = "^(in|out|both)$", example = "both")]
    pub direction: Option<String>,
    /// Only packets with one of these verdicts: `reflect`, `punt`, `drop`, `pass`; of all where the list is empty.
    #[schema(example = json!(["drop"]))]
    pub verdicts: Option<Vec<String>>,
    /// Only packets with one of these reasons, as the counters have them; of all where the list is empty.
    #[schema(example = json!(["not-allowed"]))]
    pub reasons: Option<Vec<String>>,
    /// Only packets from or to this address.
    #[schema(example = "192.0.2.1")]
    pub host: Option<String>,
    /// Only packets of this session.
    #[schema(example = "192.0.2.1,0,0.0.0.0,862,61183")]
    pub session: Option<String>,
    /// Only packets of authenticated sessions, as the controller gets them.
    #[schema(default = false)]
    pub authenticated: Option<bool>,
    /// Most octets of a frame.
    #[schema(minimum = 14, maximum = 4096, default = 4096)]
    pub snaplen: Option<u32>,
    /// Frames after which the capture ends.
    #[schema(minimum = 1, example = 100)]
    pub count: Option<u32>,
    /// Seconds after which the capture ends.
    #[schema(minimum = 1, maximum = 604800, example = 10)]
    pub duration_seconds: Option<u32>,
    /// Most frames in a second. Of more, an even sample is captured.
    #[schema(minimum = 1, maximum = 1000000, default = 10000)]
    pub rate: Option<u32>,
}

/// A target of heartbeats.
#[derive(Debug, ToSchema)]
pub(crate) struct HeartbeatBody {
    /// Address with or without a port; STAMP's own, 862, where there is none.
    #[schema(example = "192.0.2.1:8620")]
    pub target: String,
    /// Time from one to the next.
    #[schema(minimum = 1, maximum = 65535, example = 5)]
    pub interval_seconds: u16,
}

/// One event of the stream.
#[derive(Debug, ToSchema)]
pub(crate) struct StreamedEvent {
    /// `session`, `sessions`, `settings`, `counters` or `dropped`.
    #[schema(example = "session")]
    pub event: String,
    /// JSON: `{"id", "change"}`, `{"created", "expired"}`, `{"settings"}`, `{"counters"}` or `{"missed"}`.
    #[schema(example = json!("{\"id\":\"192.0.2.1,0,0.0.0.0,862,61183\",\"change\":\"created\"}"))]
    pub data: serde_json::Value,
}
