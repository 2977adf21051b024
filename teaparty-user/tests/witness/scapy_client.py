"""A STAMP exchange with scapy's layer as the client. Arguments: address and port of the reflector. Exits 1 where a field is wrong."""

import socket
import sys
import time

from scapy.contrib.stamp import (
    STAMPSessionReflectorTestUnauthenticated as Reflected,
    STAMPSessionSenderTestUnauthenticated as Test,
    STAMPTestTLV,
)

NTP = 2208988800

address, port = sys.argv[1], int(sys.argv[2])
link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
link.settimeout(2)
link.connect((address, port))
for number in range(3):
    # Numbers 0, 2, 4: a stateful reflector numbers its replies itself.
    now = time.time() + NTP
    sent = Test(seq=2 * number, ts=now, ssid=0x1234, tlv_objects=[STAMPTestTLV(type=200, len=4, value=b"abcd")])
    link.send(bytes(sent))
    octets = link.recv(2048)
    got = Reflected(octets)
    again = Test(bytes(sent))
    assert len(octets) == len(bytes(sent)), (len(octets), len(bytes(sent)))
    assert got.seq == number and got.seq_sender == 2 * number, (got.seq, got.seq_sender)
    assert got.ssid == 0x1234 and got.ts_sender == again.ts, got.ssid
    assert abs(got.ts_rx - now) < 5 and got.ts >= got.ts_rx, (got.ts_rx, got.ts, now)
    assert got.err_estimate.multiplier != 0 and got.err_estimate.Z == 0
    assert got.ttl_sender > 0 and got.mbz1 == 0 and got.mbz2 == 0, got.ttl_sender
    tlv = got.tlv_objects[0]
    assert tlv.type == 200 and bytes(tlv)[0] & 0x80 and bytes(tlv)[4:] == b"abcd", bytes(tlv)
    assert bytes(got) == octets, "scapy builds what it has parsed"
print("scapy agrees")
