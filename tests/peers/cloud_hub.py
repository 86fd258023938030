"""The tunnel port of a Go cloud: sessions as upstream keeps them, and a judge of the edge."""

import asyncio
import http
import json
import re
import time
import urllib.parse
import uuid

from cryptography import x509
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.frames import Opcode

import pki
import wire

FIRST_KEEPALIVE = 2.0  # seconds an edge may take for its first message
KEEPALIVE = {"source": "websocket", "group": "resource", "operation": "keepalive", "resource": "node"}
EDGE_GROUPS = ("meta", "resource", "user", "hub", "twin", "dynamiccontroller")


class Watched(ServerConnection):
    """Tells of control frames, which the library keeps to itself."""

    beat = None

    def process_event(self, event):
        if getattr(event, "opcode", None) in (Opcode.PING, Opcode.PONG) and self.beat:
            self.beat(event.opcode.name.lower())
        super().process_event(event)


class Hub:
    """node → the connection that answers go to; `cloud` gives options, judge and events."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.sessions, self.generation, self.lost_at = {}, {}, {}
        self.open = set()
        self.drops_left = cloud.options.drop_times

    async def listen(self, bind, port, context):
        options = self.cloud.options
        if options.silent == "tls":
            return await asyncio.start_server(self.say_nothing, bind, port)
        return await serve(
            self.tunnel, bind, port, ssl=context, compression=None, ping_interval=None, max_size=None,
            server_header=None, create_connection=Watched, open_timeout=60, close_timeout=1, process_request=self.before,
            process_response=self.after,
        )

    @staticmethod
    async def say_nothing(reader, writer):
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    def before(self, ws, request):
        headers = request.headers
        origin = headers.get("Origin")
        if origin and urllib.parse.urlsplit(origin).netloc.lower() != headers.get("Host", "").lower():
            return ws.respond(http.HTTPStatus.FORBIDDEN, "Forbidden\n")
        return None

    def after(self, _ws, _request, response):
        del response.headers["Date"]
        if self.cloud.options.terms:
            response.headers["Kubeedge-Terms"] = self.cloud.options.terms
        if self.cloud.options.sabotage == "hub-accept" and response.status_code == 101:
            del response.headers["Sec-WebSocket-Accept"]
            response.headers["Sec-WebSocket-Accept"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
        return response

    # --- one connection -----------------------------------------------------------------------

    async def tunnel(self, ws):
        judge, headers = self.cloud.judge, ws.request.headers
        tls = ws.transport.get_extra_info("ssl_object")
        cert = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        node = headers.get("Node_id", "")
        self.judge_upgrade(ws.request, node, cert)
        if self.cloud.options.sabotage != "hub-accept" and self.cloud.bait("hub", "cert"):
            judge("believed-a-wrong-cloud", f"a tunnel in spite of {self.cloud.options.sabotage}")
        connection = Connection(self, ws, node, cert)
        self.open.add(connection)
        try:
            await connection.run(headers.get("Connectionuse"))
        finally:
            self.open.discard(connection)

    def judge_upgrade(self, request, node, cert):
        judge, headers = self.cloud.judge, request.headers
        if not node:
            judge("no-node-id", "upgrade without Node_id")
        if not headers.get("Project_id"):
            judge("no-project-id", "upgrade without Project_id")
        uses = headers.get_all("Connectionuse")
        if not uses or set(uses) != {"msg"}:
            judge("connectionuse", f"Connectionuse {uses}")
        path = re.fullmatch(r"/([^/]+)/([^/]+)/events", request.path)
        if not path or path[1] != headers.get("Project_id") or path[2] != node:
            judge("wrong-path", request.path)
        subject = pki.organization_and_name(cert.subject)
        legacy = self.cloud.options.allow_legacy and subject == wire.LEGACY_SUBJECT
        if subject != wire.node_subject(node) and not legacy:
            judge("certificate-of-another", f"Node_id {node!r}, certificate {subject}")

    def register(self, connection):
        node = connection.node
        old = self.sessions.get(node)
        self.sessions[node] = connection
        self.generation[node] = self.generation.get(node, 0) + 1
        gap = 0.0 if old else None
        if not old and node in self.lost_at:
            gap = round(time.monotonic() - self.lost_at[node], 4)
        self.cloud.events(
            "connect", node=node, generation=self.generation[node], gap=gap,
            serial=format(connection.cert.serial_number, "x"), replaces=bool(old),
            peer=connection.ws.remote_address[0],
        )
        if old:
            old.close("replaced")
            if self.cloud.options.kill_newcomer:
                # the late error of the old connection ends whatever is registered under the name
                connection.close("killed-newcomer")

    def unregister(self, connection):
        if self.sessions.get(connection.node) is connection:
            del self.sessions[connection.node]
            self.lost_at[connection.node] = time.monotonic()

    # --- what the one who started us wants ------------------------------------------------------

    def push(self, text):
        data = wire.encode(json.loads(text))
        for connection in list(self.sessions.values()):
            connection.pushed.add(json.loads(text).get("header", {}).get("msg_id"))
            connection.send(data)

    def drop_all(self):
        for connection in list(self.open):
            connection.close("dropped", abort=True)


class Connection:
    def __init__(self, hub, ws, node, cert):
        self.hub, self.ws, self.node, self.cert = hub, ws, node, cert
        self.cloud = hub.cloud
        self.reason = None
        self.pushed = set()
        self.started = time.monotonic()
        self.beaten = asyncio.Event()
        ws.beat = self.beat

    def beat(self, frame):
        self.beaten.set()
        self.cloud.events("beat", node=self.node, frame=frame)

    async def run(self, use):
        options, loop = self.cloud.options, asyncio.get_running_loop()
        self.hub.register(self)
        timers = []
        if options.drop_after is not None and self.hub.drops_left:
            self.hub.drops_left -= 1
            timers.append(loop.call_later(options.drop_after, self.close, "dropped", True))
        try:
            if options.silent == "tunnel":
                self.ws.transport.pause_reading()
                await self.ws.wait_closed()
            elif use != "msg":
                await asyncio.sleep(options.keepalive_timeout)
                self.close("not-read")
            elif self.reason is None:
                await (self.agreed() if options.terms else self.converse())
        except ConnectionClosed as err:
            received = err.rcvd.code if err.rcvd else None
            self.reason = self.reason or (f"close {received}" if received else "edge-gone")
        finally:
            for timer in timers:
                timer.cancel()
            self.hub.unregister(self)
            self.close("ended")
            lasted = round(time.monotonic() - self.started, 3)
            self.cloud.events("disconnect", node=self.node, reason=self.reason, seconds=lasted)

    async def agreed(self):
        """Reads until the end. Any frame is a sign of life, and the message of old is not sent."""
        async def watch():
            while True:
                self.beaten.clear()
                try:
                    await asyncio.wait_for(self.beaten.wait(), self.cloud.options.keepalive_timeout)
                except TimeoutError:
                    self.cloud.judge("no-keepalive", "no frame for so long")
                    return self.close("keepalive-timeout")

        watching = asyncio.create_task(watch())
        try:
            while True:
                msg = wire.decode(await self.ws.recv(decode=False))
                self.beaten.set()
                if msg["route"].get("operation") == "keepalive":
                    self.cloud.judge("keepalive-in-spite-of-terms", json.dumps(msg))
                self.other(msg)
        finally:
            watching.cancel()

    async def converse(self):
        """Reads until the end. Only keepalives keep a session alive, as upstream has it."""
        judge, limit = self.cloud.judge, self.cloud.options.keepalive_timeout
        deadline, first = self.started + limit, True
        late = self.started + min(FIRST_KEEPALIVE, limit)
        while True:
            until = late if first else deadline
            try:
                data = await asyncio.wait_for(self.ws.recv(decode=False), until - time.monotonic())
            except TimeoutError:
                if first:
                    judge("no-first-keepalive", f"nothing within {FIRST_KEEPALIVE} s of the upgrade")
                    first = False
                    continue
                judge("no-keepalive", f"none for {limit} s")
                return self.close("keepalive-timeout")
            if self.cloud.options.sabotage == "hub-accept":
                judge("believed-a-wrong-cloud", "a message after a 101 with another key's answer")
            try:
                msg = wire.decode(data)
            except wire.Malformed as err:
                judge("malformed", str(err))
                return self.close("malformed")
            route = msg["route"]
            alive = all(route.get(key) == value for key, value in KEEPALIVE.items())
            if first and not alive and self.reason is None:
                judge("first-not-keepalive", json.dumps(route))
            first = False
            if alive:
                deadline = time.monotonic() + limit
                self.judge_keepalive(msg, data)
                self.cloud.events("keepalive", node=self.node)
            else:
                self.other(msg)

    def judge_keepalive(self, msg, data):
        judge, header = self.cloud.judge, msg["header"]
        if msg["content"] != "ping" or header.get("parent_msg_id"):
            judge("keepalive-form", bytes(data[:300]).decode("utf-8", "replace"))
        self.judge_header(header)

    def judge_header(self, header):
        try:
            uuid.UUID(header.get("msg_id", ""))
        except ValueError:
            self.cloud.judge("message-id", f"{header.get('msg_id')!r} is not a uuid")
        skew = abs(header.get("timestamp", 0) / 1000 - time.time())
        if skew > 300:
            self.cloud.judge("timestamp", f"{header.get('timestamp')} is not now in milliseconds")

    def other(self, msg):
        header, route = msg["header"], msg["route"]
        if not header.get("msg_id") and not route:
            return self.cloud.events("goodbye", node=self.node)
        self.judge_header(header)
        if self.cloud.nodes.handle(self, msg):
            return None
        operation, resource = route.get("operation", ""), route.get("resource", "")
        parent = header.get("parent_msg_id")
        self.cloud.events("message", node=self.node, id=header.get("msg_id"), parent=parent,
                          **{key: route.get(key) for key in ("source", "group", "operation", "resource")},
                          content=json.dumps(msg["content"])[:4000])
        if reply := wire.control_answer(msg):
            return self.send(wire.encode(reply))
        if parent:
            if parent not in self.pushed:
                self.cloud.judge("answers-nothing", f"parent {parent} was never sent here")
            self.cloud.objects.acked(msg)
            return None
        if operation in ("response", "error"):
            self.cloud.judge("answer-without-parent", resource)
        if route.get("group") not in EDGE_GROUPS:
            self.cloud.judge("unknown-group", str(route.get("group")))
        return self.ask(msg, operation, resource)

    def ask(self, msg, operation, resource):
        """The few requests a cloud without a cluster can answer; upstream is silent about others."""
        if self.cloud.objects.answer(self, msg):
            return
        if operation == "query" and resource == "k8s/ca.crt" and not self.cloud.options.v113:
            reply = wire.answer(msg, "response", "")
            reply["route"].update(source="cloudhub", group="resource")
        elif operation == "query" and (found := re.fullmatch(r"[^/]+/(configmap|secret)/([^/]+)", resource)):
            status = {
                "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
                "message": f'{found[1]}s "{found[2]}" not found',
                "details": {"name": found[2], "kind": found[1] + "s"},
            }
            reply = wire.answer(msg, "response", {"ErrStatus": status})
            reply["route"].update(source="edgecontroller", group="resource")
        else:
            return
        self.pushed.add(reply["header"]["msg_id"])
        self.send(wire.encode(reply))

    def send(self, data):
        """One text message, in pieces of 4,082 bytes as gorilla's writer makes them."""
        protocol = self.ws.protocol
        pieces = [data[at : at + wire.FRAGMENT] for at in range(0, len(data), wire.FRAGMENT)] or [b""]
        for number, piece in enumerate(pieces):
            write = protocol.send_continuation if number else protocol.send_text
            try:
                write(piece, fin=number == len(pieces) - 1)
            except InvalidState:  # the edge, or we, ended it meanwhile
                return
        self.ws.transport.write(b"".join(protocol.data_to_send()))

    def close(self, reason, abort=False):
        """TCP only: upstream sends no close frame."""
        self.reason = self.reason or reason
        if abort:
            self.ws.transport.abort()
        else:
            self.ws.transport.close()
