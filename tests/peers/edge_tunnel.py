"""The edge's end of the tunnel: reads as the Go edge reads, asks, and judges the answers."""

import asyncio
import contextlib
import json
import sys
import threading

from websockets.exceptions import ConnectionClosed

import wire

ANSWER_SECONDS = 10  # how long an answer may take
ACCEPTED_GROUPS = ("resource", "func", "twin", "user", "taskmanager")


class Wrong(Exception):
    """The cloud did what an upstream edge does not expect."""


class Refused(Exception):
    """The cloud said no: where, and with what status or reason."""

    def __init__(self, where, status, detail=""):
        super().__init__(f"{where}: {status} {detail}".strip())
        self.fields = {"where": where, "status": status, "detail": detail[:300]}


class Tunnel:
    """One connection: reads as the Go edge reads, acknowledges what is pushed."""

    def __init__(self, edge, ws):
        self.edge, self.ws, self.events = edge, ws, edge.events
        self.waiting, self.wrong = {}, None
        self.ended, self.greeted = asyncio.Event(), asyncio.Event()
        self.tasks = [asyncio.ensure_future(self.read()), asyncio.ensure_future(self.keep_alive())]

    async def keep_alive(self):
        edge = self.edge
        if edge.doing("no-keepalive"):
            return
        if edge.doing("first-not-keepalive"):
            await self.send(wire.message("query", "default/configmap/none", None, source="edged", group="meta"))
        while True:
            msg = wire.keepalive()
            data = wire.encode(msg)
            if edge.doing("keepalive-content"):
                data = wire.encode({**msg, "content": "pong"})
            if edge.doing("wrong-type"):
                data = data.replace(b'"timestamp":', b'"timestamp":"1","x":')
            if edge.doing("not-json"):
                data = b"garbage"
            await self.send(data)
            self.greeted.set()
            await asyncio.sleep(edge.given.heartbeat)

    async def send(self, msg):
        """A text frame, in which Go does not mind bytes that are no UTF-8."""
        with contextlib.suppress(ConnectionClosed):
            await self.ws.send(msg if isinstance(msg, bytes) else wire.encode(msg), text=True)

    async def read(self):
        code = None
        try:
            while True:
                await self.take(await self.ws.recv(decode=False))
        except ConnectionClosed as err:
            code = err.rcvd.code if err.rcvd else None
        except (wire.Malformed, Wrong) as err:
            self.wrong = str(err)
            self.ws.transport.close()
        self.events("disconnected", code=code, wrong=self.wrong)
        self.ended.set()
        for future in self.waiting.values():
            future.cancel()

    async def take(self, data):
        msg = wire.decode(data)
        header, route = msg["header"], msg["route"]
        self.events("message", **header, **route, content=json.dumps(msg["content"])[:400])
        if not data.endswith(b"\n"):
            raise Wrong("a message without its line end")
        if not header.get("msg_id") or "timestamp" not in header:
            raise Wrong("a message without msg_id or timestamp")
        if reply := wire.control_answer(msg):
            return await self.send(reply)
        if route.get("group") not in ACCEPTED_GROUPS:
            raise Wrong(f"an edge takes no messages of group {route.get('group')!r}")
        if parent := header.get("parent_msg_id"):
            future = self.waiting.pop(parent, None)
            if future is None:
                raise Wrong(f"an answer to {parent}, which asked for nothing")
            future.set_result(msg)
        elif route.get("operation") in ("insert", "update", "delete"):
            await self.send(wire.answer(msg, "response", "OK"))
        else:
            raise Wrong(f"an operation {route.get('operation')!r} that answers nothing")
        return None

    async def request(self, msg):
        await self.greeted.wait()  # the keepalive comes first
        future = asyncio.get_running_loop().create_future()
        self.waiting[msg["header"]["msg_id"]] = future
        await self.send(msg)
        try:
            return await asyncio.wait_for(future, ANSWER_SECONDS)
        except asyncio.CancelledError:
            raise Wrong("the tunnel ended before the answer came: " + str(self.wrong)) from None
        except TimeoutError:
            raise Wrong(f"no answer to {msg['route']} in {ANSWER_SECONDS} s") from None

    async def ping(self):
        msg = wire.message("ping", "/control/ping", "ping", source="edgehub")
        reply = await self.request(msg)
        if (reply["route"], reply["content"]) != ({**msg["route"], "operation": "response"}, "ack"):
            raise Wrong(f"ping was answered with {reply}")

    async def query(self, resource):
        """A request that nobody handles: an error in one sentence, or upstream's ErrStatus."""
        msg = wire.message("query", resource, None, source="edged", group="meta")
        reply = await self.request(msg)
        route, content = reply["route"], reply["content"]
        if route.get("resource") != resource or route.get("group") not in ("resource", "func"):
            raise Wrong(f"the answer's route is {route}")
        if self.edge.given.cloud == "upstream":
            good = isinstance(content, dict) and "ErrStatus" in content
        else:
            good = route.get("operation") == "error" and isinstance(content, str) and content
        if not good:
            raise Wrong(f"a query that nobody handles was answered with {reply}")

    async def converse(self):
        await self.ping()
        await self.query("default/configmap/peer-asks")

    async def hold(self, seconds):
        """"stopped" after `seconds` or by a line on standard input, "ended" by the cloud."""
        lines, loop = asyncio.Queue(), asyncio.get_running_loop()

        def read():
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "stop")

        async def obey():
            while True:
                word, _, rest = (await lines.get()).strip().partition(" ")
                if word == "stop":
                    return
                if word == "ping":
                    await self.ping()
                elif word == "query":
                    await self.query(rest)
                elif word == "send":
                    await self.send(rest.encode() + b"\n")
                elif word == "drop":
                    self.ws.transport.abort()
                self.events("did", command=word)

        if seconds is None:
            threading.Thread(target=read, daemon=True).start()
        stop = asyncio.ensure_future(obey() if seconds is None else asyncio.sleep(seconds))
        end = asyncio.ensure_future(self.ended.wait())
        done, _ = await asyncio.wait([stop, end], return_when=asyncio.FIRST_COMPLETED)
        if stop in done:
            end.cancel()
            stop.result()
        else:
            stop.cancel()
        if self.wrong:
            raise Wrong(self.wrong)
        return "stopped" if stop in done and not self.ended.is_set() else "ended"

    async def outlive(self, seconds):
        """After a sabotage: ended by the cloud in time is refused."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)
        if self.ended.is_set():
            raise Refused("tunnel", "closed", self.wrong or "")

    async def expect_end(self, why):
        try:
            await asyncio.wait_for(self.ended.wait(), ANSWER_SECONDS)
        except TimeoutError:
            raise Wrong(f"the tunnel is still up, though {why}") from None
        if self.wrong:
            raise Wrong(self.wrong)

    async def goodbye(self):
        """Upstream's orderly end: an empty message, then TCP closes."""
        await self.send(wire.goodbye())
        self.ws.transport.close()
        await self.expect_end("this side closed it")
