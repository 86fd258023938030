"""A cloud that answers wrongly, one misdeed at a time: `be PORT MISDEED [PATH]` on cloud.py's standard input.

PORT is `https` or `hub`; the misdeed `good` makes it behave again. On `https` the misdeeds of `TCP` come before TLS,
those of `ANSWERS` instead of the answer to PATH. On `hub` those of `TCP` come before TLS, `WELCOMES` instead of the 101,
`FRAMES` behind it. Each time one is done the event `misdeed` says so.
"""

import asyncio
import contextlib
import gzip
import logging
import socket
import struct

from websockets.utils import accept_key

import pki
import wire

# Who is done a misdeed goes away at any moment.
logging.getLogger("asyncio").setLevel(logging.ERROR)

REDIRECT = "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n"
OK = "HTTP/1.1 200 OK\r\n"
TRAP = "/trap"  # nobody who does not follow redirects asks for it
INJECTION = "\x1b[2J\x1b]0;owned\x07\r\nerror hub: INJECTED LINE\u202e"


class Peer:
    """One connection that a misdeed is done to."""

    def __init__(self, cloud, reader, writer, request=None, body=b""):
        self.cloud, self.reader, self.writer, self.request, self.body = cloud, reader, writer, request, body

    async def say(self, data):
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data.encode("latin-1", "replace") if isinstance(data, str) else data)
        await self.writer.drain()

    async def for_ever(self, data, pause=0.0):
        """Until the other side has had enough."""
        while True:
            await self.say(data)
            await asyncio.sleep(pause)

    async def hold(self):
        """Reads, so that the end of the other side is noticed, and says nothing."""
        while await self.reader.read(65536):
            pass

    def certificate(self):
        """A good certificate for what is asked, or the CA, in DER."""
        if not self.body:
            return pki.der(self.cloud.authority.cert)
        csr = pki.x509.load_der_x509_csr(self.body)
        subject = pki.organization_and_name(csr.subject)
        return pki.der(self.cloud.authority.sign(csr.public_key(), subject, 86400, [pki.CLIENT_AUTH]))

    def shut(self):
        """FIN without TLS's farewell; the other direction stays open."""
        self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def reset(self):
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


def answer(status, body="", *headers, length=None):
    body = body.encode() if isinstance(body, str) else body
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def says(make):
    """A misdeed that is one answer and the end of the connection."""
    async def misdeed(peer):
        data = make(peer) if callable(make) else make
        await peer.say(data)
    return misdeed


async def drip_head(peer):
    await peer.say(OK)
    await peer.for_ever("X", 0.05)


async def drip_body(peer):
    await peer.say(answer(200, b"\x30", length=600))
    await peer.for_ever("0", 0.1)


async def endless_head(peer):
    await peer.say(OK)
    await peer.for_ever("X-More: and more\r\n" * 100)


async def endless_line(peer):
    await peer.say(OK + "X-More: ")
    await peer.for_ever("more" * 1000)


async def endless_body(peer):
    await peer.say(OK + "Transfer-Encoding: chunked\r\n\r\n")
    await peer.for_ever("1000\r\n" + "0" * 4096 + "\r\n")


async def endless_interim(peer):
    await peer.for_ever("HTTP/1.1 100 Continue\r\n\r\n" * 50)


async def endless_until_close(peer):
    await peer.say(OK + "\r\n")
    await peer.for_ever("0" * 4096)


async def silent(peer):
    await peer.hold()


async def half_close(peer):
    peer.shut()
    await peer.hold()


async def reset(peer):
    peer.reset()


def bomb(size):
    return gzip.compress(b"\0" * size, 9)


