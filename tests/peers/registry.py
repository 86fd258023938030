"""A registry on loopback that does what registries should not, by the name of the repository.

    registry.py FOLDER     FOLDER has blobs/HEX, and manifests/TAG for every tag

Prints {"event": "ready", "port": P, "other": Q} (Q is a second server, where redirects lead), and for every request
{"event": "request", "server": "registry" or "other", "path": ..., "authorization": ..., "range": ...}.
Repositories: see BLOBS, MANIFESTS and TOKENS below; every other name is that of a good registry.
"""

import base64
import hashlib
import http.server
import json
import pathlib
import sys
import threading
import time

import web
from web import count, span, tell

FOLDER = pathlib.Path(sys.argv[1])
USER = "Basic " + base64.b64encode(b"puller:geheim-7").decode()
TOKEN = "token.of-the-registry"
ports = {}


class Handler(web.Handler):
    def error(self, status, code, headers=()):
        self.answer(status, json.dumps({"errors": [{"code": code, "message": f"it is {code}"}]}).encode(), headers)

    def do_GET(self):
        which = "registry" if self.server.server_port == ports["registry"] else "other"
        tell("request", server=which, path=self.path, authorization=self.headers.get("Authorization"),
             range=self.headers.get("Range"))
        path, _, query = self.path.partition("?")
        if path == "/token":
            return self.token(query)
        parts = path.strip("/").split("/")
        kind, name, repository = parts[-2], parts[-1], "/".join(parts[1:-2])
        if not self.allowed(repository):
            return None
        if kind == "manifests":
            return MANIFESTS.get(repository, manifest)(self, name)
        return BLOBS.get(repository, blob)(self, name.removeprefix("sha256:"), which)

    def allowed(self, repository):
        shown = self.headers.get("Authorization")
        if repository.startswith("token"):
            if shown == f"Bearer {TOKEN}" and repository != "token-loop":
                return True
            realm = REALMS.get(repository, "http://127.0.0.1:{port}/token").format(port=ports["registry"])
            challenge = f'Bearer realm="{realm}",service="{repository}",scope="repository:everything:*"'
            self.error(401, "UNAUTHORIZED", [("WWW-Authenticate", challenge)])
            return False
        if repository.startswith("basic") and shown != USER:
            self.error(401, "UNAUTHORIZED", [("WWW-Authenticate", 'Basic realm="here"')])
            return False
        return True

    def token(self, query):
        service = query.partition("service=")[2].partition("&")[0]
        TOKENS.get(service, token)(self, query)


def token(handler, query):
    if handler.headers.get("Authorization") != USER or "scope=repository%3Atoken" not in query:
        return handler.error(401, "UNAUTHORIZED")
    return handler.answer(200, json.dumps({"token": TOKEN, "expires_in": 60}).encode())


def manifest(handler, name):
    file = FOLDER / "manifests" / name
    if name.startswith("sha256:"):
        file = FOLDER / "blobs" / name.removeprefix("sha256:")
    if not file.exists():
        return handler.error(404, "MANIFEST_UNKNOWN")
    text = file.read_bytes()
    kind = json.loads(text).get("mediaType", "application/json")
    return handler.answer(200, text, [("Content-Type", kind)])


def part(handler, content):
    """The headers and the bytes that a range asks for."""
    start = handler.first_byte()
    if start is None:
        return 200, [], content
    return 206, [span(start, content)], content[start:]


def content(name):
    return (FOLDER / "blobs" / name).read_bytes()


def blob(handler, name, _):
    status, headers, body = part(handler, content(name))
    handler.answer(status, body, headers)


