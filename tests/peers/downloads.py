"""A web server with executables on loopback, over TLS, that does well and badly by the first folder of a path.

    downloads.py FOLDER     FOLDER has tls.crt and tls.key; /MANNER/NAME is FOLDER/MANNER/NAME, or else FOLDER/NAME

Beside it runs a proxy that takes CONNECT to any name, and looks for it at the same port of loopback.
Prints {"event": "ready", "port": P, "proxy": Q}, for every request {"event": "request", "path": ..., "range": ...,
"if_range": ...}, and for every tunnel {"event": "tunnel", "to": ...}.
"""

import http.server
import pathlib
import socket
import ssl
import sys
import threading

import web
from web import count, span, tell

FOLDER = pathlib.Path(sys.argv[1])


class Handler(web.Handler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        tell("request", path=path, range=self.headers.get("Range"), if_range=self.headers.get("If-Range"))
        _, manner, name = path.split("/", 2)
        files = [FOLDER / manner / name, FOLDER / name]
        found = [file for file in files if file.is_file()]
        if not found and manner not in ALWAYS:
            return self.answer(404)
        # Small ones lie beside it, and are no matter of manners.
        if name == "SHA256SUMS" or name.endswith(".minisig"):
            return self.answer(200, found[0].read_bytes()) if found else self.answer(404)
        return MANNERS[manner](self, found[0].read_bytes() if found else b"")

    def whole(self, content, tag=None):
        self.answer(200, content, [("ETag", tag)] if tag else [])

    def half(self, content, tag=None):
        self.answer(200, content[:len(content) // 2], [("ETag", tag)] if tag else [], len(content))

    def rest(self, content, tag=None):
        """What a range asks for, if it is one of the same file."""
        start, wanted = self.first_byte(), self.headers.get("If-Range")
        if start is None or (wanted and wanted != tag):
            return self.whole(content, tag)
        if start >= len(content):
            return self.answer(416)
        return self.answer(206, content[start:], [span(start, content), *([("ETag", tag)] if tag else [])])


def good(handler, content):
    handler.rest(content, '"one"')


def cut(handler, content):
    """Half of it at first, then what is asked for."""
    if count(handler.path) == 0:
        return handler.half(content, '"one"')
    return handler.rest(content, '"one"')


def cut_twice(handler, content):
    """As `cut`, but the first command never gets it: the server is sick after the first half."""
    number = count(handler.path)
    if number == 0:
        return handler.half(content)
    return handler.answer(503) if number < 5 else handler.rest(content)


def no_ranges(handler, content):
    return handler.half(content) if count(handler.path) == 0 else handler.whole(content)


def no_tags(handler, content):
    return handler.half(content) if count(handler.path) == 0 else handler.rest(content)


def other(content):
    return bytes(byte ^ 1 for byte in content)


def swapped(handler, content):
    """Another file was there at first, and its tag says so."""
    return handler.half(other(content), '"zero"') if count(handler.path) == 0 else handler.rest(content, '"one"')


def swapped_silently(handler, content):
    """Another file was there at first, and nothing says so."""
    return handler.half(other(content)) if count(handler.path) == 0 else handler.rest(content)


def other_part(handler, content):
    """Answers a range with another one."""
    if handler.first_byte() is None:
        return handler.half(content)
    return handler.answer(206, content, [span(0, content)])


def elsewhere(handler, _):
    handler.answer(302, headers=[("Location", handler.path.replace("/elsewhere/", "/good/", 1))])


def circle(handler, _):
    handler.answer(301, headers=[("Location", handler.path)])


def plain(handler, _):
    handler.answer(302, headers=[("Location", "http://127.0.0.1/kubeedge")])


def endless(handler, content):
    """Claims nothing, and never stops."""
    handler.answer(200, content, length="none")
    while True:
        handler.wfile.write(bytes(1 << 20))


def huge(handler, content):
    handler.answer(200, content, length=1 << 40)


def sick(handler, _):
    handler.answer(500)


MANNERS = {
    "circle": circle,
    "cut": cut,
    "cut-twice": cut_twice,
    "elsewhere": elsewhere,
    "endless": endless,
    "good": good,
    "listed": good,
    "mislisted": good,
    "unlisted": good,
    "huge": huge,
    "no-ranges": no_ranges,
    "no-tags": no_tags,
    "other-part": other_part,
    "plain": plain,
    "sick": sick,
    "swapped": swapped,
    "swapped-silently": swapped_silently,
}
ALWAYS = {"circle", "elsewhere", "plain", "sick"}


def relay(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def tunnel(client):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            return
        head += more
    method, to, _ = head.split(b"\r\n")[0].decode().split(" ")
    tell("tunnel", method=method, to=to)
    server = socket.create_connection(("127.0.0.1", int(to.rpartition(":")[2])))
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=relay, args=(client, server), daemon=True).start()
    relay(server, client)


def proxy(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=tunnel, args=(client,), daemon=True).start()


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "tls.crt", FOLDER / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=proxy, args=(listener,), daemon=True).start()
    tell("ready", port=server.server_port, proxy=listener.getsockname()[1])
    # As long as whoever started it.
    sys.stdin.read()


if __name__ == "__main__":
    main()
