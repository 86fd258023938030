#!/usr/bin/env python3
"""A node as KubeEdge's edge is one, for our cloudcore: registers, renews its lease, patches, acknowledges.

Written from the protocol alone; shares no code with ours. Needs the files that `edge.py join` wrote to --dir.
Reads commands, one a line, and prints one JSON object a line for each thing that happens:

  connect | drop            open the tunnel; cut it without a word
  register                  lease query, node insert (or, when it exists, node query), status patch
  lease                     insert the lease, or renew it; heals 404 and 409 as an edge does
  ask OP RESOURCE [JSON]    any request; the answer is printed
  report OP RESOURCE JSON   the same, as the part that keeps twins of devices asks
  acks on | off | lose N    acknowledge pushes; do not; lose the acknowledgements of the next N
  ping                      the answer says that all before was dealt with
"""

import argparse
import asyncio
import json
import os
import sys
import threading

from websockets.exceptions import ConnectionClosed

import wire
from edge import Edge
from edge_tunnel import Refused, Wrong

ANSWER_SECONDS = 60
LEASES = "kube-node-lease/lease/"


class Link:
    """One tunnel: answers by their parent, pushes in the order of their coming."""

    def __init__(self, node, ws):
        self.node, self.ws, self.waiting = node, ws, {}
        self.task = asyncio.ensure_future(self.read())

    async def send(self, msg):
        await self.ws.send(wire.encode(msg), text=True)

    async def read(self):
        code = None
        try:
            while True:
                await self.take(wire.decode(await self.ws.recv(decode=False)))
        except ConnectionClosed as err:
            code = err.rcvd.code if err.rcvd else None
        self.node.events("disconnected", code=code)
        for future in self.waiting.values():
            future.cancel()

    async def take(self, msg):
        header, route = msg["header"], msg["route"]
        if future := self.waiting.pop(header.get("parent_msg_id"), None):
            return future.set_result(msg)
        if header.get("parent_msg_id"):
            raise Wrong(f"an answer that nobody waits for: {msg}")
        if route["group"] == "taskmanager":
            return await self.job(msg)
        if route["group"] not in ("resource", "twin"):
            raise Wrong(f"an edge takes no messages of group {route['group']!r}")
        if route["resource"] == "membership":
            return self.node.events("membership", content=msg["content"], route=route,
                                    version=header.get("resourceversion"))
        return await self.pushed(msg)

    async def job(self, msg):
        """Does a job at once, well or badly, and reports each step."""
        resource = msg["route"]["resource"]
        self.node.events("job", resource=resource, content=msg["content"], operation=msg["route"]["operation"])
        last = "Upgrade" if "/nodeupgradejob/" in resource else "Update"
        for action in ("Check", "BackUp", last) if self.node.fit else ("Check",):
            report = {"action": action, "succ": self.node.fit, "finishTime": "2026-11-22T08:02:54Z",
                      "reason": "" if self.node.fit else "no room", "extend": ""}
            await self.send(wire.message("UpdateNodeActionStatus", resource, report, source="websocket", group="hub"))

    async def pushed(self, msg):
        header, route, content = msg["header"], msg["route"], msg["content"]
        meta = content["metadata"]
        if not header.get("resourceversion") or not meta.get("uid") or not content.get("kind"):
            raise Wrong(f"a push that an edge can't keep: {msg}")
        node, key = self.node, route["resource"]
        acked = node.acks and node.lose == 0
        node.lose = max(0, node.lose - 1)
        if acked:
            if route["operation"] == "delete":
                node.held.pop(key, None)
            else:
                node.held[key] = [meta["uid"], header["resourceversion"]]
        node.events("push", op=route["operation"], resource=key, id=header["msg_id"], uid=meta["uid"],
                    version=header["resourceversion"], acked=acked, content=content)
        if acked:
            answer = wire.answer(msg, "response", "OK")
            if key.split("/")[1].startswith("device") and route["operation"] != "update":
                answer["route"].update(source="meta", group="twin")
            await self.send(answer)

    async def ask(self, operation, resource, content=None, source="edged", group="meta"):
        msg = wire.message(operation, resource, content, source=source, group=group)
        future = asyncio.get_running_loop().create_future()
        self.waiting[msg["header"]["msg_id"]] = future
        await self.send(msg)
        return await asyncio.wait_for(future, ANSWER_SECONDS)


