#!/usr/bin/env python3
"""A name server on 127.0.0.1 that knows one address for every name: `nameserver.py ADDRESS`."""

import socket
import struct
import sys

HEAD_BYTES, IPV4, INTERNET = 12, 1, 1

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("bound", file=sys.stderr, flush=True)
while True:
    question, asker = server.recvfrom(512)
    end = question.index(b"\0", HEAD_BYTES) + 5  # the name, its type, its class
    (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
    answers = b""
    if kind == IPV4:
        # The name is the one that the question has at its beginning.
        answers = struct.pack(">HHHIH", 0xC000 | HEAD_BYTES, IPV4, INTERNET, 1, 4) + socket.inet_aton(sys.argv[1])
    head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1 if answers else 0, 0, 0)
    server.sendto(head + question[HEAD_BYTES:end] + answers, asker)
