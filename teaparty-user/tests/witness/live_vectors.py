"""Sends vectors as raw frames from one end of a veth pair and judges what comes back, sharing nothing with the project.

Arguments: vectors.json, interface, destination MAC, VLAN tags in hex or -, then the ids of the vectors. Prints a line for
each, exits 1 where one fails.
Python's hmac is the outside witness for digests.
"""

import hashlib
import hmac
import ipaddress
import json
import socket
import struct
import sys
import time

PATIENCE = 1.5
SILENCE = 0.4
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10


def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(src, dst, length):
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, 17, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, 17)


def udp(src, dst, sport, dport, payload):
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    value = checksum(pseudo(src, dst, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", value) + payload


def request(ctx, payload, mac, tags):
    src, dst = ipaddress.ip_address(ctx["src"]), ipaddress.ip_address(ctx["dst"])
    datagram = udp(src.packed, dst.packed, ctx["sport"], ctx["dport"], payload)
    tos = ctx["dscp"] << 2 | ctx["ecn"]
    ethernet = mac + bytes.fromhex(ctx["smac"]) + tags
    if src.version == 4:
        if ctx["ip_hdr"]:
            # The vector's own header, with the length and checksum of this very packet.
            head = bytearray.fromhex(ctx["ip_hdr"])
            head[2:4] = struct.pack("!H", 20 + len(datagram))
        else:
            head = bytearray(struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(datagram), 7, 0x4000, ctx["ttl"], 17, 0) + src.packed + dst.packed)
        head[10:12] = b"\0\0"
        head[10:12] = struct.pack("!H", checksum(bytes(head)))
        return ethernet + b"\x08\x00" + bytes(head) + datagram, bytes(head)
    extensions = b"".join(bytes.fromhex(e) for e in ctx["ext_hdrs"])
    next_header = 0 if extensions else 17
    head = struct.pack("!IHBB", 6 << 28 | tos << 20, len(extensions) + len(datagram), next_header, ctx["ttl"]) + src.packed + dst.packed
    return ethernet + b"\x86\xdd" + head + extensions + datagram, head


def parse(frame):
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[14] == 0x45 and frame[23] == 17:
        total = struct.unpack("!H", frame[16:18])[0]
        return frame[26:30], frame[30:34], frame[15], frame[22], frame[34:14 + total], checksum(frame[14:34]) == 0
    if kind == b"\x86\xdd" and frame[20] == 17:
        length = struct.unpack("!H", frame[18:20])[0]
        tos = struct.unpack("!I", frame[14:18])[0] >> 20 & 0xFF
        return frame[22:38], frame[38:54], tos, frame[21], frame[54:54 + length], True
    return None


def whole_frame(link):
    """The next frame, with the outer VLAN tag that the kernel may have taken out of it (packet(7), PACKET_AUXDATA)."""
    frame, ancillary, _, _ = link.recvmsg(65535, 256)
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return frame


def answers(ctx, payload, datagram):
    """Whether a datagram is a reply to this request: from the port asked, and with the request's number and T1 in it."""
    reply, base = datagram[8:], payload.ljust(112, b"\0")
    number, sent, sender_number, sender_t1 = (0, 16, 48, 64) if ctx["auth"] else (0, 4, 24, 28)
    echoed = reply[sender_number : sender_number + 4] + reply[sender_t1 : sender_t1 + 8]
    return datagram[:2] == struct.pack("!H", ctx["dport"]) and echoed == base[number : number + 4] + base[sent : sent + 8]


def replies(link, ctx, payload, sent, wanted, tags):
    """What comes back within the time, as (IP facts, payload)."""
    found = []
    end = time.monotonic() + (PATIENCE if wanted else SILENCE)
    while time.monotonic() < end and len(found) < max(wanted, 1):
        link.settimeout(max(end - time.monotonic(), 0.001))
        try:
            frame = whole_frame(link)
        except TimeoutError:
            break
        if frame == sent or frame[12 : 12 + len(tags)] != tags:
            continue
        parsed = parse(frame[:12] + frame[12 + len(tags) :])
        if parsed and answers(ctx, payload, parsed[4]):
            found.append((frame, parsed))
    return found


def hmac_tlv(ctx, reply):
    """Where the HMAC TLV begins."""
    at = 112 if ctx["auth"] else 44
    while reply[at + 1] != 8:
        at += 4 + struct.unpack("!H", reply[at + 2 : at + 4])[0]
    return at


def earlier(ctx, payload):
    """The exchanges that the context has the reflector remember, oldest first: Sequence Number and T1 of each."""
    if ctx["history"]:
        # Reflector's number, sender's number, T2, T1, T3.
        entries = [bytes.fromhex(entry) for entry in reversed(ctx["history"])]
        return [(entry[4:8], entry[16:24]) for entry in entries]
    count = 0
    if ctx["last"]:
        count = ctx["last"][0] + 1
    elif payload[45:46] == b"\x05":
        count = ctx["tx"]
    return [(struct.pack("!I", number), payload[4:12]) for number in range(count)]


def rehearse(ctx, payload, mac, link, tags):
    """Has them happen; returns their replies, or None where one of them is not answered."""
    found = []
    for number, t1 in earlier(ctx, payload):
        this = number + t1 + payload[12:44]
        sent, _ = request(ctx, this, mac, tags)
        link.send(sent)
        answered = replies(link, ctx, this, sent, 1, tags)
        if len(answered) != 1:
            return None
        found.append(answered[0][1][4][8:])
    return found


def remembered(wanted, before):
    """The expected reply with the times of the exchanges that did happen, T2 and T3, in place of the vector's."""
    kind = wanted[45:46]
    if kind == b"\x05":
        # A reflector that counts packets numbers its replies too; the vector has a stateless number.
        wanted = struct.pack("!I", len(before)) + wanted[4:]
    if kind == b"\x07" and before:
        wanted = wanted[:52] + before[-1][4:12] + wanted[60:]
    if kind == b"\xf4":
        for place, reply in enumerate(reversed(before)):
            at = 48 + 32 * place
            wanted = wanted[: at + 8] + reply[16:24] + wanted[at + 16 : at + 24] + reply[4:12] + wanted[at + 32 :]
    return wanted


def judge(vector, mac, link, tags):
    ctx, payload = vector["ctx"], bytes.fromhex(vector["sender_hex"])
    before = rehearse(ctx, payload, mac, link, tags)
    if before is None:
        return "an exchange that was to be remembered did not happen"
    sent, header = request(ctx, payload, mac, tags)
    link.send(sent)
    expected = []
    if vector["expect"] != "drop":
        expected = [bytes.fromhex(h) for h in [vector["reply_hex"], *vector.get("more_replies_hex", [])]]
    found = replies(link, ctx, payload, sent, len(expected), tags)
    if len(found) != len(expected):
        return f"{len(found)} replies instead of {len(expected)}"
    mask = bytes.fromhex(vector.get("mask_hex", ""))
    for (frame, (src, dst, tos, ttl, datagram, header_ok)), wanted in zip(found, expected):
        if frame[:6].hex() != ctx["smac"]:
            return "the frame does not go back to the sender"
        if ttl != 255 or not header_ok:
            return f"TTL {ttl}, header checksum right: {header_ok}"
        reply, way = datagram[8:], vector["reply_ip"]
        # Sent by a socket, as a reply to another address is, the veth leaves the checksum for a device to fill in.
        is_left = way["dst"] != ctx["src"] and datagram[6:8] == struct.pack("!H", ~checksum(pseudo(src, dst, len(datagram))) & 0xFFFF)
        if datagram[6:8] != b"\0\0" and not is_left and checksum(pseudo(src, dst, len(datagram)) + datagram) != 0:
            return "UDP checksum is wrong"
        if src != ipaddress.ip_address(way["src"]).packed or dst != ipaddress.ip_address(way["dst"]).packed:
            return f"goes from {ipaddress.ip_address(src)} to {ipaddress.ip_address(dst)}"
        if struct.unpack("!H", datagram[2:4])[0] != way["dport"]:
            return "goes to another port"
        if way["dscp"] and tos != way["dscp"] << 2 | way["ecn"]:
            return f"TOS {tos:#x}"
        if len(reply) != len(wanted):
            return f"{len(reply)} octets instead of {len(wanted)}"
        if len(before) > 0:
            wanted = remembered(wanted, before)
        if ctx["ip_hdr"]:
            # The header that was sent differs from the vector's in length and checksum, and comes back as it was sent.
            wanted = wanted.replace(bytes.fromhex(ctx["ip_hdr"]), header)
        if "tlv" in vector.get("verify", []):
            # Recomputed below: it covers the Synchronization Source.
            mask = mask[: hmac_tlv(ctx, reply) + 4] + bytes(16) + mask[hmac_tlv(ctx, reply) + 20 :]
        # The clock of this machine is not synchronised, that of the vectors is: Synchronization Source is 5, not 1.
        for at, (w, g, m) in enumerate(zip(wanted, reply, mask)):
            if (w ^ g) & m and not (vector["id"] in ("V35", "V57", "V23") and (w, g) == (1, 5)):
                return f"octet {at}: expected {w:02x}, got {g:02x}, mask {m:02x}: {reply.hex()}"
        key = bytes.fromhex(ctx.get("key") or "")
        if "base" in vector.get("verify", []) and hmac.new(key, reply[:96], hashlib.sha256).digest()[:16] != reply[96:112]:
            return "HMAC of the base packet is wrong"
        if "tlv" in vector.get("verify", []):
            base, at = (112 if ctx["auth"] else 44), hmac_tlv(ctx, reply)
            covered = reply[:4] + reply[base:at]
            if hmac.new(bytes.fromhex(ctx["tkey"]), covered, hashlib.sha256).digest()[:16] != reply[at + 4:at + 20]:
                return "HMAC TLV is wrong"
    return None


def main():
    path, interface, mac, tags, *ids = sys.argv[1:]
    tags = bytes.fromhex(tags) if tags != "-" else b""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    link.bind((interface, 0))
    with open(path) as file:
        vectors = {v["id"]: v for v in json.load(file)["vectors"]}
    failed = 0
    for name in ids:
        trouble = judge(vectors[name], bytes.fromhex(mac.replace(":", "")), link, tags)
        print(name, trouble or "ok", flush=True)
        failed += trouble is not None
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
