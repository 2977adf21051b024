#!/usr/bin/env python3
"""A TWAMP-Light reflector (RFC 5357 Appendix I) that knows nothing of STAMP and shares no code with us.

    twamp_light.py OCTETS LOST_THERE LOST_BACK

OCTETS of the reply's header: 41 as in RFC 5357 section 4.2.1, or 38, as reflectors have it that leave out the TTL and the
two octets before it. The request with the number LOST_THERE, from 0, gets no number and no reply; the one with the number
LOST_BACK gets a number, and no reply. Prints its port, and answers on 127.0.0.1 until it is killed.
"""

import socket
import struct
import sys
import time

EPOCH = 2208988800  # 1970 in seconds since 1900
IP_RECVTTL = 12  # of Linux; Python has no name for it


def ntp(nanoseconds):
    seconds, rest = divmod(nanoseconds, 10**9)
    return struct.pack("!II", seconds + EPOCH, (rest << 32) // 10**9)


def main():
    header, lost_there, lost_back = (int(word) for word in sys.argv[1:4])
    reflector = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reflector.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    reflector.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    reflector.bind(("127.0.0.1", 0))
    print(reflector.getsockname()[1], flush=True)
    requests = number = 0
    while True:
        request, control, _, sender = reflector.recvmsg(65535, 64)
        received = time.time_ns()
        this = requests
        requests += 1
        if len(request) < 14 or this == lost_there:
            continue
        ttl = next(data for level, kind, data in control if (level, kind) == (socket.IPPROTO_IP, socket.IP_TTL))
        # Sequence Number, Timestamp, Error Estimate, MBZ, Receive Timestamp, and what the sender sent of these.
        reply = struct.pack("!I", number) + ntp(time.time_ns()) + b"\x00\x01" + b"\x00\x00" + ntp(received) + request[:14]
        if header == 41:
            reply += b"\x00\x00" + bytes([struct.unpack("i", ttl[:4])[0]])
        number += 1
        if this == lost_back:
            continue
        # Packet Padding, so that the reply is as long as the request.
        reply += request[len(reply) :]
        reflector.sendto(reply, sender)


main()
