-- A dissector for STAMP, the Simple Two-Way Active Measurement Protocol (RFC 8762, RFC 8972), and for the test packets of
-- TWAMP-Light. For Wireshark and tshark 4.0 and newer; docs/guides/wireshark.md says how to install it.
--
-- No octets may raise a Lua error. Whatever reads octets therefore asks `has` first, and a capture may hold fewer octets of
-- a packet than were on the wire. Bits are taken by `TvbRange:bitfield`, because Lua 5.2 and 5.4 share no operators for them.
--
-- Layout: tables of the registry, fields, expert infos, settings, values, TLVs, base packets, conversations.

-- Begin: made by `cargo xtask codegen` from the sources of teaparty-common
local DEFAULT_PORT = 862
local UNAUTHENTICATED_LEN = 44
local AUTHENTICATED_LEN = 112
local HEARTBEAT_SEQUENCE = 34
local HISTORY_ENTRY_LEN = 32
local TLVS = {
    [1] = {
        { name = "padding", title = "Extra Padding", section = "RFC 8972 §4.1", lengths = { from = 0, step = 1 } },
    },
    [2] = {
        { name = "location", title = "Location", section = "RFC 8972 §4.2", lengths = { from = 4, step = 1 } },
    },
    [3] = {
        { name = "time", title = "Timestamp Information", section = "RFC 8972 §4.3", lengths = { 4 } },
    },
    [4] = {
        { name = "class-of-service", title = "Class of Service", section = "RFC 8972 §4.4, draft-ietf-ippm-stamp-cos-ecn-01", lengths = { 4 } },
    },
    [5] = {
        { name = "direct-measurement", title = "Direct Measurement", section = "RFC 8972 §4.5", lengths = { 12 } },
    },
    [6] = {
        { name = "access-report", title = "Access Report", section = "RFC 8972 §4.6", lengths = { 4 } },
    },
    [7] = {
        { name = "followup", title = "Follow-Up Telemetry", section = "RFC 8972 §4.7", lengths = { 16 } },
    },
    [8] = {
        { name = "hmac", title = "HMAC", section = "RFC 8972 §4.8", lengths = { 16 } },
    },
    [9] = {
        { name = "destination-address", title = "Destination Node Address", section = "RFC 9503 §3", lengths = { 4, 16 } },
    },
    [10] = {
        { name = "return-path", title = "Return Path", section = "RFC 9503 §4", lengths = { from = 4, step = 1 } },
    },
    [11] = {
        { name = "micro-session", title = "Micro-session ID", section = "RFC 9534 §3", lengths = { 4 } },
    },
    [12] = {
        { name = "reflected-control", title = "Reflected Test Packet Control", section = "RFC 10052 §3", lengths = { from = 12, step = 1 } },
    },
    [176] = {
        { name = "heartbeat", title = "Heartbeat", section = "cerfcast/teaparty", lengths = { 8 } },
    },
    [177] = {
        { name = "destination-port", title = "Destination Port", section = "cerfcast/teaparty", lengths = { 4 } },
    },
    [178] = {
        { name = "history", title = "History", section = "cerfcast/teaparty", lengths = { from = 0, step = 1 } },
    },
    [179] = {
        { name = "dscp-ecn", title = "DSCP ECN", section = "cerfcast/teaparty", lengths = { 4 } },
    },
    [180] = {
        { name = "reflected-control", title = "Reflected Test Packet Control", section = "RFC 10052 §3", lengths = { from = 12, step = 1 } },
    },
    [181] = {
        { name = "bit-error-count", title = "Bit Error Count", section = "draft-gandhi-ippm-stamp-ber-07 §4", lengths = { 4 } },
    },
    [182] = {
        { name = "bit-error-rate", title = "Bit Error Pattern", section = "draft-gandhi-ippm-stamp-ber-07 §4", lengths = { from = 0, step = 1 } },
    },
    [183] = {
        { name = "reflected-v6-extension-header-data", title = "Reflected IPv6 Extension Header Data", section = "draft-ietf-ippm-stamp-ext-hdr-15 §4", lengths = { from = 8, step = 8 } },
    },
    [184] = {
        { name = "reflected-fixed-header-data", title = "Reflected Fixed Header Data", section = "draft-ietf-ippm-stamp-ext-hdr-15 §6", lengths = { 20, 40 } },
    },
    [185] = {
        { name = "class-of-service-v2", title = "Class of Service v2", section = "cerfcast/teaparty", lengths = { 4 } },
    },
    [240] = {
        { name = "bit-error-rate", title = "Bit Error Pattern", section = "draft-gandhi-ippm-stamp-ber-07 §4", lengths = { from = 0, step = 1 } },
    },
    [241] = {
        { name = "bit-error-count", title = "Bit Error Count", section = "draft-gandhi-ippm-stamp-ber-07 §4", lengths = { 4 } },
    },
    [242] = {
        { name = "bit-error-burst", title = "Bit Error Maximum Burst", section = "draft-gandhi-ippm-stamp-ber-07 §4", lengths = { 4 } },
        { name = "heartbeat", title = "Heartbeat", section = "cerfcast/teaparty", lengths = { 8 } },
    },
    [243] = {
        { name = "destination-port", title = "Destination Port", section = "cerfcast/teaparty", lengths = { 4 } },
    },
    [244] = {
        { name = "history", title = "History", section = "cerfcast/teaparty", lengths = { from = 0, step = 1 } },
    },
    [246] = {
        { name = "reflected-v6-extension-header-data", title = "Reflected IPv6 Extension Header Data", section = "draft-ietf-ippm-stamp-ext-hdr-15 §4", lengths = { from = 8, step = 8 } },
    },
    [247] = {
        { name = "reflected-fixed-header-data", title = "Reflected Fixed Header Data", section = "draft-ietf-ippm-stamp-ext-hdr-15 §6", lengths = { 20, 40 } },
    },
    [248] = {
        { name = "class-of-service-v2", title = "Class of Service v2", section = "cerfcast/teaparty", lengths = { 4 } },
    },
}
local LOCATION_SUBS = {
    [1] = "Source MAC Address",
    [2] = "Source EUI-48 Address",
    [3] = "Source EUI-64 Address",
    [4] = "Destination IP Address",
    [5] = "Destination IPv4 Address",
    [6] = "Destination IPv6 Address",
    [7] = "Source IP Address",
    [8] = "Source IPv4 Address",
    [9] = "Source IPv6 Address",
}
local RETURN_PATH_SUBS = {
    [1] = "Return Path Control Code",
    [2] = "Return Address",
    [3] = "SR-MPLS Label Stack of Return Path",
    [4] = "SRv6 Segment List of Return Path",
}
local REFLECTED_CONTROL_SUBS = {
    [10] = "Layer 2 Address Group",
    [11] = "Layer 3 Address Group",
    [240] = "IPv6 Extension Header Control",
}
local DSCP_NAMES = {
    [0] = "cs0",
    [8] = "cs1",
    [16] = "cs2",
    [24] = "cs3",
    [32] = "cs4",
    [40] = "cs5",
    [48] = "cs6",
    [56] = "cs7",
    [10] = "af11",
    [12] = "af12",
    [14] = "af13",
    [18] = "af21",
    [20] = "af22",
    [22] = "af23",
    [26] = "af31",
    [28] = "af32",
    [30] = "af33",
    [34] = "af41",
    [36] = "af42",
    [38] = "af43",
    [46] = "ef",
    [44] = "voiceadmit",
}
local ECN_NAMES = {
    [0] = "not-ect",
    [1] = "ect1",
    [2] = "ect0",
    [3] = "ce",
}
-- End

local SYNC_SOURCES = { [1] = "NTP", [2] = "PTP", [3] = "SSU/BITS", [4] = "GNSS", [5] = "Local free-running" } -- RFC 8972 §5.4
local METHODS = { [1] = "HW Assist", [2] = "SW local", [3] = "Control plane" } -- RFC 8972 §5.5
local ACCESS_IDS = { [1] = "3GPP", [2] = "Non-3GPP" } -- RFC 8972 §4.6
local ACCESS_CODES = { [1] = "Network available", [2] = "Network unavailable" }
local ROLES = { [1] = "Session-Sender", [2] = "Session-Reflector", [3] = "Heartbeat" }
local SENDER, REFLECTOR, HEARTBEAT = 1, 2, 3
local MODES = { [0] = "Unauthenticated", [1] = "Authenticated" }