def cut(handler, name, _):
    """A quarter of the whole at a time."""
    whole = content(name)
    status, headers, body = part(handler, whole)
    handler.answer(status, body[:len(whole) // 4 + 1], headers, len(body))


def dead(handler, name, _):
    """Ten bytes of what is large, and no more."""
    whole = content(name)
    if len(whole) < 1000:
        return blob(handler, name, _)
    status, headers, body = part(handler, whole)
    return handler.answer(status, body[:0] if handler.headers.get("Range") else body[:10], headers, len(body))


def no_ranges(handler, name, _):
    body = content(name)
    sent = body if count(("no_ranges", name)) else body[:len(body) // 2]
    handler.answer(200, sent, length=len(body))


def wrong_range(handler, name, _):
    body = content(name)
    if handler.headers.get("Range"):
        return handler.answer(206, body, [span(0, body)])
    return handler.answer(200, body[:20], length=len(body))


def changed(handler, name, _):
    body = bytearray(content(name))
    body[len(body) // 2] ^= 1
    handler.answer(200, bytes(body))


def longer(handler, name, _):
    handler.answer(200, content(name) + b"more")


def endless(handler, name, _):
    """Claims nothing, and never stops."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(content(name))
    while True:
        handler.wfile.write(bytes(65536))


def redirect(handler, name, which):
    if which == "registry":
        to = f"http://127.0.0.1:{ports['other']}/v2/{'basic-redirect'}/blobs/sha256:{name}"
        if "Authorization" in handler.headers:
            to = to.replace("basic-redirect", "elsewhere")
        return handler.answer(307, headers=[("Location", to)])
    return blob(handler, name, which)


def circle(handler, *_):
    handler.answer(307, headers=[("Location", handler.path)])


def nowhere(handler, *_):
    handler.answer(302, headers=[("Location", "ftp://127.0.0.1/x")])


def slow(handler, name, _):
    body = content(name)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    for byte in body:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def silent(handler, *_):
    # Until the other side goes.
    handler.rfile.read(1)


def busy(handler, name):
    if count("busy") < 2:
        return handler.error(503, "UNAVAILABLE", [("Retry-After", "0")])
    return manifest(handler, name)


def many_bytes(handler, _):
    handler.answer(200, b" " * (5 << 20))


def changed_manifest(handler, name):
    """Another text under the digest that was asked for."""
    if not name.startswith("sha256:"):
        return manifest(handler, name)
    return handler.answer(200, content(name.removeprefix("sha256:")) + b" ")


MANIFESTS = {
    "busy": busy,
    "changed-manifest": changed_manifest,
    "circle": circle,
    "gone": lambda handler, _: handler.error(404, "NAME_UNKNOWN"),
    "html": lambda handler, _: handler.answer(200, b"<html>Welcome</html>"),
    "many-bytes": many_bytes,
    "nowhere": nowhere,
    "silent": silent,
    "sick": lambda handler, _: handler.error(500, "UNKNOWN"),
    "teapot": lambda handler, _: handler.answer(418, b"short\r\nand\x1bstout"),
}
BLOBS = {
    "basic-redirect": redirect,
    "changed": changed,
    "cut": cut,
    "dead": dead,
    "endless": endless,
    "longer": longer,
    "no-ranges": no_ranges,
    "slow": slow,
    "wrong-range": wrong_range,
}
REALMS = {
    "token-plain": "http://192.0.2.1/token",
    "token-nowhere": "ftp://127.0.0.1/",
}
TOKENS = {
    "token-sick": lambda handler, _: handler.answer(500),
    "token-none": lambda handler, _: handler.answer(200, b'{"token": ""}'),
    "token-lines": lambda handler, _: handler.answer(200, b'{"token": "a\\r\\nX: y"}'),
    "token-huge": lambda handler, _: handler.answer(200, b" " * (1 << 20)),
    "token-silent": silent,
}


def serve(which):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports[which] = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    serve("registry")
    serve("other")
    tell("ready", port=ports["registry"], other=ports["other"])
    # As long as whoever started it.
    sys.stdin.read()


if __name__ == "__main__":
    # What is handed out is what its name says.
    for file in (FOLDER / "blobs").iterdir():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name, file
    main()
