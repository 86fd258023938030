"""What both peers know of the wire: messages as the Go side reads them, tokens, JSON lines."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import uuid

PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
FRAGMENT = 4082  # the cloud writes longer messages in pieces of this many bytes
SUBJECT_COUNTRY = ("CN", "Zhejiang", "Hangzhou")  # C, ST, L of every edge's request
LEGACY_SUBJECT = ("kubeEdge", "kubeedge.io")  # O, CN of v1.13 edges, the same on every node


class Malformed(Exception):
    """Bytes that the Go reader would not take as a message."""


def node_subject(node):
    return ("system:nodes", "system:node:" + node)


# --- messages ---------------------------------------------------------------------------------


def message(operation, resource, content, *, source, group="resource", parent=None, version=None):
    header = {"msg_id": str(uuid.uuid4())}
    if parent:
        header["parent_msg_id"] = parent
    header["timestamp"] = int(time.time() * 1000)
    if version:
        header["resourceversion"] = version
    route = {"source": source, "group": group, "operation": operation, "resource": resource}
    return {"header": header, "route": route, "content": content}


def keepalive():
    return message("keepalive", "node", "ping", source="websocket")


def goodbye():
    return {"header": {"msg_id": "", "timestamp": 0}, "route": {}, "content": None}


def control_answer(msg):
    """What the tunnel layer of either side says to `ping` and `config`; None for anything else."""
    if msg["route"].get("operation") not in ("ping", "config"):
        return None
    return answer(msg, "response", "ack")


def answer(msg, operation, content):
    route = msg["route"]
    return message(
        operation,
        route.get("resource", ""),
        content,
        source=route.get("source", ""),
        group=route.get("group", "resource"),
        parent=msg["header"].get("msg_id"),
    )


def encode(msg):
    text = json.dumps(msg, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&":  # only strings can hold these
        text = text.replace(char, "\\u%04x" % ord(char))
    return text.encode() + b"\n"


def decode(data):
    """The first JSON value in `data`, with the types Go insists on; what follows it is ignored."""
    text = bytes(data).decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError as err:
        raise Malformed(f"not JSON: {err}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    header = _object(value, "header")
    route = _object(value, "route")
    for key in ("msg_id", "parent_msg_id", "resourceversion", "type"):
        _typed(header, key, str)
    _typed(header, "timestamp", int)
    _typed(header, "sync", bool)
    for key in ("source", "destination", "group", "operation", "resource"):
        _typed(route, key, str)
    return {"header": header, "route": route, "content": value.get("content")}


def _object(value, key):
    inner = value.get(key)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise Malformed(f"{key} is not an object")
    return {name: field for name, field in inner.items() if field is not None}


def _typed(fields, key, kind):
    field = fields.get(key)
    if field is None:
        return
    if not isinstance(field, kind) or (kind is int and isinstance(field, bool)):
        raise Malformed(f"{key} is not of type {kind.__name__}")


# --- join tokens ------------------------------------------------------------------------------


def mint_token(ca_der, mac_key, seconds):
    claims = {"exp": int(time.time() + seconds)}
    signed = ".".join(_b64(json.dumps(part, separators=(",", ":")).encode())
                      for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    mac = hmac.new(mac_key, signed.encode(), hashlib.sha256).digest()
    return f"{hashlib.sha256(ca_der).hexdigest()}.{signed}.{_b64(mac)}"


def check_jwt(jwt, mac_key, *, old=False):
    """None when Go's library (`old`: the one of v1.13) takes the token, else why not."""
    parts = jwt.split(".")
    if len(parts) != 3:
        return "token is malformed: token contains an invalid number of segments"
    try:
        header, claims, mac = json.loads(_unb64(parts[0])), json.loads(_unb64(parts[1])), _unb64(parts[2])
        digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(header["alg"])
        exp, nbf, iat = (claims.get(name) for name in ("exp", "nbf", "iat"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "token is malformed"
    if digest is None:
        return "token is unverifiable: error while executing keyfunc"
    signed = f"{parts[0]}.{parts[1]}".encode()
    if not hmac.compare_digest(hmac.new(mac_key, signed, digest).digest(), mac):
        return "token signature is invalid: signature is invalid"
    now = time.time()
    for claim in (exp, nbf, iat):
        if claim is not None and not isinstance(claim, (int, float)):
            return "token has invalid claims"
    if exp is not None and now >= exp:
        return "token has invalid claims: token is expired"
    if nbf is not None and now < nbf:
        return "token has invalid claims: token is not valid yet"
    if old and iat is not None and now < iat:
        return "token used before issued"
    return None


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


# --- files and output -------------------------------------------------------------------------


def write_atomic(path, data, mode=0o600):
    """A reader sees the whole file or none of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as out:
        out.write(data if isinstance(data, bytes) else data.encode())
    os.replace(temporary, path)


class Events:
    """One JSON object a line: `event`, `t` (CLOCK_MONOTONIC, seconds), and what belongs to it."""

    def __init__(self, path=None):
        self.file = open(path, "a", buffering=1) if path else None

    def __call__(self, event, **fields):
        line = json.dumps({"event": event, "t": round(time.monotonic(), 4), **fields})
        try:
            print(line, flush=True)
        except BrokenPipeError:  # who started us is gone; the end of stdin will say so too
            sys.stdout = open(os.devnull, "w")
        if self.file:
            self.file.write(line + "\n")


def host_port(text):
    """`HOST:PORT`, `[V6]:PORT` → (host without brackets, port)."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def bracketed(host):
    return f"[{host}]" if ":" in host else host