local NTP_UNIX_OFFSET = 2208988800
local TLV_HEADER_LEN = 4
-- Sequence Number, Timestamp and Error Estimate: all that a TWAMP-Test packet has before its padding (RFC 4656 §4.1.2).
local MIN_SENDER_LEN = 14
-- A TWAMP-Test reply without padding (RFC 5357 §4.2.1).
local MIN_REFLECTOR_LEN = 41

local stamp = Proto("stamp", "Simple Two-Way Active Measurement Protocol")

--------------------------------------------------------------------------------------------------------------------------
-- Fields
--------------------------------------------------------------------------------------------------------------------------

local function titles(tlvs)
    local all = {}
    for code, entries in pairs(tlvs) do
        local names = {}
        for i, entry in ipairs(entries) do
            names[i] = entry.title
        end
        all[code] = table.concat(names, " or ")
    end
    return all
end

local F = {}

-- Declares the field `stamp.<name>`, to be found as F[name].
local function field(kind, name, ...)
    F[name] = ProtoField[kind]("stamp." .. name, ...)
end

-- Declares an Error Estimate and its parts.
local function error_estimate_fields(name, title)
    field("uint16", name, title, base.HEX)
    field("bool", name .. ".s", "S: synchronized", 16, nil, 0x8000)
    field("bool", name .. ".z", "Z: PTPv2 timestamps", 16, nil, 0x4000)
    field("uint16", name .. ".scale", "Scale", base.DEC, nil, 0x3f00)
    field("uint16", name .. ".multiplier", "Multiplier", base.DEC, nil, 0x00ff)
    field("double", name .. ".bound", "Error bound (seconds)")
end

-- Declares a Traffic Class octet and its parts.
local function traffic_class_fields(name, title)
    field("uint8", name, title, base.HEX)
    field("uint8", name .. ".dscp", "DSCP", base.DEC, DSCP_NAMES, 0xfc)
    field("uint8", name .. ".ecn", "ECN", base.DEC, ECN_NAMES, 0x03)
end

-- Declares the flags of a TLV or sub-TLV.
local function header_fields(name, types)
    field("none", name, name == "tlv" and "TLV" or "Sub-TLV")
    field("uint8", name .. ".flags", "Flags", base.HEX)
    field("bool", name .. ".flags.u", "U: unrecognized", 8, nil, 0x80)
    field("bool", name .. ".flags.m", "M: malformed", 8, nil, 0x40)
    field("bool", name .. ".flags.i", "I: integrity check failed", 8, nil, 0x20)
    field("bool", name .. ".flags.c", "C: not done as asked", 8, nil, 0x10)
    field("uint8", name .. ".flags.reserved", "Reserved", base.HEX, nil, 0x0f)
    field("uint8", name .. ".type", "Type", base.DEC, types)
    field("uint16", name .. ".length", "Length", base.DEC)
    field("bytes", name .. ".value", "Value")
end

field("uint8", "role", "Role", base.DEC, ROLES)
field("uint8", "mode", "Mode", base.DEC, MODES)
field("uint32", "seq", "Sequence Number", base.DEC)
field("absolute_time", "t1", "Timestamp (T1)", base.UTC)
field("absolute_time", "t2", "Receive Timestamp (T2)", base.UTC)
field("absolute_time", "t3", "Timestamp (T3)", base.UTC)
field("uint32", "time.seconds", "Seconds", base.DEC)
field("uint32", "time.fraction", "Fraction", base.HEX)
field("uint32", "time.nanoseconds", "Nanoseconds", base.DEC)
error_estimate_fields("error_estimate", "Error Estimate")
field("uint16", "ssid", "Session-Sender Identifier", base.HEX)
field("bytes", "mbz", "Must be zero")
field("uint32", "sender_seq", "Session-Sender Sequence Number", base.DEC)
error_estimate_fields("sender_error_estimate", "Session-Sender Error Estimate")
field("uint8", "sender_ttl", "Session-Sender TTL", base.DEC)
field("bytes", "hmac", "HMAC")
field("bytes", "padding", "Padding")
field("bytes", "stray", "Octets that hold no TLV")

field("framenum", "request_in", "Request in frame", base.NONE, frametype.REQUEST)
field("framenum", "reply_in", "Reply in frame", base.NONE, frametype.RESPONSE)
field("relative_time", "residence", "Residence time (T3 - T2)")
field("relative_time", "round_trip", "Round trip (frame times)")
field("relative_time", "net_round_trip", "Round trip without residence time")
field("uint32", "loss.forward", "Lost on the way to the reflector", base.DEC)
field("uint32", "loss.backward", "Lost on the way back", base.DEC)
field("uint32", "loss.unknown", "Lost, direction not known", base.DEC)

header_fields("tlv", titles(TLVS))
header_fields("sub", nil)
field("bytes", "reserved", "Reserved")

field("uint16", "location.destination_port", "Destination Port", base.DEC)
field("uint16", "location.source_port", "Source Port", base.DEC)
field("ether", "location.mac", "MAC address")
field("bytes", "location.eui64", "EUI-64 address")
field("ipv4", "location.ipv4", "IPv4 address")
field("ipv6", "location.ipv6", "IPv6 address")
field("uint8", "time_info.sync_in", "Synchronization Source at receipt", base.DEC, SYNC_SOURCES)
field("uint8", "time_info.method_in", "Timestamp method at receipt", base.DEC, METHODS)
field("uint8", "time_info.sync_out", "Synchronization Source at transmission", base.DEC, SYNC_SOURCES)
field("uint8", "time_info.method_out", "Timestamp method at transmission", base.DEC, METHODS)
field("uint32", "cos.dscp1", "DSCP1: wanted in the reply", base.DEC, DSCP_NAMES, 0xfc000000)
field("uint32", "cos.dscp2", "DSCP2: of the request as received", base.DEC, DSCP_NAMES, 0x03f00000)
field("uint32", "cos.ec2", "EC2: ECN of the request as received", base.DEC, ECN_NAMES, 0x000c0000)
field("uint32", "cos.rpd", "RPD: DSCP1 refused by policy", base.DEC, nil, 0x00030000)
field("uint32", "cos.ec1", "EC1: ECN wanted in the reply", base.DEC, ECN_NAMES, 0x0000c000)
field("uint32", "cos.rpe", "RPE: what was done about EC1", base.DEC,
    { [0] = "not known to the reflector", [2] = "refused", [3] = "done" }, 0x00003000)
