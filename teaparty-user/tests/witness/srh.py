"""Prints what the first IPv6 packet with a routing header on an interface says, sharing nothing with the project.

Arguments: interface. Prints "listening" first, then a line of JSON. The UDP checksum is summed for the last segment.
"""

import ipaddress
import json
import socket
import struct
import sys


def checksum(octets):
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
link.bind((sys.argv[1], 0))
link.settimeout(10)
print("listening", flush=True)
while True:
    packet = link.recv(65535)[14:]
    if packet[6] == 43:
        break
routing = packet[40:]
length = 8 + 8 * routing[1]
segments = [routing[8 + 16 * n : 24 + 16 * n] for n in range(routing[4] + 1)]
udp = routing[length:]
pseudo = packet[8:24] + segments[0] + struct.pack("!IHBB", len(udp), 0, 0, 17)
text = lambda octets: str(ipaddress.ip_address(octets))
print(
    json.dumps(
        {
            "destination": text(packet[24:40]),
            "hop_limit": packet[7],
            "routing_type": routing[2],
            "segments_left": routing[3],
            "length": length,
            "next_header": routing[0],
            "segments": [text(s) for s in segments],
            "checksum_right": checksum(pseudo + udp) == 0xFFFF,
            "payload_length_right": struct.unpack("!H", packet[4:6])[0] == len(packet) - 40,
        }
    )
)
