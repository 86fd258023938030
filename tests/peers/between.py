#!/usr/bin/env python3
"""What stands between a device and its cloud: a captive portal, a box that ends TLS, or nothing but a wire.

Listens on two ports in place of the cloud's. Prints one JSON object a line; the first is `ready` with the ports. Lines on
standard input: `be MODE` for both ports, `be MODE https` or `be MODE hub` for one; `stop` (or the end of input).

MODE is
  wire            passes TCP on
  terminate       ends TLS with a certificate of its own CA, and speaks TLS with the cloud
  tls-REDIRECT    a portal behind TLS with a certificate of its own: answers every request so
  plain-REDIRECT  a portal that answers in plain HTTP to whatever comes; and so on for all of ANSWERS
Of each connection that is not merely passed on the event `met` says which mode it met and what came, decrypted.
"""

import argparse
import asyncio
import contextlib
import datetime
import logging
import os
import ssl
import sys
import tempfile
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

import pki
import wire

# Who is let down goes away at any moment.
logging.getLogger("asyncio").setLevel(logging.ERROR)

PAGE = b"<!DOCTYPE html><title>Welcome</title><p>Please log in to the hotel."
HTML = f"Content-Type: text/html\r\nContent-Length: {len(PAGE)}\r\nConnection: close\r\n"
ANSWERS = {
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example:8080/?device=1\r\nContent-Length: 0\r\n\r\n",
    "see-other": b"HTTP/1.1 303 See Other\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
    "page": f"HTTP/1.1 200 OK\r\n{HTML}\r\n".encode() + PAGE,
    "bare-page": f"HTTP/1.1 200 OK\r\nContent-Length: {len(PAGE)}\r\n\r\n".encode() + PAGE,
    "511": f"HTTP/1.1 511 Network Authentication Required\r\n{HTML}\r\n".encode() + PAGE,
    "400": f"HTTP/1.1 400 Bad Request\r\n{HTML}\r\n".encode() + PAGE,
}
CORPORATION = ("Acme Inspection CA", "firewall.acme.example")


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(addresses):
    """A context for servers, by a CA that no device knows."""
    authority, key = pki.new_key(), pki.new_key()
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives = [x509.IPAddress(pki.ipaddress.ip_address(address)) for address in addresses]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name(CORPORATION[1])).issuer_name(name(CORPORATION[0]))
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), False)
        .add_extension(x509.ExtendedKeyUsage([pki.Eku.SERVER_AUTH]), False)
        .sign(authority, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as both:
        both.write(pki.sec1_pem(key) + pki.pem(cert))
        both.flush()
        context.load_cert_chain(both.name)
    return context


class Between:
    def __init__(self, given):
        self.given = given
        self.events = wire.Events(None)
        self.modes = {"https": "wire", "hub": "wire"}
        self.targets = {"https": given.https, "hub": given.hub}
        self.context = certificate([given.bind])
        self.open = set()

    async def serve(self, port, reader, writer):
        mode = self.modes[port]
        self.open.add(writer)
        try:
            if mode == "wire":
                await self.forward(reader, writer, port, None)
            elif mode == "terminate":
                await writer.start_tls(self.context)
                there = ssl._create_unverified_context()
                await self.forward(reader, writer, port, there)
            else:
                await self.be_portal(port, mode, reader, writer)
        except (OSError, asyncio.IncompleteReadError, AttributeError):  # the last: gone before TLS began
            self.events("met", port=port, mode=mode, said="")
        finally:
            self.open.discard(writer)
            with contextlib.suppress(Exception):
                writer.close()

    async def be_portal(self, port, mode, reader, writer):
        layer, _, answer = mode.partition("-")
        if layer == "tls":
            await writer.start_tls(self.context)
        said = await reader.read(65536)
        self.events("met", port=port, mode=mode, said=said.decode("latin-1"))
        writer.write(ANSWERS[answer])
        await writer.drain()
        # Read on: the end of a connection with unread bytes is a reset, which may swallow the answer.
        with contextlib.suppress(OSError, TimeoutError):
            writer.write_eof() if writer.can_write_eof() else writer.close()
            await asyncio.wait_for(reader.read(65536), 2)

    async def forward(self, reader, writer, port, context):
        there, back = await asyncio.open_connection(self.given.to, self.targets[port], ssl=context)
        self.open.add(back)

        async def pump(source, sink, listen):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if listen:
                        self.events("met", port=port, mode="terminate", said=data.decode("latin-1"))
                    sink.write(data)
                    await sink.drain()
            with contextlib.suppress(Exception):
                sink.close()

        await asyncio.gather(pump(reader, back, context is not None), pump(there, writer, False))
        self.open.discard(back)

    async def run(self):
        lines, loop = asyncio.Queue(), asyncio.get_running_loop()

        def read():
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "stop")

        ports = {}
        for port in ("https", "hub"):
            server = await asyncio.start_server(lambda r, w, port=port: self.serve(port, r, w), self.given.bind, 0)
            ports[port] = server.sockets[0].getsockname()[1]
        self.events("ready", **ports)
        threading.Thread(target=read, daemon=True).start()
        while (line := (await lines.get()).split())[:1] == ["be"]:
            for port in line[2:] or list(self.modes):
                self.modes[port] = line[1]
            for writer in list(self.open):
                writer.transport.abort()
            self.events("did", mode=line[1])


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--to", default="127.0.0.1", help="the cloud's address")
    parser.add_argument("--https", type=int, required=True, help="the cloud's ports")
    parser.add_argument("--hub", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(Between(options()).run())
    os._exit(0)