field("uint32", "cos.reserved", "Reserved", base.HEX, nil, 0x00000fff)
field("uint32", "direct.sender_tx", "Sender Tx counter (S_TxC)", base.DEC)
field("uint32", "direct.reflector_rx", "Reflector Rx counter (R_RxC)", base.DEC)
field("uint32", "direct.reflector_tx", "Reflector Tx counter (R_TxC)", base.DEC)
field("uint8", "access.id", "Access ID", base.DEC, ACCESS_IDS, 0xf0)
field("uint8", "access.reserved", "Reserved", base.HEX, nil, 0x0f)
field("uint8", "access.code", "Return Code", base.DEC, ACCESS_CODES)
field("uint32", "followup.seq", "Sequence Number", base.DEC)
field("absolute_time", "followup.timestamp", "Follow-Up Timestamp", base.UTC)
field("uint8", "followup.mode", "Timestamp method", base.DEC, METHODS)
field("bytes", "tlv_hmac", "HMAC of the TLVs")
field("ipv4", "destination.ipv4", "Destination Node IPv4 Address")
field("ipv6", "destination.ipv6", "Destination Node IPv6 Address")
field("uint32", "return_path.control", "Control Code", base.HEX)
field("bool", "return_path.same_link", "Reply on the link of the request (else no reply)", 32, nil, 0x00000001)
field("ipv4", "return_path.ipv4", "Return Address")
field("ipv6", "return_path.ipv6", "Return Address")
field("uint32", "return_path.label", "Label", base.DEC, nil, 0xfffff000)
field("uint32", "return_path.label.tc", "Traffic Class", base.DEC, nil, 0x00000e00)
field("bool", "return_path.label.s", "Bottom of stack", 32, nil, 0x00000100)
field("uint32", "return_path.label.ttl", "TTL", base.DEC, nil, 0x000000ff)
field("ipv6", "return_path.segment", "Segment")
field("uint16", "micro.sender", "Sender Micro-session ID", base.DEC)
field("uint16", "micro.reflector", "Reflector Micro-session ID", base.DEC)
field("uint16", "control.length", "Length of the Reflected Packet", base.DEC)
field("uint16", "control.count", "Number of the Reflected Packets", base.DEC)
field("uint32", "control.interval", "Interval Between the Reflected Packets (ns)", base.DEC)
field("bytes", "control.mask", "Address mask")
field("bytes", "control.group", "Address group")
field("uint8", "control.prefix_length", "Prefix length", base.DEC)
field("ipv4", "control.prefix.ipv4", "Prefix")
field("ipv6", "control.prefix.ipv6", "Prefix")
field("bytes", "ber.pattern", "Bit pattern in the padding")
field("uint32", "ber.count", "Bits that arrived wrong", base.DEC)
field("uint32", "ber.burst", "Longest run of wrong bits", base.DEC)
field("ether", "heartbeat.mac", "MAC address")
field("uint16", "destination_port", "Destination Port of the reply", base.DEC)
field("none", "history", "Exchange")
field("uint32", "history.seq", "Sequence Number", base.DEC)
field("uint32", "history.sender_seq", "Session-Sender Sequence Number", base.DEC)
field("absolute_time", "history.t2", "Receive Timestamp (T2)", base.UTC)
field("absolute_time", "history.t1", "Session-Sender Timestamp (T1)", base.UTC)
field("absolute_time", "history.t3", "Timestamp (T3)", base.UTC)
field("uint8", "extension_header.next", "Next Header", base.DEC)
field("uint8", "extension_header.length", "Header Extension Length", base.DEC)
field("bytes", "extension_header.data", "Data")
field("bytes", "fixed_header", "IP header as received")
field("uint8", "fixed_header.version", "IP version", base.DEC, nil, 0xf0)
field("ipv4", "fixed_header.ipv4.source", "Source Address")
field("ipv4", "fixed_header.ipv4.destination", "Destination Address")
field("ipv6", "fixed_header.ipv6.source", "Source Address")
field("ipv6", "fixed_header.ipv6.destination", "Destination Address")
traffic_class_fields("cos2.sent", "Traffic Class as sent")
traffic_class_fields("cos2.received", "Traffic Class as received")
traffic_class_fields("cos2.wanted", "Traffic Class wanted in the reply")
traffic_class_fields("cos2.used", "Traffic Class of the reply")
traffic_class_fields("dscp_ecn.wanted", "Traffic Class wanted in the reply")
traffic_class_fields("dscp_ecn.received", "Traffic Class as received")
field("uint8", "dscp_ecn.outcome", "Outcome", base.HEX, { [0] = "done", [0x40] = "refused" })