class Node(Edge):
    def __init__(self, given):
        super().__init__(given)
        self.link, self.object, self.lease = None, None, None
        self.acks, self.lose, self.held, self.patches = True, 0, {}, 0
        self.fit = True

    async def open(self):
        # The peer's own tunnel acknowledges everything at once; here that is to be told.
        ws = await self.dial()
        self.link = Link(self, ws)
        await self.link.send(wire.keepalive())
        self.events("connected")

    def path_of(self, kind):
        return f"{'default' if self.old else 'null'}/{kind}/{self.node}"

    async def register(self):
        answer = await self.link.ask("insert", self.path_of("node"), self.as_node())
        both = answer["content"]
        if set(both) != {"Object", "Err"}:
            raise Wrong(f"an answer without both keys: {both}")
        if both["Err"]:
            status = both["Err"]["ErrStatus"]
            if status["reason"] != "AlreadyExists" or status["code"] != 409:
                raise Wrong(f"registration: {status}")
            answer = await self.link.ask("query", self.path_of("node"))
            self.object = answer["content"]
        else:
            self.object = both["Object"]
        self.patches += 1
        conditions = [{"type": "Ready", "status": "True", "reason": "EdgeReady", "message": "edge is posting ready status",
                       "lastHeartbeatTime": f"2026-11-22T08:02:{self.patches:02}Z", "lastTransitionTime": "2026-11-22T08:02:54Z"}]
        patch = {"status": {"$setElementOrder/conditions": [{"type": "MemoryPressure"}, {"type": "Ready"}], "conditions": conditions}}
        both = (await self.link.ask("patch", self.path_of("nodepatch"), json.dumps(patch)))["content"]
        if both["Err"]:
            raise Wrong(f"status patch: {both['Err']}")
        self.object = both["Object"]
        self.events("registered", uid=self.object["metadata"]["uid"], version=self.object["metadata"]["resourceVersion"])

    def as_node(self):
        labels = {"kubernetes.io/hostname": self.node, "node-role.kubernetes.io/edge": ""}
        labels.update(word.split("=", 1) for word in self.given.label)
        conditions = [{"type": kind, "status": "False", "reason": "x"} for kind in ("MemoryPressure", "Ready")]
        version = {"v1.23": "v1.32.10-kubeedge-v1.23.1", "v1.13": "v1.22.6-kubeedge-v1.13.0"}[self.given.generation]
        return {"metadata": {"name": self.node, "creationTimestamp": None, "labels": labels}, "spec": {},
                "status": {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
                           "nodeInfo": {"kubeletVersion": version}}}

    async def renew(self):
        for _ in range(4):
            if self.lease is None:
                spec = {"holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": "2026-11-22T08:03:03.834352Z"}
                lease = {"metadata": {"name": self.node, "namespace": "kube-node-lease", "creationTimestamp": None}, "spec": spec}
                both = (await self.link.ask("insert", LEASES + self.node, lease))["content"]
            else:
                both = (await self.link.ask("update", LEASES + self.node, self.lease))["content"]
            if not both["Err"]:
                self.lease = both["Object"]
                return self.events("renewed", version=self.lease["metadata"]["resourceVersion"])
            status = both["Err"]["ErrStatus"]
            self.events("lease-refused", code=status["code"], reason=status["reason"])
            if status["code"] == 409:
                self.lease = (await self.link.ask("query", LEASES + self.node))["content"]["Object"]
            elif status["code"] == 404:
                self.lease = None
            else:
                raise Wrong(f"lease: {status}")
        raise Wrong("the lease can't be renewed")

    async def obey(self, line):
        word, _, rest = line.strip().partition(" ")
        if word == "connect":
            await self.open()
        elif word == "drop":
            self.link.ws.transport.abort()
            await self.link.task
        elif word == "register":
            await self.register()
        elif word == "lease":
            await self.renew()
        elif word == "acks":
            self.acks, self.lose = rest != "off", int(rest[5:]) if rest.startswith("lose ") else 0
        elif word == "unfit":
            self.fit = False
        elif word == "held":
            self.events("held", objects=self.held)
        elif word == "ping":
            await self.link.ask("ping", "/control/ping", "ping", source="edgehub", group="resource")
        elif word in ("ask", "report"):
            operation, resource, *content = rest.split(" ", 2)
            sender = {"source": "twin", "group": "resource"} if word == "report" else {}
            answer = await self.link.ask(operation, resource, json.loads(content[0]) if content else None, **sender)
            self.events("answer", operation=answer["route"]["operation"], content=answer["content"],
                        version=answer["header"].get("resourceversion"), route=answer["route"])
        else:
            raise Wrong(f"no command {word!r}")
        self.events("did", command=line.strip())

    async def run(self):
        lines, loop = asyncio.Queue(), asyncio.get_running_loop()

        def read():
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

        threading.Thread(target=read, daemon=True).start()
        while (line := await lines.get()) is not None:
            try:
                await self.obey(line)
            except (asyncio.CancelledError, ConnectionClosed):
                self.events("cut", command=line.strip())
            except Refused as err:
                self.events("refused", **err.fields)
            if self.link and self.link.task.done() and self.link.task.exception():
                raise self.link.task.exception()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hub", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--generation", choices=["v1.23", "v1.13"], default="v1.23")
    given = parser.parse_args()
    given.sabotage, given.cloud = None, "ours"
    node = Node(given)
    try:
        asyncio.run(node.run())
    except (Wrong, OSError, ValueError, KeyError) as err:
        node.events("wrong", detail=f"{type(err).__name__}: {err}")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
