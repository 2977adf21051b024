"""Forges one test packet that seems to come from another reflector, and counts the test packets that follow from it.

Arguments: interface, source MAC, destination MAC, source and destination IPv4 address. Prints the number of UDP packets seen
from port 862 to port 862 in a second, the forged one included.
"""

import ipaddress
import socket
import struct
import sys
import time

from live_vectors import checksum, udp

interface, source_mac, destination_mac, source, destination = sys.argv[1:]
src, dst = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
datagram = udp(src, dst, 862, 862, bytes(44))
head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 7, 0x4000, 64, 17, 0) + src + dst
head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
macs = bytes.fromhex((destination_mac + source_mac).replace(":", ""))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind((interface, 0))
link.settimeout(0.1)
link.send(macs + b"\x08\x00" + head + datagram)
seen, end = 0, time.monotonic() + 1
while time.monotonic() < end:
    try:
        frame = link.recv(65535)
    except TimeoutError:
        continue
    seen += frame[12:14] == b"\x08\x00" and frame[34:38] == struct.pack("!HH", 862, 862)
print(max(seen, 1))