do
    local all = {}
    for _, one in pairs(F) do
        all[#all + 1] = one
    end
    stamp.fields = all
end

--------------------------------------------------------------------------------------------------------------------------
-- Expert infos: what a reflector rejects, marks or ignores
--------------------------------------------------------------------------------------------------------------------------

local X = {}

local function expert_info(name, text, group, severity)
    X[name] = ProtoExpert.new("stamp.expert." .. name, text, group, severity)
end

expert_info("short", "Too short for a STAMP or TWAMP-Test packet", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("no_ssid", "Shorter than a STAMP packet: TWAMP-Test, without an SSID", expert.group.PROTOCOL, expert.severity.NOTE)
expert_info("cut", "The capture holds only a part of this packet", expert.group.UNDECODED, expert.severity.NOTE)
expert_info("mbz", "Must be zero, and is not", expert.group.PROTOCOL, expert.severity.WARN)
expert_info("multiplier", "Multiplier 0: a corrupt packet (RFC 4656 §4.1.2)", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("nanoseconds", "A PTPv2 timestamp with 10^9 nanoseconds or more", expert.group.MALFORMED, expert.severity.WARN)
expert_info("residence", "T3 is before T2", expert.group.SEQUENCE, expert.severity.WARN)
expert_info("ssid_changed", "The SSID of this conversation has changed", expert.group.SEQUENCE, expert.severity.WARN)
expert_info("ssid_differs", "The SSID is not that of the request", expert.group.PROTOCOL, expert.severity.WARN)
expert_info("ssid_unknown", "The reflector gives no SSID back: it knows RFC 8762 only", expert.group.PROTOCOL, expert.severity.NOTE)
expert_info("no_reply", "No reply in this capture", expert.group.SEQUENCE, expert.severity.NOTE)
expert_info("another_reply", "Another reply to the same request", expert.group.SEQUENCE, expert.severity.NOTE)
expert_info("loss", "Packets were lost before this reply", expert.group.SEQUENCE, expert.severity.NOTE)
expert_info("tlv_length", "The Length is wrong for this type: a reflector sets M", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("tlv_overrun", "The Length goes past the end: a reflector sets M", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("tlv_stray", "Too few octets for a TLV: a reflector sets M", expert.group.MALFORMED, expert.severity.WARN)
expert_info("tlv_filled", "A request with octets that only replies fill: a reflector sets M", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("tlv_unknown", "A type that is not in the registry", expert.group.UNDECODED, expert.severity.NOTE)
expert_info("tlv_after_hmac", "A TLV after the HMAC TLV: its integrity is not protected", expert.group.PROTOCOL, expert.severity.WARN)
expert_info("flag_u_clear", "U is clear: senders set it (RFC 8972 §4)", expert.group.PROTOCOL, expert.severity.NOTE)
expert_info("flag_sent", "Only reflectors set this flag", expert.group.PROTOCOL, expert.severity.NOTE)
expert_info("flag_u", "U: the reflector did not recognize this", expert.group.RESPONSE_CODE, expert.severity.WARN)
expert_info("flag_m", "M: the reflector found this malformed", expert.group.RESPONSE_CODE, expert.severity.ERROR)
expert_info("flag_i", "I: the integrity check failed at the reflector", expert.group.RESPONSE_CODE, expert.severity.ERROR)
expert_info("flag_c", "C: the reflector could not do this as asked", expert.group.RESPONSE_CODE, expert.severity.NOTE)
expert_info("access_id", "An unknown Access ID: the report is discarded", expert.group.PROTOCOL, expert.severity.WARN)
expert_info("no_reply_wanted", "The sender wants no reply", expert.group.REQUEST_CODE, expert.severity.NOTE)
expert_info("reserved", "Reserved bits are set, and ignored", expert.group.PROTOCOL, expert.severity.NOTE)

do
    local all = {}
    for _, one in pairs(X) do
        all[#all + 1] = one
    end
    stamp.experts = all
end

--------------------------------------------------------------------------------------------------------------------------
-- Settings
--------------------------------------------------------------------------------------------------------------------------

local BY_Z, ALWAYS_NTP, ALWAYS_PTP = 0, 1, 2
local GUESS_MODE, UNAUTHENTICATED, AUTHENTICATED = 0, 1, 2

stamp.prefs.ports = Pref.range("UDP ports of reflectors", tostring(DEFAULT_PORT), "Ports that reflectors listen on", 65535)
stamp.prefs.timestamps = Pref.enum("Timestamps", BY_Z, "The format of timestamps",
    { { "z", "As the Z bit says", BY_Z }, { "ntp", "Always NTP", ALWAYS_NTP }, { "ptp", "Always PTPv2", ALWAYS_PTP } }, false)
stamp.prefs.mode = Pref.enum("Mode", GUESS_MODE, "The layout of base packets. No bit says it.",
    { { "guess", "By the octets that must be zero", GUESS_MODE }, { "unauthenticated", "Unauthenticated", UNAUTHENTICATED },
      { "authenticated", "Authenticated", AUTHENTICATED } }, false)
stamp.prefs.tlvs = Pref.bool("TLVs", true, "Show the octets after the base packet as TLVs. Senders of TWAMP-Light have padding there.")

local registered = nil
local reflector_ports = {}

-- Returns the ports of a list such as "862,8620-8630" as a set.
local function parse_ports(list)
    local ports = {}
    for first, last in list:gmatch("(%d+)%-?(%d*)") do
        first = math.min(tonumber(first), 65535)
        for port = first, math.min(tonumber(last) or first, 65535) do
            ports[port] = true
        end
    end
    return ports
end

local function register_ports()
    local list = stamp.prefs.ports or ""
    if list == registered then
        return
    end
    local udp = DissectorTable.get("udp.port")
    if registered and registered ~= "" then
        udp:remove(registered, stamp)
    end
    if list ~= "" then
        udp:add(list, stamp)
    end
    registered = list
    reflector_ports = parse_ports(list)
end

function stamp.prefs_changed()
    register_ports()
end

--------------------------------------------------------------------------------------------------------------------------
-- Octets and values
--------------------------------------------------------------------------------------------------------------------------

-- Returns true if the capture holds the `n` octets at `at`.
local function has(tvb, at, n)
    return n > 0 and at >= 0 and at + n <= tvb:captured_len()
end

-- Adds a field of `n` octets and returns its item; nil where the capture does not hold them.
local function add(tree, name, tvb, at, n, value)
    if not has(tvb, at, n) then
        return nil
    end
    if value ~= nil then
        return tree:add(F[name], tvb(at, n), value)
    end
    return tree:add(F[name], tvb(at, n))
end

local function warn(item, name, text)
    if not item then
        return
    end
    if text then
        item:add_proto_expert_info(X[name], text)
    else
        item:add_proto_expert_info(X[name])
    end
end

-- Returns true if the octets from `at` up to `stop`, as far as they were captured, are zero.
local function is_zero(tvb, at, stop)
    stop = math.min(stop, tvb:captured_len())
    while at < stop do
        local n = math.min(4, stop - at)
        if tvb(at, n):uint() ~= 0 then
            return false
        end
        at = at + n
    end
    return true
end

-- Adds octets that must be zero, with an expert info where they are not.
local function add_zero(tree, tvb, at, n, name, expert_name)
    n = math.min(n, tvb:captured_len() - at)
    if n <= 0 then
        return
    end
    local item = add(tree, name or "mbz", tvb, at, n)
    if not is_zero(tvb, at, at + n) then
        warn(item, expert_name or "mbz")
    end
end

-- Returns (fraction * 10^9 + 2^31) >> 32, where no product passes 2^53.
local function fraction_to_nanos(fraction)
    local high, low = math.floor(fraction / 65536), fraction % 65536
    local product = high * 1000000000
    local whole, rest = math.floor(product / 65536), product % 65536
    return whole + math.floor((rest * 65536 + low * 1000000000 + 2147483648) / 4294967296)
end

-- Returns the seconds since 1970 that are `seconds` modulo 2^32 and nearest to `near`.
local function in_era(seconds, near)
    local distance = (seconds - near) % 4294967296
    if distance >= 2147483648 then
        distance = distance - 4294967296
    end
    return near + distance
end

-- Reads a timestamp; nil where the capture does not hold it.
local function read_time(tvb, at, is_ptp, pinfo)
    if not has(tvb, at, 8) then
        return nil
    end
    local seconds, rest = tvb(at, 4):uint(), tvb(at + 4, 4):uint()
    local near = math.floor(pinfo.abs_ts)
    local time = { seconds = seconds, rest = rest, is_ptp = is_ptp }
    if is_ptp then
        time.secs, time.nanos = in_era(seconds, near), rest
    else
        time.secs, time.nanos = in_era(seconds - NTP_UNIX_OFFSET, near), fraction_to_nanos(rest)
    end
    -- NTP rounds up to a whole second, and PTPv2 has room for four of them.
    time.secs = math.floor(time.secs + math.floor(time.nanos / 1000000000))
    time.nanos = math.floor(time.nanos % 1000000000)
    return time
end

local function add_time(tree, name, tvb, at, is_ptp, pinfo, title)
    local time = read_time(tvb, at, is_ptp, pinfo)
    if not time then
        return nil
    end
    local item = tree:add(F[name], tvb(at, 8), NSTime.new(time.secs, time.nanos))
    if title then
        item:prepend_text(title)
    end
    item:append_text(is_ptp and " [PTPv2]" or " [NTP]")
    if time.seconds == 0 and time.rest == 0 then
        item:append_text(" (zero)")
    end
    item:add(F["time.seconds"], tvb(at, 4))
    item:add(F[is_ptp and "time.nanoseconds" or "time.fraction"], tvb(at + 4, 4))
    if is_ptp and time.rest >= 1000000000 then
        warn(item, "nanoseconds")
    end
    return time
end

-- Returns `a - b` in nanoseconds, which is exact below 104 days.
local function nanos_between(a, b)
    return (a.secs - b.secs) * 1000000000 + (a.nanos - b.nanos)
end

local function to_nstime(nanos)
    local size = math.abs(nanos)
    local secs, rest = math.floor(size / 1000000000), math.floor(size % 1000000000)
    if nanos < 0 then
        return NSTime.new(-secs, -rest)
    end
    return NSTime.new(secs, rest)
end

local function is_ptp(tvb, at)
    if stamp.prefs.timestamps ~= BY_Z then
        return stamp.prefs.timestamps == ALWAYS_PTP
    end
    return has(tvb, at, 2) and tvb(at, 2):bitfield(1, 1) == 1
end

local function add_error_estimate(tree, name, tvb, at)
    local item = add(tree, name, tvb, at, 2)
    if not item then
        return
    end
    local range = tvb(at, 2)
    local scale, multiplier = range:bitfield(2, 6), range:bitfield(8, 8)
    local bound = multiplier * 2.0 ^ (scale - 32)
    for _, part in ipairs({ ".s", ".z", ".scale", ".multiplier" }) do
        item:add(F[name .. part], range)
    end
    item:add(F[name .. ".bound"], range, bound):set_generated()
    item:append_text(string.format(" (%s, %.3g s)", range:bitfield(0, 1) == 1 and "synchronized" or "not synchronized", bound))
    if multiplier == 0 then
        warn(item, "multiplier")
    end
end

--------------------------------------------------------------------------------------------------------------------------
-- TLVs
--------------------------------------------------------------------------------------------------------------------------

-- A context `ctx` is about one packet: tvb, pinfo, is_reply, sender_ptp and reflector_ptp (formats of timestamps).
-- A function of BODIES shows the Value of `length` octets at `at`, whose Length is right. The capture may lack octets of it.

local BODIES = {}

local function allows(lengths, length)
    if lengths.from then
        return length >= lengths.from and (length - lengths.from) % lengths.step == 0
    end
    for _, one in ipairs(lengths) do
        if one == length then
            return true
        end
    end
    return false
end

-- Returns the entry of the registry and whether the Length is right for it; nil for an unknown type.
local function find_tlv(code, length)
    local entries = TLVS[code]
    if not entries then
        return nil, true
    end
    for _, entry in ipairs(entries) do
        if allows(entry.lengths, length) then
            return entry, true
        end
    end
    return entries[1], false
end

local FLAGS = { "u", "m", "i", "c" }

local function add_flags(tree, name, ctx, at)
    local item = add(tree, name .. ".flags", ctx.tvb, at, 1)
    if not item then
        return
    end
    local range = ctx.tvb(at, 1)
    local set = {}
    for bit, flag in ipairs(FLAGS) do
        local part = item:add(F[name .. ".flags." .. flag], range)
        local is_set = range:bitfield(bit - 1, 1) == 1
        if is_set then
            set[#set + 1] = flag:upper()
        end
        if ctx.is_reply and is_set then
            warn(part, "flag_" .. flag)
        elseif not ctx.is_reply and flag == "u" and not is_set then
            warn(part, "flag_u_clear")
        elseif not ctx.is_reply and flag ~= "u" and is_set then
            warn(part, "flag_sent")
        end
    end
    local reserved = item:add(F[name .. ".flags.reserved"], range)
    if range:bitfield(4, 4) ~= 0 then
        warn(reserved, "reserved")
    end
    item:append_text(#set > 0 and " (" .. table.concat(set, " ") .. ")" or " (none)")
end

-- Adds the sub-TLVs from `at` up to `stop`. `names` has their types, and `show` shows a Value and returns false where the
-- Length is wrong.
local function add_subs(tree, ctx, at, stop, names, show)
    local tvb = ctx.tvb
    while at < stop do
        if stop - at < TLV_HEADER_LEN then
            warn(add(tree, "stray", tvb, at, stop - at), "tlv_stray")
            return
        end
        if not has(tvb, at, TLV_HEADER_LEN) then
            return
        end
        if names == REFLECTED_CONTROL_SUBS and tvb(at, 4):uint() == 0 then
            add(tree, "padding", tvb, at, math.min(stop, tvb:captured_len()) - at)
            return
        end
        local code, length = tvb(at + 1, 1):uint(), tvb(at + 2, 2):uint()
        local shown = math.min(TLV_HEADER_LEN + length, stop - at, tvb:captured_len() - at)
        local name = names[code]
        local item = tree:add(F["sub"], tvb(at, shown))
        item:set_text(string.format("Sub-TLV: %s (%d), %d octets", name or "Unknown", code, length))
        add_flags(item, "sub", ctx, at)
        item:add(F["sub.type"], tvb(at + 1, 1)):append_text(" (" .. (name or "unknown") .. ")")
        local length_item = item:add(F["sub.length"], tvb(at + 2, 2))
        local value = at + TLV_HEADER_LEN
        if value + length > stop then
            warn(length_item, "tlv_overrun")
            add(item, "sub.value", tvb, value, shown - TLV_HEADER_LEN)
            return
        end
        if not name then
            warn(item, "tlv_unknown")
        end
        local is_right = name ~= nil and show(item, ctx, code, value, length)
        if name and not is_right then
            warn(length_item, "tlv_length")
        end
        if not is_right then
            add(item, "sub.value", tvb, value, shown - TLV_HEADER_LEN)
        end
        at = value + length
    end
end

BODIES["padding"] = function(tree, ctx, at, length)
    add(tree, "padding", ctx.tvb, at, math.min(length, ctx.tvb:captured_len() - at))
end

local function show_location_sub(tree, ctx, code, at, length)
    local tvb = ctx.tvb
    local name = LOCATION_SUBS[code]
    if name:find("IP", 1, true) then
        if length ~= 16 then
            return false
        end
        if name:find("IPv4", 1, true) then
            add(tree, "location.ipv4", tvb, at, 4)
            add_zero(tree, tvb, at + 4, 12)
        elseif name:find("IPv6", 1, true) then
            add(tree, "location.ipv6", tvb, at, 16)
        else
            add_zero(tree, tvb, at, 16)
        end
        return true
    end
    if length ~= 8 then
        return false
    end
    if name:find("EUI-48", 1, true) then
        add(tree, "location.mac", tvb, at, 6)
        add_zero(tree, tvb, at + 6, 2)
    elseif name:find("EUI-64", 1, true) then
        add(tree, "location.eui64", tvb, at, 8)
    else
        add_zero(tree, tvb, at, 8)
    end
    return true
end

BODIES["location"] = function(tree, ctx, at, length)
    add(tree, "location.destination_port", ctx.tvb, at, 2)
    add(tree, "location.source_port", ctx.tvb, at + 2, 2)
    add_subs(tree, ctx, at + 4, at + length, LOCATION_SUBS, show_location_sub)
end

BODIES["time"] = function(tree, ctx, at)
    for i, name in ipairs({ "sync_in", "method_in", "sync_out", "method_out" }) do
        add(tree, "time_info." .. name, ctx.tvb, at + i - 1, 1)
    end
end

BODIES["class-of-service"] = function(tree, ctx, at)
    if not has(ctx.tvb, at, 4) then
        return
    end
    for _, name in ipairs({ "dscp1", "dscp2", "ec2", "rpd", "ec1", "rpe" }) do
        add(tree, "cos." .. name, ctx.tvb, at, 4)
    end
    local reserved = add(tree, "cos.reserved", ctx.tvb, at, 4)
    if ctx.tvb(at, 4):bitfield(20, 12) ~= 0 then
        warn(reserved, "reserved")
    end
end

BODIES["direct-measurement"] = function(tree, ctx, at)
    for i, name in ipairs({ "sender_tx", "reflector_rx", "reflector_tx" }) do
        add(tree, "direct." .. name, ctx.tvb, at + 4 * (i - 1), 4)
    end
end

BODIES["access-report"] = function(tree, ctx, at)
    local id = add(tree, "access.id", ctx.tvb, at, 1)
    local reserved = add(tree, "access.reserved", ctx.tvb, at, 1)
    if id and not ACCESS_IDS[ctx.tvb(at, 1):bitfield(0, 4)] then
        warn(id, "access_id")
    end
    if id and ctx.tvb(at, 1):bitfield(4, 4) ~= 0 then
        warn(reserved, "reserved")
    end
    add(tree, "access.code", ctx.tvb, at + 1, 1)
    add_zero(tree, ctx.tvb, at + 2, 2, "reserved", "reserved")
end

BODIES["followup"] = function(tree, ctx, at)
    add(tree, "followup.seq", ctx.tvb, at, 4)
    add_time(tree, "followup.timestamp", ctx.tvb, at + 4, ctx.reflector_ptp, ctx.pinfo)
    add(tree, "followup.mode", ctx.tvb, at + 12, 1)
    add_zero(tree, ctx.tvb, at + 13, 3, "reserved", "reserved")
end

BODIES["hmac"] = function(tree, ctx, at)
    add(tree, "tlv_hmac", ctx.tvb, at, 16)
end

BODIES["destination-address"] = function(tree, ctx, at, length)
    add(tree, length == 4 and "destination.ipv4" or "destination.ipv6", ctx.tvb, at, length)
end

local function show_label(tree, tvb, at)
    local item = add(tree, "return_path.label", tvb, at, 4)
    if item then
        for _, part in ipairs({ ".tc", ".s", ".ttl" }) do
            add(item, "return_path.label" .. part, tvb, at, 4)
        end
    end
end

local RETURN_PATH_BODIES = {
    [1] = function(tree, ctx, at, length)
        if length ~= 4 then
            return false
        end
        local item = add(tree, "return_path.control", ctx.tvb, at, 4)
        if item then
            item:add(F["return_path.same_link"], ctx.tvb(at, 4))
            if not ctx.is_reply and ctx.tvb(at, 4):bitfield(31, 1) == 0 then
                warn(item, "no_reply_wanted")
            end
        end
        return true
    end,
    [2] = function(tree, ctx, at, length)
        if length ~= 4 and length ~= 16 then
            return false
        end
        add(tree, length == 4 and "return_path.ipv4" or "return_path.ipv6", ctx.tvb, at, length)
        return true
    end,
    [3] = function(tree, ctx, at, length)
        if length == 0 or length % 4 ~= 0 then
            return false
        end
        for label = at, at + length - 4, 4 do
            show_label(tree, ctx.tvb, label)
        end
        return true
    end,
    [4] = function(tree, ctx, at, length)
        if length == 0 or length % 16 ~= 0 then
            return false
        end
        for segment = at, at + length - 16, 16 do
            add(tree, "return_path.segment", ctx.tvb, segment, 16)
        end
        return true
    end,
}

BODIES["return-path"] = function(tree, ctx, at, length)
    add_subs(tree, ctx, at, at + length, RETURN_PATH_SUBS, function(item, context, code, value, len)
        local show = RETURN_PATH_BODIES[code]
        return show ~= nil and show(item, context, value, len)
    end)
end

BODIES["micro-session"] = function(tree, ctx, at)
    add(tree, "micro.sender", ctx.tvb, at, 2)
    add(tree, "micro.reflector", ctx.tvb, at + 2, 2)
end

local CONTROL_BODIES = {
    [10] = function(tree, ctx, at, length)
        if length ~= 4 and length ~= 12 and length ~= 16 then
            return false
        end
        add(tree, "control.mask", ctx.tvb, at, length / 2)
        add(tree, "control.group", ctx.tvb, at + length / 2, length / 2)
        return true
    end,
    [11] = function(tree, ctx, at, length)
        if length ~= 8 and length ~= 20 then
            return false
        end
        add(tree, "control.prefix_length", ctx.tvb, at, 1)
        add_zero(tree, ctx.tvb, at + 1, 3, "reserved", "reserved")
        add(tree, length == 8 and "control.prefix.ipv4" or "control.prefix.ipv6", ctx.tvb, at + 4, length - 4)
        return true
    end,
    [240] = function(tree, ctx, at, length)
        add(tree, "sub.value", ctx.tvb, at, math.min(length, ctx.tvb:captured_len() - at))
        return true
    end,
}

BODIES["reflected-control"] = function(tree, ctx, at, length)
    add(tree, "control.length", ctx.tvb, at, 2)
    add(tree, "control.count", ctx.tvb, at + 2, 2)
    add(tree, "control.interval", ctx.tvb, at + 4, 4)
    add_subs(tree, ctx, at + 8, at + length, REFLECTED_CONTROL_SUBS, function(item, context, code, value, len)
        local show = CONTROL_BODIES[code]
        return show ~= nil and show(item, context, value, len)
    end)
end

BODIES["bit-error-rate"] = function(tree, ctx, at, length)
    add(tree, "ber.pattern", ctx.tvb, at, math.min(length, ctx.tvb:captured_len() - at))
end

BODIES["bit-error-count"] = function(tree, ctx, at)
    add(tree, "ber.count", ctx.tvb, at, 4)
end

BODIES["bit-error-burst"] = function(tree, ctx, at)
    add(tree, "ber.burst", ctx.tvb, at, 4)
end

BODIES["heartbeat"] = function(tree, ctx, at)
    add(tree, "heartbeat.mac", ctx.tvb, at, 6)
    add_zero(tree, ctx.tvb, at + 6, 2, "reserved", "reserved")
end

BODIES["destination-port"] = function(tree, ctx, at)
    add(tree, "destination_port", ctx.tvb, at, 2)
    add_zero(tree, ctx.tvb, at + 2, 2, "reserved", "reserved")
end

-- Fields of an entry of History: name, offset, and whose clock a timestamp is of.
local HISTORY_TIMES = { { "t2", 8, "reflector_ptp" }, { "t1", 16, "sender_ptp" }, { "t3", 24, "reflector_ptp" } }

BODIES["history"] = function(tree, ctx, at, length)
    local tvb, stop = ctx.tvb, at + length
    while at < stop and at < tvb:captured_len() do
        local n = math.min(HISTORY_ENTRY_LEN, stop - at, tvb:captured_len() - at)
        local item = tree:add(F["history"], tvb(at, n))
        if n < HISTORY_ENTRY_LEN then
            item:append_text(" (cut)")
        elseif is_zero(tvb, at, at + n) then
            item:append_text(" (none)")
        end
        -- Within the Value: what follows it is another TLV.
        if n >= 4 then
            add(item, "history.seq", tvb, at, 4)
        end
        if n >= 8 then
            add(item, "history.sender_seq", tvb, at + 4, 4)
        end
        for _, time in ipairs(HISTORY_TIMES) do
            if n >= time[2] + 8 then
                add_time(item, "history." .. time[1], tvb, at + time[2], ctx[time[3]], ctx.pinfo)
            end
        end
        at = at + n
    end
end

BODIES["reflected-v6-extension-header-data"] = function(tree, ctx, at, length)
    add(tree, "extension_header.next", ctx.tvb, at, 1)
    add(tree, "extension_header.length", ctx.tvb, at + 1, 1)
    add(tree, "extension_header.data", ctx.tvb, at + 2, math.min(length - 2, ctx.tvb:captured_len() - at - 2))
end

BODIES["reflected-fixed-header-data"] = function(tree, ctx, at, length)
    local item = add(tree, "fixed_header", ctx.tvb, at, length)
    if not item then
        return
    end
    if is_zero(ctx.tvb, at, at + length) then
        item:append_text(" (none)")
        return
    end
    item:add(F["fixed_header.version"], ctx.tvb(at, 1))
    if length == 20 then
        add(item, "fixed_header.ipv4.source", ctx.tvb, at + 12, 4)
        add(item, "fixed_header.ipv4.destination", ctx.tvb, at + 16, 4)
    else
        add(item, "fixed_header.ipv6.source", ctx.tvb, at + 8, 16)
        add(item, "fixed_header.ipv6.destination", ctx.tvb, at + 24, 16)
    end
end

local function add_traffic_class(tree, name, tvb, at)
    local item = add(tree, name, tvb, at, 1)
    if item then
        item:add(F[name .. ".dscp"], tvb(at, 1))
        item:add(F[name .. ".ecn"], tvb(at, 1))
    end
    return item
end

BODIES["class-of-service-v2"] = function(tree, ctx, at)
    for i, name in ipairs({ "sent", "received", "wanted", "used" }) do
        local item = add_traffic_class(tree, "cos2." .. name, ctx.tvb, at + i - 1)
        if item and not ctx.is_reply and i % 2 == 0 and ctx.tvb(at + i - 1, 1):uint() ~= 0 then
            warn(item, "tlv_filled")
        end
    end
end

BODIES["dscp-ecn"] = function(tree, ctx, at)
    add_traffic_class(tree, "dscp_ecn.wanted", ctx.tvb, at)
    add_traffic_class(tree, "dscp_ecn.received", ctx.tvb, at + 1)
    add(tree, "dscp_ecn.outcome", ctx.tvb, at + 2, 1)
    add_zero(tree, ctx.tvb, at + 3, 1, "reserved", "reserved")
end

-- Adds one TLV, whose header was captured, and returns where the next one begins; nil where nothing follows.
local function add_tlv(tree, ctx, at, stop, found)
    local tvb = ctx.tvb
    local code, length = tvb(at + 1, 1):uint(), tvb(at + 2, 2):uint()
    local value = at + TLV_HEADER_LEN
    local shown = math.min(TLV_HEADER_LEN + length, stop - at, tvb:captured_len() - at)
    local entry, is_right = find_tlv(code, length)
    local item = tree:add(F["tlv"], tvb(at, shown))
    local title = entry and entry.title or "Unknown"
    found[#found + 1] = entry and entry.name or "type " .. code
    item:set_text(string.format("TLV: %s (%d), %d octets", title, code, length))
    add_flags(item, "tlv", ctx, at)
    local type_item = item:add(F["tlv.type"], tvb(at + 1, 1))
    local length_item = item:add(F["tlv.length"], tvb(at + 2, 2))
    if entry then
        type_item:append_text(" [" .. entry.section .. "]")
    else
        warn(type_item, "tlv_unknown")
    end
    if ctx.after_hmac and not (entry and entry.name == "padding") then
        warn(item, "tlv_after_hmac")
    end
    ctx.after_hmac = ctx.after_hmac or (entry ~= nil and entry.name == "hmac")
    if value + length > stop then
        warn(length_item, "tlv_overrun")
        add(item, "tlv.value", tvb, value, shown - TLV_HEADER_LEN)
        return nil
    end
    if not is_right then
        warn(length_item, "tlv_length")
    end
    if entry and is_right then
        BODIES[entry.name](item, ctx, value, length)
    else
        add(item, "tlv.value", tvb, value, shown - TLV_HEADER_LEN)
    end
    return value + length
end

-- Adds what follows the base packet, up to `stop`, and returns the names of the TLVs.
local function add_tlvs(tree, ctx, at, stop)
    local tvb, found = ctx.tvb, {}
    while at and at < stop and at < tvb:captured_len() do
        local rest = math.min(stop, tvb:captured_len()) - at
        -- A whole TLV of a sender begins with its U flag: four zero octets, and zeros to the end, are padding.
        if is_zero(tvb, at, stop) or not stamp.prefs.tlvs then
            add(tree, "padding", tvb, at, rest)
            break
        end
        if stop - at < TLV_HEADER_LEN then
            warn(add(tree, "stray", tvb, at, rest), "tlv_stray")
            break
        end
        if rest < TLV_HEADER_LEN then
            break
        end
        at = add_tlv(tree, ctx, at, stop, found)
    end
    return found
end

--------------------------------------------------------------------------------------------------------------------------
-- Base packets
--------------------------------------------------------------------------------------------------------------------------

-- Offsets of the fields in the base packets of RFC 8762 §4.2 and §4.3, by mode.
local LAYOUTS = {
    [0] = {
        len = UNAUTHENTICATED_LEN, time = 4, error_estimate = 12, ssid = 14,
        receive = 16, sender_seq = 24, sender_time = 28, sender_error_estimate = 36, sender_ttl = 40,
        sender_mbz = { { 16, 44 } }, reflector_mbz = { { 38, 40 }, { 41, 44 } },
    },
    [1] = {
        len = AUTHENTICATED_LEN, time = 16, error_estimate = 24, ssid = 26,
        receive = 32, sender_seq = 48, sender_time = 64, sender_error_estimate = 72, sender_ttl = 80, hmac = 96,
        sender_mbz = { { 4, 16 }, { 28, 96 } },
        reflector_mbz = { { 4, 16 }, { 28, 32 }, { 40, 48 }, { 52, 64 }, { 74, 80 }, { 81, 96 } },
    },
}

-- Returns 0 or 1. No bit says the mode: in an authenticated packet the 12 octets after the Sequence Number must be zero,
-- where an unauthenticated one has T1 and an Error Estimate, which is never zero.
local function guess_mode(tvb, len)
    if stamp.prefs.mode ~= GUESS_MODE then
        return stamp.prefs.mode == AUTHENTICATED and 1 or 0
    end
    if len < AUTHENTICATED_LEN or not has(tvb, 0, 26) then
        return 0
    end
    return is_zero(tvb, 4, 16) and not is_zero(tvb, 16, 26) and 1 or 0
end

local function add_mbz(tree, tvb, ranges, stop)
    for _, range in ipairs(ranges) do
        add_zero(tree, tvb, range[1], math.min(range[2], stop) - range[1])
    end
end

-- Adds the base packet of a sender, or of a heartbeat.
local function add_sender_packet(tree, ctx, layout, len)
    local tvb = ctx.tvb
    add(tree, "seq", tvb, 0, 4)
    add_time(tree, "t1", tvb, layout.time, ctx.sender_ptp, ctx.pinfo)
    add_error_estimate(tree, "error_estimate", tvb, layout.error_estimate)
    if len < layout.len then
        -- What follows in a packet this short is padding, and no SSID.
        add(tree, "padding", tvb, layout.error_estimate + 2, tvb:captured_len() - layout.error_estimate - 2)
        warn(tree, "no_ssid")
        return nil
    end
    local ssid = add(tree, "ssid", tvb, layout.ssid, 2)
    add_mbz(tree, tvb, layout.sender_mbz, len)
    if layout.hmac then
        add(tree, "hmac", tvb, layout.hmac, 16)
    end
    return ssid
end

-- Adds the base packet of a reflector; returns the item of the SSID, T2 and T3.
local function add_reflector_packet(tree, ctx, layout, len)
    local tvb, pinfo = ctx.tvb, ctx.pinfo
    add(tree, "seq", tvb, 0, 4)
    local t3 = add_time(tree, "t3", tvb, layout.time, ctx.reflector_ptp, pinfo)
    add_error_estimate(tree, "error_estimate", tvb, layout.error_estimate)
    local ssid = add(tree, "ssid", tvb, layout.ssid, 2)
    local t2 = add_time(tree, "t2", tvb, layout.receive, ctx.reflector_ptp, pinfo)
    add(tree, "sender_seq", tvb, layout.sender_seq, 4)
    add_time(tree, "t1", tvb, layout.sender_time, ctx.sender_ptp, pinfo, "Session-Sender ")
    add_error_estimate(tree, "sender_error_estimate", tvb, layout.sender_error_estimate)
    add(tree, "sender_ttl", tvb, layout.sender_ttl, 1)
    add_mbz(tree, tvb, layout.reflector_mbz, len)
    if layout.hmac then
        add(tree, "hmac", tvb, layout.hmac, 16)
    end
    return ssid, t2, t3
end

--------------------------------------------------------------------------------------------------------------------------
-- Conversations
--------------------------------------------------------------------------------------------------------------------------

-- Filled while packets are seen for the first time, in order; read whenever one is shown.
local exchanges, conversations, packets = {}, {}, {}

function stamp.init()
    exchanges, conversations, packets = {}, {}, {}
end

-- Returns the octets as a key; "" where the capture does not hold them.
local function key_of(tvb, at, n)
    return has(tvb, at, n) and tostring(tvb(at, n):bytes()) or ""
end

local function ends(pinfo)
    return tostring(pinfo.src) .. " " .. pinfo.src_port, tostring(pinfo.dst) .. " " .. pinfo.dst_port
end

-- Returns the conversation of two ends, whichever of them sent.
local function conversation_of(one, other)
    local key = one < other and one .. " " .. other or other .. " " .. one
    local found = conversations[key]
    if not found then
        found = {}
        conversations[key] = found
    end
    return found
end

local function exchange_key(sender, reflector, seq, t1)
    return sender .. " " .. reflector .. " " .. seq .. " " .. t1
end

-- Returns true if the octets are a reply to a request that was seen between these ends.
local function answers_one(tvb, source, destination)
    for mode = 0, 1 do
        local layout = LAYOUTS[mode]
        local seq, t1 = key_of(tvb, layout.sender_seq, 4), key_of(tvb, layout.sender_time, 8)
        if seq ~= "" and t1 ~= "" and exchanges[exchange_key(destination, source, seq, t1)] then
            return true
        end
    end
    return false
end

local function is_heartbeat(tvb)
    if tvb:reported_len() ~= UNAUTHENTICATED_LEN + TLV_HEADER_LEN + 8 or not has(tvb, 0, UNAUTHENTICATED_LEN + TLV_HEADER_LEN) then
        return false
    end
    local entry = find_tlv(tvb(UNAUTHENTICATED_LEN + 1, 1):uint(), tvb(UNAUTHENTICATED_LEN + 2, 2):uint())
    return tvb(0, 4):uint() == HEARTBEAT_SEQUENCE and entry ~= nil and entry.name == "heartbeat"
end

-- Returns who sent a packet: the port of a reflector tells. Where both ports are, a packet is a reply if it answers a request
-- that was seen; after the first reply of a conversation its ends are known.
local function find_role(tvb, pinfo, source, destination)
    local from_reflector = reflector_ports[pinfo.src_port] or pinfo.match_uint == pinfo.src_port
    local to_reflector = reflector_ports[pinfo.dst_port] or pinfo.match_uint == pinfo.dst_port
    if from_reflector and is_heartbeat(tvb) then
        return HEARTBEAT
    end
    if not (from_reflector and to_reflector) then
        return from_reflector and REFLECTOR or SENDER
    end
    local conversation = conversation_of(source, destination)
    if not conversation.reflector and answers_one(tvb, source, destination) then
        conversation.reflector = source
    end
    return conversation.reflector == source and REFLECTOR or SENDER
end

-- Returns the losses that a reply reveals: both numbers have advanced since the reply before it. A reflector without state
-- copies the sender's number, and then nothing tells the direction.
local function find_loss(conversation, seq, sender_seq)
    if seq ~= sender_seq then
        conversation.is_stateful = true
    end
    local last = conversation.last_reply
    local sent = last and (sender_seq - last.sender_seq) % 4294967296
    -- Late replies tell nothing, and more replies than requests neither.
    if sent and (sent == 0 or sent >= 2147483648) then
        return nil
    end
    conversation.last_reply = { seq = seq, sender_seq = sender_seq }
    local reflected = last and (seq - last.seq) % 4294967296
    if not last or reflected == 0 or reflected > sent or sent == 1 then
        return nil
    end
    if not conversation.is_stateful then
        return { unknown = sent - 1 }
    end
    return { forward = sent - reflected, backward = reflected - 1 }
end

local function track_request(packet, tvb, pinfo, layout, source, destination)
    local seq, t1 = key_of(tvb, 0, 4), key_of(tvb, layout.time, 8)
    local ssid = key_of(tvb, layout.ssid, 2)
    if t1 == "" or tvb:reported_len() < MIN_SENDER_LEN then
        return
    end
    local exchange = { number = pinfo.number, time = pinfo.rel_ts, ssid = ssid, packet = packet }
    exchanges[exchange_key(source, destination, seq, t1)] = exchange
    -- A Return Path or a Destination Port sends the reply elsewhere.
    exchanges[exchange_key("", "", seq, t1)] = exchange
    if tvb:reported_len() < layout.len or ssid == "" then
        return
    end
    local conversation = conversation_of(source, destination)
    if conversation.ssid and conversation.ssid ~= ssid then
        packet.ssid_before = conversation.ssid
        packet.ssid_frame = conversation.ssid_frame
    end
    conversation.ssid, conversation.ssid_frame = ssid, pinfo.number
end

local function track_reply(packet, tvb, pinfo, layout, source, destination)
    local seq, t1 = key_of(tvb, layout.sender_seq, 4), key_of(tvb, layout.sender_time, 8)
    if seq == "" or t1 == "" or tvb:reported_len() < MIN_REFLECTOR_LEN then
        return
    end
    local exchange = exchanges[exchange_key(destination, source, seq, t1)] or exchanges[exchange_key("", "", seq, t1)]
    if exchange then
        packet.request = exchange.number
        packet.round_trip = math.floor((pinfo.rel_ts - exchange.time) * 1000000000 + 0.5)
        packet.request_ssid = exchange.ssid
        packet.is_another = exchange.packet.reply ~= nil
        exchange.packet.reply = exchange.packet.reply or pinfo.number
    end
    local conversation = conversation_of(source, destination)
    packet.loss = find_loss(conversation, tvb(0, 4):uint(), tvb(layout.sender_seq, 4):uint())
end

-- Returns what is known of a packet from the order of all.
local function track(tvb, pinfo)
    -- A frame may hold several packets, in tunnels and in the quotations of ICMP.
    local key = pinfo.number .. " " .. tvb:offset()
    local packet = packets[key]
    if packet then
        return packet
    end
    local source, destination = ends(pinfo)
    packet = { role = find_role(tvb, pinfo, source, destination) }
    packet.mode = guess_mode(tvb, tvb:reported_len())
    packets[key] = packet
    if pinfo.in_error_pkt then
        return packet
    end
    local layout = LAYOUTS[packet.mode]
    if packet.role == SENDER then
        track_request(packet, tvb, pinfo, layout, source, destination)
    elseif packet.role == REFLECTOR then
        track_reply(packet, tvb, pinfo, layout, source, destination)
    end
    return packet
end

local function add_generated(tree, name, value)
    local item = tree:add(F[name], value)
    item:set_generated()
    return item
end

local function add_loss(tree, loss)
    for _, direction in ipairs({ "forward", "backward", "unknown" }) do
        local lost = loss[direction]
        if lost and lost > 0 then
            warn(add_generated(tree, "loss." .. direction, lost), "loss")
        end
    end
end

local function add_request_links(tree, packet, pinfo, ssid)
    if packet.reply then
        add_generated(tree, "reply_in", packet.reply)
    elseif pinfo.visited and not pinfo.in_error_pkt then
        warn(tree, "no_reply")
    end
    if packet.ssid_before then
        warn(ssid, "ssid_changed",
            string.format("The SSID was 0x%s in frame %d", packet.ssid_before:lower(), packet.ssid_frame))
    end
end

local function add_reply_links(tree, packet, ctx, ssid, t2, t3)
    local residence = t2 and t3 and nanos_between(t3, t2)
    if packet.request then
        local item = add_generated(tree, "request_in", packet.request)
        if packet.is_another then
            warn(item, "another_reply")
        end
    end
    if residence then
        local item = add_generated(tree, "residence", to_nstime(residence))
        if residence < 0 then
            warn(item, "residence")
        end
    end
    if packet.request then
        add_generated(tree, "round_trip", to_nstime(packet.round_trip))
        if residence then
            add_generated(tree, "net_round_trip", to_nstime(packet.round_trip - residence))
        end
        local got = key_of(ctx.tvb, LAYOUTS[packet.mode].ssid, 2)
        if ssid and packet.request_ssid ~= "" and got ~= packet.request_ssid then
            warn(ssid, got == "0000" and "ssid_unknown" or "ssid_differs")
        end
    end
    if packet.loss then
        add_loss(tree, packet.loss)
    end
end

--------------------------------------------------------------------------------------------------------------------------
-- The dissector
--------------------------------------------------------------------------------------------------------------------------

local function describe(packet, tvb, layout, tlvs)
    local parts = { ROLES[packet.role] }
    if packet.mode == 1 then
        parts[#parts + 1] = "authenticated"
    end
    parts[#parts + 1] = "Seq=" .. tvb(0, 4):uint()
    if packet.role == REFLECTOR and has(tvb, layout.sender_seq, 4) then
        parts[#parts + 1] = "Sender-Seq=" .. tvb(layout.sender_seq, 4):uint()
    end
    if tvb:reported_len() >= layout.len and has(tvb, layout.ssid, 2) then
        parts[#parts + 1] = string.format("SSID=0x%04x", tvb(layout.ssid, 2):uint())
    end
    if #tlvs > 0 then
        local shown = table.concat(tlvs, ",", 1, math.min(#tlvs, 8))
        parts[#parts + 1] = "TLVs=" .. shown .. (#tlvs > 8 and ",…" or "")
    end
    return table.concat(parts, " ")
end

function stamp.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "STAMP"
    local len = tvb:reported_len()
    local tree = root:add(stamp, tvb())
    local packet = track(tvb, pinfo)
    local layout = LAYOUTS[packet.mode]
    local least = packet.role == REFLECTOR and MIN_REFLECTOR_LEN or MIN_SENDER_LEN
    add_generated(tree, "role", packet.role)
    if len < least or tvb:captured_len() < 4 then
        warn(tree, len < least and "short" or "cut")
        pinfo.cols.info = ROLES[packet.role] .. " (" .. (len < least and "too short" or "cut") .. ")"
        return tvb:captured_len()
    end
    add_generated(tree, "mode", packet.mode)
    if tvb:captured_len() < len then
        warn(tree, "cut")
    end
    local ctx = { tvb = tvb, pinfo = pinfo, is_reply = packet.role ~= SENDER }
    local ssid, t2, t3
    if packet.role == REFLECTOR then
        ctx.reflector_ptp = is_ptp(tvb, layout.error_estimate)
        ctx.sender_ptp = is_ptp(tvb, layout.sender_error_estimate)
        ssid, t2, t3 = add_reflector_packet(tree, ctx, layout, len)
    else
        ctx.sender_ptp = is_ptp(tvb, layout.error_estimate)
        ctx.reflector_ptp = ctx.sender_ptp
        ssid = add_sender_packet(tree, ctx, layout, len)
    end
    local tlvs = add_tlvs(tree, ctx, layout.len, len)
    if packet.role == SENDER then
        add_request_links(tree, packet, pinfo, ssid)
    elseif packet.role == REFLECTOR then
        add_reply_links(tree, packet, ctx, ssid, t2, t3)
    end
    pinfo.cols.info = describe(packet, tvb, layout, tlvs)
    return tvb:captured_len()
end

register_ports()
DissectorTable.get("udp.port"):add_for_decode_as(stamp)
