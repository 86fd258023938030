#!/usr/bin/env python3
"""An edge that speaks QUIC by a library that shares no code with ours: opens a tunnel, pings, says goodbye.

Exit code 0: all went as docs/protocol.md says. 3: the cloud refused it, which is told as JSON. 1: the cloud did
something else.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

SECONDS = 20
PROJECT = "e632aba927ea4ac2b575ec1603d56f10"


class Refused(Exception):
    """The cloud said no."""


class Edge(QuicConnectionProtocol):
    """Notes why a connection ended."""

    ended = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = f"{event.error_code:#x} {event.reason_phrase}"
        super().quic_event_received(event)


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hub", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--dir", required=True, help="where server.key, server.crt and ca.crt are")
    parser.add_argument("--alpn", default="kubeedge/1")
    parser.add_argument("--no-identity", action="store_true")
    return parser.parse_args()


async def main(given):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[given.alpn])
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.load_verify_locations(os.path.join(given.dir, "ca.crt"))
    if not given.no_identity:
        configuration.load_cert_chain(os.path.join(given.dir, "server.crt"), os.path.join(given.dir, "server.key"))
    host, port = given.hub.rsplit(":", 1)
    try:
        async with connect(host, int(port), configuration=configuration, create_protocol=Edge) as edge:
            await edge.wait_connected()
            await tunnel(edge, given.node)
    except ConnectionError as error:
        raise Refused(str(error)) from error


async def tunnel(edge, node):
    reader, writer = await edge.create_stream()
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /{PROJECT}/{node}/events HTTP/1.1\r\nHost: cloud\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nNode_id: {node}\r\nProject_id: {PROJECT}\r\n"
        "Connectionuse: msg\r\n\r\n"
    )
    writer.write(head.encode())
    try:
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError as error:
        raise Refused(edge.ended or "the stream ended") from error
    status, *lines = answer.split("\r\n")
    if " 101 " not in status:
        raise Refused(status)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert headers["sec-websocket-accept"] == accept, headers
    assert headers["kubeedge-session"] == "replace-safe", headers

    writer.write(frame(9, b"are you there"))
    assert await answer_to(reader, 10) == b"are you there"
    # One stream is all there is: a second one is never answered, and may not even be opened.
    assert edge._quic._remote_max_streams_bidi == 1
    assert edge._quic._remote_max_streams_uni == 0
    writer.write(frame(8, (1000).to_bytes(2, "big")))
    print(json.dumps({"event": "done", "code": int.from_bytes((await answer_to(reader, 8))[:2], "big")}))


async def answer_to(reader, wanted):
    """The payload of the next frame of this kind; messages in between are the cloud's own business."""
    while True:
        opcode, length = await reader.readexactly(2)
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        payload = await reader.readexactly(length)
        if opcode == 0x80 | wanted:
            return payload
        assert opcode == 0x81, opcode


def frame(opcode, payload):
    """A masked frame of at most 125 bytes."""
    mask = os.urandom(4)
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(main(options()), SECONDS))
    except Refused as refused:
        print(json.dumps({"event": "refused", "why": str(refused)}))
        sys.exit(3)
