#!/usr/bin/env python3
"""An edge as KubeEdge's behaves, for our cloudcore: joins, connects, renews, and checks every answer.

  join     fetch the CA, pin it by the token, get a certificate, write it under --dir
  tunnel   connect with what --dir holds; hold --hold seconds, or until `stop` or the end of input
           (other lines: `ping`, `query RESOURCE`, `send JSON`, `drop`)
  rotate   renew over mTLS
  tour     all of these: renews while the tunnel is up and moves over

Prints one JSON object a line. Exit: 0 all was as upstream's edge expects (with --sabotage: the
cloud took it), 1 it was not, 3 the cloud refused the sabotage.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import http.client
import os
import ssl
import sys
import time

from cryptography import x509
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

import pki
import wire
from edge_tunnel import Refused, Tunnel, Wrong

CA_LIMIT = 1 << 20

JOIN_SABOTAGES = {
    "csr-other-node", "csr-masters", "csr-no-name", "csr-bad-signature", "csr-pem", "csr-trailing",
    "no-nodename", "other-nodename", "no-body", "huge-body", "post",
    "no-authorization", "auth-basic", "auth-whole-token", "auth-bad-signature",
}
ROTATE_SABOTAGES = {
    "rotate-other-nodename", "rotate-no-nodename", "rotate-csr-other-node", "rotate-old-key",
    "rotate-with-authorization", "rotate-csr-bad-signature",
}
TUNNEL_SABOTAGES = {
    "other-node-id", "no-node-id", "no-project-id", "no-connectionuse", "connectionuse-str",
    "other-path", "no-client-cert", "origin",
    "no-keepalive", "first-not-keepalive", "keepalive-content", "not-json", "wrong-type",
}


class Edge:
    def __init__(self, given):
        self.given, self.events = given, wire.Events()
        self.node, self.old = given.node, given.generation == "v1.13"
        os.makedirs(given.dir, mode=0o700, exist_ok=True)

    def path(self, name):
        return os.path.join(self.given.dir, name)

    def doing(self, sabotage):
        return self.given.sabotage == sabotage

    # --- enrolment -----------------------------------------------------------------------------

    def join(self):
        with open(self.given.token_file, encoding="ascii") as file:
            token = file.read().strip()
        parts = token.split(".")
        if len(parts) != 4:
            raise Wrong("the token does not have four parts")
        started = time.monotonic()
        _, body, _ = self.get("/ca.crt", self.client_context(None))
        if hashlib.sha256(body).hexdigest() != parts[0]:
            raise Wrong("the CA is not the one that the token names")
        ca = x509.load_der_x509_certificate(body)
        if wrong := pki.wrong_with_ca(ca):
            raise Wrong("CA: " + "; ".join(wrong))
        wire.write_atomic(self.path("rootCA.crt"), pki.pem(ca))
        self.events("ca", sha256=parts[0])
        key = pki.new_key()
        headers = {"Authorization": self.authorization(token), "Nodename": self.node}
        cert = self.fetch(ca, key, self.sabotaged_headers(headers), self.client_context(ca))
        took = round(time.monotonic() - started, 4)
        self.events("enrolled", serial=format(cert.serial_number, "x"), seconds=took)

    def authorization(self, token):
        jwt = token.split(".", 1)[1]
        if self.doing("auth-basic"):
            return "Basic " + jwt
        if self.doing("auth-whole-token"):
            return "Bearer " + token
        if self.doing("auth-bad-signature"):
            return "Bearer " + jwt[:-8] + ("AAAAAAAA" if jwt[-8:] != "AAAAAAAA" else "BBBBBBBB")
        return "Bearer " + jwt

    def sabotaged_headers(self, headers):
        if self.doing("no-authorization"):
            del headers["Authorization"]
        if self.doing("no-nodename") or self.doing("rotate-no-nodename"):
            del headers["Nodename"]
        if self.doing("other-nodename") or self.doing("rotate-other-nodename"):
            headers["Nodename"] = "another-node"
        if self.doing("rotate-with-authorization"):
            headers["Authorization"] = "Bearer a.b.c"
        return headers

    def csr(self, key):
        subject = wire.LEGACY_SUBJECT if self.old else wire.node_subject(self.node)
        if self.doing("csr-other-node") or self.doing("rotate-csr-other-node"):
            subject = wire.node_subject("another-node")
        if self.doing("csr-masters"):
            subject = ("system:masters", "admin")
        csr = pki.request(key, *subject)
        if self.doing("csr-no-name"):
            builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
            csr = pki.der(builder.sign(key, pki.hashes.SHA256()))
        if self.doing("csr-bad-signature") or self.doing("rotate-csr-bad-signature"):
            csr = csr[:-1] + bytes([csr[-1] ^ 1])
        if self.doing("csr-trailing"):
            csr += b"\0"
        if self.doing("csr-pem"):
            csr = x509.load_der_x509_csr(csr).public_bytes(pki.serialization.Encoding.PEM)
        if self.doing("no-body"):
            csr = b""
        if self.doing("huge-body"):
            csr = b"0" * ((1 << 20) + 1)
        return csr

    def fetch(self, ca, key, headers, context):
        method = "POST" if self.doing("post") else "GET"
        status, body, text = self.get("/edge.crt", context, headers, self.csr(key), method)
        if status != 200:
            raise Refused("/edge.crt", status, text)
        try:
            cert = x509.load_der_x509_certificate(body)
        except ValueError:
            raise Wrong(f"/edge.crt: 200 with {len(body)} bytes that are no certificate") from None
        subject = wire.node_subject(self.node)
        if self.given.cloud == "upstream" and self.old:
            subject = None  # a v1.13 edge takes the subject it gets
        wrong = pki.wrong_with_edge(cert, ca, key, subject)
        if self.given.other_issuer:  # Go's edge does not look who signed
            wrong = [it for it in wrong if not it.startswith(("not signed by", "AuthorityKeyIdentifier is"))]
        if wrong:
            raise Wrong("certificate: " + "; ".join(wrong))
        files = [("server.crt", pki.pem(cert)), ("server.key", pki.sec1_pem(key))]
        for name, data in reversed(files) if self.old else files:
            wire.write_atomic(self.path(name), data)
        return cert

    def rotate(self):
        ca, old, key = self.identity()
        new = key if self.doing("rotate-old-key") else pki.new_key()
        headers = self.sabotaged_headers({"Nodename": self.node})
        cert = self.fetch(ca, new, headers, self.client_context(ca, identity=True))
        if cert.serial_number == old.serial_number:
            raise Wrong("the renewed certificate has the serial of the old one")
        serials = {"old": format(old.serial_number, "x"), "serial": format(cert.serial_number, "x")}
        self.events("rotated", **serials, until=cert.not_valid_after_utc.isoformat())

    def identity(self):
        def read(name):
            with open(self.path(name), "rb") as file:
                return file.read()

        load = x509.load_pem_x509_certificate
        return load(read("rootCA.crt")), load(read("server.crt")), pki.load_key(read("server.key"))

    def client_context(self, ca, identity=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        if ca is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_verify_locations(cadata=pki.pem(ca).decode())
        if identity:
            context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        return context

    def get(self, path, context, headers=(), body=None, method="GET"):
        """(status, body, body as text), the request written as Go's client writes it."""
        host, port = wire.host_port(self.given.https)
        client = http.client.HTTPSConnection(host, port, context=context, timeout=30)
        try:
            client.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            client.putheader("Host", f"{wire.bracketed(host)}:{port}")
            client.putheader("User-Agent", "Go-http-client/1.1")
            if body:
                client.putheader("Content-Length", str(len(body)))
            for name, value in dict(headers).items():
                client.putheader(name, value)
            client.putheader("Accept-Encoding", "gzip")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.endheaders(body)  # a refusal may come before all is sent
            response = client.getresponse()
            data = response.read(CA_LIMIT)
            if response.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
        except (OSError, http.client.HTTPException) as err:
            raise Refused(path, type(err).__name__, str(err)) from None
        finally:
            client.close()
        self.events("answer", path=path, status=response.status, size=len(data))
        return response.status, data, data.decode("utf-8", "replace")

    # --- the tunnel ----------------------------------------------------------------------------

    async def connect(self):
        tunnel = Tunnel(self, await self.dial())
        self.events("connected", serial=format(self.identity()[1].serial_number, "x"))
        return tunnel

    async def dial(self):
        """The WebSocket, opened and judged."""
        host, port = wire.host_port(self.given.hub)
        headers = {"Connectionuse": "msg", "Node_id": self.node, "Project_id": wire.PROJECT}
        path = f"/{wire.PROJECT}/{self.node}/events"
        for sabotage, name, value in (
            ("other-node-id", "Node_id", "another-node"), ("no-node-id", "Node_id", None),
            ("no-project-id", "Project_id", None), ("no-connectionuse", "Connectionuse", None),
            ("connectionuse-str", "Connectionuse", "str"), ("origin", "Origin", "https://elsewhere"),
        ):
            if self.doing(sabotage):
                headers[name] = value
        if self.doing("other-path"):
            path = f"/{wire.PROJECT}/another-node/events"
        ca = self.identity()[0]
        context = self.client_context(ca, identity=not self.doing("no-client-cert"))
        try:
            ws = await connect(
                f"wss://{wire.bracketed(host)}:{port}{path}", ssl=context, compression=None, proxy=None,
                additional_headers={name: value for name, value in headers.items() if value is not None},
                user_agent_header="Go-http-client/1.1", ping_interval=None, max_size=None, close_timeout=1,
            )
        except InvalidStatus as err:
            detail = (err.response.body or b"").decode("utf-8", "replace")
            raise Refused("upgrade", err.response.status_code, detail) from None
        except (OSError, EOFError, InvalidHandshake) as err:
            raise Refused("upgrade", type(err).__name__, str(err)) from None
        answered = ws.response.headers
        for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
            if name in answered:
                raise Wrong(f"the 101 has {name}, which was not offered")
        if self.given.cloud == "ours" and answered.get("Kubeedge-Session") != "replace-safe":
            raise Wrong("the 101 lacks Kubeedge-Session: replace-safe")
        return ws

    async def tunnel(self):
        while True:
            tunnel = await self.connect()
            if self.given.sabotage in TUNNEL_SABOTAGES:
                return await tunnel.outlive(self.given.patience)
            ended = await tunnel.hold(self.given.hold)
            if ended == "stopped":
                return await tunnel.goodbye()
            if self.given.reconnect_wait is None:
                raise Wrong("the cloud ended the tunnel")
            await asyncio.sleep(self.given.reconnect_wait)

    async def tour(self):
        await asyncio.to_thread(self.join)
        first = await self.connect()
        await first.converse()
        await asyncio.to_thread(self.rotate)
        await first.converse()  # renewing does not touch the tunnel that is up
        second = await self.connect()
        await second.converse()
        await first.expect_end("replaced by a newer connection")
        await second.converse()  # nor does the end of the old one touch the new
        await second.goodbye()
        self.events("toured")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("command", choices=["join", "tunnel", "rotate", "tour"])
    add("--https", help="HOST:PORT of the certificate port")
    add("--hub", help="HOST:PORT of the tunnel port")
    add("--token-file")
    add("--node", required=True)
    add("--dir", required=True, help="where rootCA.crt, server.crt and server.key are kept")
    add("--generation", choices=["v1.23", "v1.13"], default="v1.23")
    add("--cloud", choices=["ours", "upstream"], default="ours", help="whose answers to expect where they differ")
    add("--other-issuer", action="store_true", help="the CA that signs may be another than the pinned one")
    add("--hold", type=float, help="tunnel: seconds to hold")
    add("--reconnect-wait", type=float, help="tunnel: reconnect after so many seconds (upstream: 30)")
    add("--heartbeat", type=float, default=15)
    add("--patience", type=float, default=5, help="seconds a sabotaged tunnel waits for its end")
    every = sorted(JOIN_SABOTAGES | ROTATE_SABOTAGES | TUNNEL_SABOTAGES)
    add("--sabotage", choices=every, metavar="X", help="do one thing wrong: " + ", ".join(every))
    return parser.parse_args()


def main():
    given = options()
    edge = Edge(given)
    try:
        if given.command == "join":
            edge.join()
        elif given.command == "rotate":
            edge.rotate()
        else:
            asyncio.run(edge.tunnel() if given.command == "tunnel" else edge.tour())
    except Refused as err:
        edge.events("refused", **err.fields)
        return 3 if given.sabotage else 1
    except (Wrong, OSError, ValueError) as err:
        edge.events("wrong", detail=str(err))
        return 1
    edge.events("ok", command=given.command)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a thread may still wait for standard input
