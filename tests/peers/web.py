"""What a web server here needs that does not always do well: events on standard output, a count of calls, and answers
that may be other than they claim. downloads.py and registry.py are made of it.
"""

import http.server
import json
import threading

lock = threading.Lock()
counts = {}


def tell(event, **more):
    """Prints an event as one line of JSON, whichever thread it happens in."""
    with lock:
        print(json.dumps({"event": event, **more}), flush=True)


def count(key):
    """How often this was called with the key before."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key] - 1


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            # The other side has had enough.
            pass

    def answer(self, status, body=b"", headers=(), length=None):
        """`length` is claimed instead of the body's, or nothing is where it is "none"."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if length != "none":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def first_byte(self):
        """Where a range that was asked for begins; None without one."""
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else None


def span(start, content):
    """The header that says which part of the content this is, from `start` to its end."""
    return "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
