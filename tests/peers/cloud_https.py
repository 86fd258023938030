"""The certificate port of a Go cloud: the answers upstream gives, and a judge of who asks."""

import asyncio
import email.utils
import ipaddress
import re
import ssl
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku

import pki
import wire

HEAD_LIMIT = 1 << 20
BODY_LIMIT = 1 << 20
REPORT_LIMIT = 3 << 20
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: expiry is judged by the handler, with a 401
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           405: "Method Not Allowed", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 503: "Service Unavailable"}


class Answer(Exception):
    def __init__(self, status, body, headers=()):
        super().__init__(status)
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else body.encode()


def server_context(cert_file, key_file, ca_file, judge, *, require):
    """TLS as upstream's: 1.2 at least; a client certificate asked for, or `require`d."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA")
    context.load_cert_chain(cert_file, key_file)
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED if require else ssl.CERT_OPTIONAL
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if not require:
        context.verify_flags |= NO_CHECK_TIME

    def sni(_socket, name, _context):
        try:
            ipaddress.ip_address(name or "none")
            judge("sni-is-an-address", name)
        except ValueError:
            pass

    context.sni_callback = sni
    return context


class CertificatePort:
    """`cloud` gives the authority, the options, the judge and the events."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.forced_status = 200  # other than 200: what every `/edge.crt` gets

    async def serve(self, reader, writer):
        tls = writer.get_extra_info("ssl_object")
        peer = tls.getpeercert(binary_form=True)
        self.cloud.events("client", peer=writer.get_extra_info("peername")[0])
        try:
            while await self.one(reader, writer, peer):
                pass
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def one(self, reader, writer, peer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return await self.reply(writer, Answer(431, "431 Request Header Fields Too Large"), False)
        request = Request.parse(head)
        if request is None:
            return await self.reply(writer, Answer(400, "400 Bad Request"), False)
        try:
            body = await request.read_body(reader)
            if await self.cloud.misdeeds.instead_of_answer(request, body, reader, writer):
                return False
            self.route(request, body, peer)
        except Answer as given:
            self.cloud.events("request", method=request.method, path=request.path, status=given.status)
            return await self.reply(writer, given, request.keep)
        raise AssertionError("every route answers")

    async def reply(self, writer, given, keep):
        kind = "text/plain; charset=utf-8"
        if given.body[:1] == b"\x30":
            kind = "application/octet-stream"
        lines = [f"HTTP/1.1 {given.status} {REASONS[given.status]}", *given.headers]
        date = email.utils.formatdate(time.time() + self.cloud.options.date_off, usegmt=True)
        lines += [f"Date: {date}", f"Content-Length: {len(given.body)}"]
        lines += [f"Content-Type: {kind}"] if given.body else []
        lines += [] if keep else ["Connection: close"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + given.body)
        await writer.drain()
        return keep

    def route(self, request, body, peer):
        path, options = request.path.split("?")[0].rstrip("/"), self.cloud.options
        if path == "/ca.crt":
            request.only("GET")
            raise Answer(200, self.cloud.ca_answer())
        if path == "/edge.crt":
            request.only("GET")
            self.edge_certificate(request, body, peer)
        if path == "/nodeupgrade":
            request.only("POST")
            self.report(path, body, peer)
        if not options.v113 and (found := re.fullmatch(r"/node/([^/]+)", path)):
            request.only("GET")
            known = found[1] in self.cloud.known_nodes
            raise Answer(200, "Node founded") if known else Answer(404, "Node not found")
        if not options.v113 and re.fullmatch(r"/task/[^/]+/name/[^/]+/node/[^/]+/status", path):
            request.only("POST")
            if len(body) > REPORT_LIMIT:
                raise Answer(400, "Request entity too large")
            self.report(path, body, peer)
        raise Answer(404, "404: Page Not Found")

    def report(self, path, body, peer):
        """How an upgrade has ended; upstream takes it from anybody."""
        node = pki.organization_and_name(x509.load_der_x509_certificate(peer).subject)[1] if peer else None
        self.cloud.events("report", path=path, size=len(body), node=node, body=body[:4000].decode("utf-8", "replace"))
        raise Answer(200, "ok")

    def edge_certificate(self, request, body, peer):
        judge, options, node = self.cloud.judge, self.cloud.options, request.header("nodename")
        if self.cloud.bait("ca", "serving"):
            judge("believed-a-wrong-cloud", f"GET /edge.crt in spite of {options.sabotage}")
        if not node:
            judge("no-nodename", "GET /edge.crt without NodeName")
        authorization = request.header("authorization")
        if peer:
            how, old = "certificate", x509.load_der_x509_certificate(peer)
            if authorization:
                judge("authorization-on-rotation", "a client certificate and an Authorization header")
            self.by_certificate(old, node)
        else:
            how, old = "token", None
            if not re.fullmatch(r"Bearer [^ .]+\.[^ .]+\.[^ .]+", authorization):
                judge("authorization-form", "not `Bearer <jwt of three parts>`")
            self.by_token(authorization)
        if self.forced_status != 200:
            raise Answer(self.forced_status, "told to")
        csr = self.judged_request(body, node, old)
        raise Answer(200, self.cloud.issue(csr, node, how))

    def by_certificate(self, cert, node):
        prefix = f"failed to verify the certificate for edgenode: {node}, err: "
        if pki.expired(cert):
            raise Answer(401, prefix + "failed to verify edge certificate: x509: certificate has "
                                       "expired or is not yet valid")
        if self.cloud.options.v113:
            return
        subject = pki.organization_and_name(cert.subject)
        if subject not in (wire.node_subject(node), ("KubeEdge", "kubeedge.io")):
            raise Answer(401, prefix + "request node name is not match with the certificate")

    def by_token(self, authorization):
        old = self.cloud.options.v113
        said = "Invalid authorization token"
        words = authorization.split(" ")
        if not authorization:
            raise Answer(401, said if old else "token validation failure, token is empty")
        if len(words) != 2 or not words[1]:
            raise Answer(401, said if old else "token validation failure, token cannot be split")
        if why := wire.check_jwt(words[1], self.cloud.mac_key, old=old):
            raise Answer(400, said) if old else Answer(401, f"token validation failure, err: {why}")

    def judged_request(self, body, node, old):
        judge, v113 = self.cloud.judge, self.cloud.options.v113
        prefix = f"failed to sign certs for edgenode {node}, err: "

        def refused(rule, why):
            judge(rule, why)
            return Answer(200, b"") if v113 else Answer(500, prefix + why)

        if not body:
            raise refused("get-without-body", "fail to signCerts, err: failed to parse csr")
        if len(body) > BODY_LIMIT:
            raise refused("body-too-large", "http: request body too large")
        try:
            csr = x509.load_der_x509_csr(body)
        except ValueError:
            raise refused("request-not-der", "fail to signCerts, err: failed to parse csr") from None
        subject = pki.organization_and_name(csr.subject)
        if not subject[1]:
            raise refused("request-without-name", "must specify a CommonName")
        legacy = self.cloud.options.allow_legacy and subject == wire.LEGACY_SUBJECT
        if subject != wire.node_subject(node) and not legacy:
            judge("request-subject", f"{subject} asked for by NodeName {node!r}")
        try:
            if not csr.is_signature_valid:
                raise InvalidSignature
        except (InvalidSignature, ValueError):
            judge("request-signature", "the request's own signature is bad")
        if len(csr.extensions):
            judge("request-extensions", "an edge asks for no extensions")
        if not isinstance(csr.public_key(), ec.EllipticCurvePublicKey):
            judge("request-key", "the key is not an elliptic curve one")
        if old and pki.same_key(old.public_key(), csr.public_key()):
            judge("rotation-with-old-key", "each rotation makes a fresh key")
        return csr


class Request:
    def __init__(self, method, path, version, headers):
        self.method, self.path, self.headers = method, path, headers
        close = "close" in self.header("connection").lower()
        self.keep = version == "HTTP/1.1" and not close

    @classmethod
    def parse(cls, head):
        lines = head.decode("latin-1").split("\r\n")
        first = re.fullmatch(r"([A-Z]+) (/\S*) (HTTP/1\.[01])", lines[0])
        pairs = [re.fullmatch(r"([!#-'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", line)
                 for line in lines[1:-2]]
        if first is None or None in pairs:
            return None
        headers = [(pair[1].lower(), pair[2]) for pair in pairs]
        if first[3] == "HTTP/1.1" and "host" not in dict(headers):
            return None
        return cls(*first.groups(), headers)

    def header(self, name):
        return next((value for key, value in self.headers if key == name), "")

    def only(self, method):
        if self.method != method:
            raise Answer(405, "405: Method Not Allowed", [f"Allow: {method}"])

    async def read_body(self, reader):
        """At most one byte more than any limit; what is longer ends the connection."""
        if self.header("transfer-encoding").lower() == "chunked":
            body = b""
            while size := int((await reader.readline()).split(b";")[0], 16):
                body = (body + await reader.readexactly(size))[: REPORT_LIMIT + 1]
                await reader.readline()
            while (await reader.readline()).strip():
                pass
            return body
        length = self.header("content-length") or "0"
        if not length.isdigit():
            raise Answer(400, "400 Bad Request")
        if int(length) > REPORT_LIMIT:
            self.keep = False
        return await reader.readexactly(min(int(length), REPORT_LIMIT + 1))


def sabotaged(kind, cloud, csr, subject, seconds):
    """The body of a 200 that no careful edge may take."""
    other = pki.Authority.create()
    public, client = csr.public_key(), [Eku.CLIENT_AUTH]
    sign = cloud.authority.sign
    return {
        "cert-empty": lambda: b"",
        "cert-garbage": lambda: b"0\x82garbage",
        "cert-pem": lambda: pki.pem(sign(public, subject, seconds, client)),
        "cert-other-key": lambda: pki.der(sign(pki.new_key().public_key(), subject, seconds, client)),
        "cert-other-node": lambda: pki.der(sign(public, wire.node_subject("other"), seconds, client)),
        "cert-other-ca": lambda: pki.der(other.sign(public, subject, seconds, client)),
        "cert-no-client-auth": lambda: pki.der(sign(public, subject, seconds, [Eku.SERVER_AUTH])),
        "cert-ca": lambda: pki.der(sign(public, subject, seconds, client, ca=True)),
        "cert-expired": lambda: pki.der(sign(public, subject, -60, client, age=3600)),
    }[kind]()


CERT_SABOTAGES = ["cert-empty", "cert-garbage", "cert-pem", "cert-other-key", "cert-other-node",
                  "cert-other-ca", "cert-no-client-auth", "cert-ca", "cert-expired"]