async def endless_bomb(peer):
    """Ten GiB of zeros, in about ten MiB."""
    await peer.say(OK + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = bomb(1 << 26)
    for _ in range(160):
        await peer.say(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


ANSWERS = {
    "html": says(answer(200, "<html><body>Please log in to the hotel</body></html>", "Content-Type: text/html")),
    "empty": says(answer(200)),
    "redirect-http": says(REDIRECT.format("http://127.0.0.1:80" + TRAP)),
    "redirect-host": says(lambda peer: REDIRECT.format(f"https://127.0.0.1:{peer.cloud.ports[0]}{TRAP}")),
    "redirect-path": says(REDIRECT.format(TRAP)),
    "status-500": says(answer(500, "it broke")),
    "status-404": says(answer(404, "no such page")),
    "status-401": says(answer(401, "who are you")),
    "status-403": says(answer(403, "not you")),
    "status-409": says(answer(409, "taken")),
    "status-204": says("HTTP/1.1 204 No Content\r\n\r\n"),
    "status-999": says(answer(999, "?")),
    "busy": says(answer(429, "later", "Retry-After: 1")),
    "busy-for-an-hour": says(answer(503, "later", "Retry-After: 3600")),
    "busy-for-ever": says(answer(503, "later", "Retry-After: 99999999999999999999")),
    "busy-negative": says(answer(429, "later", "Retry-After: -1")),
    "busy-words": says(answer(503, "later", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT")),
    "injection": says(answer(500, INJECTION.encode())),
    "gzip-small": says(answer(200, bomb(1 << 25), "Content-Encoding: gzip")),
    "gzip-huge": endless_bomb,
    "length-huge": says(answer(200, "0", length=2**63 - 1)),
    "length-overflow": says(answer(200, "0", length=2**64)),
    "length-negative": says(answer(200, "0", length=-1)),
    "length-two": says(answer(200, "0", "Content-Length: 3")),
    "length-short": says(lambda peer: answer(200, peer.certificate(), length=4000)),
    "chunk-garbage": says(OK + "Transfer-Encoding: chunked\r\n\r\nzz\r\nwhat\r\n"),
    "chunk-huge": says(OK + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n0"),
    "not-http": says("SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "binary": says(bytes(range(256)) * 8),
    "http-2": says(b"\0\0\x12\x04" + b"\0" * 23),
    "headers-many": says(OK + "".join(f"X-{n}: y\r\n" for n in range(10000)) + "\r\n"),
    "header-nul": says(OK + "X: a\0b\x1b[2J\r\nContent-Length: 0\r\n\r\n"),
    "cut-head": says("HTTP/1.1 200 O"),
    "cut-at-once": says(b""),
    "half-close": half_close,
    "reset": reset,
    "der-truncated": says(lambda peer: answer(200, peer.certificate()[:-7])),
    "der-trailing": says(lambda peer: answer(200, peer.certificate() + b"\0")),
    "der-twice": says(lambda peer: answer(200, peer.certificate() * 2)),
    "der-bent": says(lambda peer: answer(200, bytes([*peer.certificate()[:-1], peer.certificate()[-1] ^ 1]))),
    "der-long": says(answer(200, b"\x30\x84\xff\xff\xff\xff" + b"\0" * 60000)),
    "endless-head": endless_head,
    "endless-line": endless_line,
    "endless-body": endless_body,
    "endless-interim": endless_interim,
    "endless-until-close": endless_until_close,
    "drip-head": drip_head,
    "drip-body": drip_body,
    "silent": silent,
}

# --- before TLS -----------------------------------------------------------------------------------------------------

ALERT = b"\x15\x03\x03\x00\x02\x02"  # fatal; the next byte says which


async def half_hello(peer):
    """A server hello that announces more than comes."""
    await peer.say(b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc\x03\x03" + b"\x07" * 40)


async def endless_hello(peer):
    await peer.for_ever(b"\x16\x03\x03\x40\x00\x0b\x00\xff\xff" + b"\0" * 16379)


TCP = {
    "tls-silent": silent,
    "tls-close": says(b""),
    "tls-reset": reset,
    "tls-garbage": says(bytes(range(255, 0, -1)) * 4),
    "tls-alert-internal": says(ALERT + b"\x50"),
    "tls-alert-version": says(ALERT + b"\x46"),
    "tls-alert-access": says(ALERT + b"\x31"),
    "tls-alert-unknown": says(ALERT + b"\xf7"),
    "tls-alert-farewell": says(b"\x15\x03\x03\x00\x02\x01\x00"),
    "tls-plain-http": says(answer(400, "Client sent an HTTP request to an HTTPS server.")),
    "tls-half-hello": half_hello,
    "tls-endless-hello": endless_hello,
    "tls-long-record": says(b"\x16\x03\x03\xff\xff" + b"\0" * 65535),
}

# --- the hub --------------------------------------------------------------------------------------------------------

UPGRADE = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

WELCOMES = {
    "accept-wrong": says(UPGRADE + "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"),
    "accept-missing": says(UPGRADE + "\r\n"),
    "upgrade-missing": says("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "welcome-200": says(answer(200, "<html>a page</html>")),
    "welcome-redirect": says(REDIRECT.format("https://127.0.0.1" + TRAP)),
    "welcome-403": says(answer(403, "not you")),
    "welcome-500": says(answer(500, "it broke")),
    "welcome-busy": says(answer(503, "later", "Retry-After: 99999999999999999999")),
    "welcome-injection": says(answer(500, INJECTION.encode())),
    "welcome-garbage": says(bytes(range(256))),
    "welcome-cut": says("HTTP/1.1 101 Swi"),
    "welcome-endless": endless_head,
    "welcome-endless-line": endless_line,
    "welcome-interim": endless_interim,
    "welcome-many": says(UPGRADE + "".join(f"X-{n}: y\r\n" for n in range(10000)) + "\r\n"),
    "welcome-silent": silent,
    "welcome-reset": reset,
}


def frame(opcode, data=b"", *, fin=True, mask=False, length=None):
    data = data.encode() if isinstance(data, str) else data
    length = len(data) if length is None else length
    head = bytes([fin << 7 | opcode])
    bit = mask << 7
    if length < 126:
        head += bytes([bit | length])
    elif length < 1 << 16:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    return head + (b"\0\0\0\0" if mask else b"") + data


def text(value):
    return frame(1, value if isinstance(value, (bytes, str)) else wire.encode(value))


def message(operation="dance", resource="a/b/c", content="x"):
    return wire.message(operation, resource, content, source="cloudhub")


async def flood(peer, piece, seconds, at_least=0):
    """As much as the other side takes for so long; says how much that was."""
    # What waits between the two is worked off before the end is noticed.
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    count, until = 0, asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until or count < at_least:
        await peer.say(piece)
        count += 1
        await asyncio.sleep(0)
    peer.cloud.events("flooded", pieces=count, size=count * len(piece))
    await peer.hold()


def floods(piece, seconds=2, at_least=0):
    async def misdeed(peer):
        await flood(peer, piece() if callable(piece) else piece, seconds, at_least)
    return misdeed


def sends(*pieces):
    """Frames, and then nothing."""
    async def misdeed(peer):
        for piece in pieces:
            await peer.say(piece)
        await peer.hold()
    return misdeed


async def fragments_for_ever(peer):
    await peer.say(frame(1, "{", fin=False))
    await peer.for_ever(frame(0, " " * 60000, fin=False))


async def deaf_and_asking(peer):
    """Questions without end from somebody who reads no answer."""
    peer.writer.transport.pause_reading()
    await peer.for_ever(text(message("ping", "a" * 4000)) * 16)


async def empty_fragments(peer):
    """Pieces of one message, all of them empty: no bound on its size ends this."""
    await peer.say(frame(1, "{}", fin=False))
    await flood(peer, frame(0, fin=False) * 1000, 2)


def closes(code, reason=b""):
    return sends(frame(8, struct.pack(">H", code) + reason))


DEEP = "[" * 10000 + "]" * 10000
WRONG_TYPES = [
    [], "text", 7, None, {"header": 7}, {"route": []}, {"header": {"msg_id": 7}}, {"header": {"timestamp": "now"}},
    {"header": {"sync": "yes"}}, {"route": {"resource": {}}}, {"header": {"timestamp": 1e300}},
]

FRAMES = {
    # These end the session.
    "frame-4gib": sends(frame(2, b"abc", length=1 << 32)),
    "frame-2e63": sends(frame(1, b"abc", length=(1 << 63) - 1)),
    "frame-top-bit": sends(frame(1, b"abc", length=(1 << 64) - 1)),
    "frame-masked": sends(frame(1, "{}", mask=True)),
    "frame-reserved": sends(b"\xf1\x02{}"),
    "frame-opcode": sends(b"\x83\x02{}"),
    "not-utf8": sends(frame(1, b"\xff\xfe{}")),
    "fragments-for-ever": fragments_for_ever,
    "fragment-first": sends(frame(0, "{}")),
    "fragment-nested": sends(frame(1, "{", fin=False) + frame(1, "{")),
    "ping-long": sends(frame(9, b"x" * 126)),
    "ping-fragmented": sends(frame(9, b"x", fin=False)),
    "close-normal": closes(1000),
    "close-away": closes(1001, b"going"),
    "close-policy": closes(1008),
    "close-error": closes(1011),
    "close-private": closes(4999, b"private"),
    "close-forbidden": closes(1005),
    "close-zero": closes(0),
    "close-injection": closes(1011, INJECTION.encode()[:120]),
    "close-not-utf8": closes(1011, b"\xff\xff"),
    "close-cut": sends(b"\x88\x01\x03"),
    "half-close": half_close,
    "reset": reset,
    "deaf-and-asking": deaf_and_asking,
    # These do not.
    "wrong-types": sends(*(text(wire.json.dumps(value)) for value in WRONG_TYPES)),
    "not-json": sends(text("{"), text(""), text("\0"), frame(2, bytes(range(256)))),
    "deep-content": sends(text('{"header":{"msg_id":"d"},"route":{"source":"cloudhub","group":"resource","operation":"update",'
                               '"resource":"default/configmap/deep"},"content":' + DEEP + "}")),
    "deep-header": sends(text('{"header":{"deep":' + DEEP + "}}"), text(DEEP), text('{"a":' * 10000)),
    "wrong-ids": sends(*(text({**message(), "header": header}) for header in (
        {"msg_id": ""}, {"msg_id": "x" * 100000}, {"msg_id": "a", "parent_msg_id": "never sent"},
        {"msg_id": "b", "parent_msg_id": "b"}, {"msg_id": INJECTION}))),
    "other-node": sends(text(message("update", "default/node/another")), text(message("delete", "../../../etc/passwd"))),
    "ping-flood": floods(frame(9, b"are you there") * 200),
    "pong-flood": floods(frame(10) * 500),
    "message-flood": floods(lambda: text(message()) * 100, at_least=1000),
    "question-flood": floods(lambda: text(message("ping")) * 50),
    "garbage-flood": floods(text("{no") * 400),
    "empty-fragments": empty_fragments,
    "big-messages": floods(lambda: text(message(content="x" * 1_000_000))),
}


class Misdeeds:
    """What each port does at the moment; `cloud` is told of every deed."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.names, self.path = {"https": "good", "hub": "good"}, ""
        self.open = set()

    async def be(self, port, name, path=""):
        assert name == "good" or name in self.table(port), f"no misdeed {name!r} on {port}"
        self.names[port], self.path = name, path
        for peer in list(self.open):
            peer.writer.transport.abort()
        await self.cloud.listen_again(port)

    @staticmethod
    def table(port):
        return {**TCP, **(ANSWERS if port == "https" else {**WELCOMES, **FRAMES})}

    async def listen(self, port, bind, number, context):
        """A listener of our own where one is needed, else none."""
        name = self.names[port]
        if name in TCP:
            return await asyncio.start_server(self.before_tls(port, TCP[name]), bind, number)
        if port == "hub" and name != "good":
            return await asyncio.start_server(self.as_hub, bind, number, ssl=context)
        return None

    def before_tls(self, port, misdeed):
        async def serve(reader, writer):
            self.cloud.events("misdeed", port=port, name=self.names[port])
            await self.do(misdeed, Peer(self.cloud, reader, writer))
        return serve

    async def instead_of_answer(self, request, body, reader, writer):
        """Whether this request met a misdeed, which then is done."""
        name = self.names["https"]
        if request.path == TRAP:
            self.cloud.judge("followed-a-redirect", request.path)
        if name not in ANSWERS or request.path != self.path:
            return False
        self.cloud.events("misdeed", port="https", name=name)
        await self.do(ANSWERS[name], Peer(self.cloud, reader, writer, request, body))
        return True

    async def as_hub(self, reader, writer):
        name = self.names["hub"]
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            return writer.close()
        self.cloud.events("misdeed", port="hub", name=name)
        peer = Peer(self.cloud, reader, writer)
        if name in WELCOMES:
            return await self.do(WELCOMES[name], peer)
        key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n")
                   if line.lower().startswith(b"sec-websocket-key:"))
        await peer.say(UPGRADE + f"Sec-WebSocket-Accept: {accept_key(key.decode())}\r\n\r\n")
        return await self.do(FRAMES[name], peer)

    async def do(self, misdeed, peer):
        self.open.add(peer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
            await misdeed(peer)
        self.open.discard(peer)
        with contextlib.suppress(Exception):
            peer.writer.close()
