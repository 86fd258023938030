"""Objects that a Go cloud sends down and answers for: resent until acknowledged, patched, deleted in two steps.

Orders on standard input, each answered by `did`:
  put JSON            {"resource": "<ns>/<type>/<name>", "object": {...}}: keep the object and push it
  have JSON           the same without a push: it is there for who asks
  remove RESOURCE     push its deletion; with `uid=OTHER` behind it, of another object of the name
  release RESOURCE    begin the graceful deletion of a pod
  many N BYTES        push N ConfigMaps `default/configmap/many-I` with so much data, all at once
  misbehave WORD...   lose-acks (the first of each), duplicate (every push twice), late (an older version after each
                      push), bare-delete (only name, namespace and uid), silent (no answers)
Events: `acked` {resource, operation, version, sent}, `asked` {operation, resource, content}, `settled` when nothing
waits for an acknowledgement any more.
"""

import asyncio
import copy
import json
import re
import uuid

import wire

RESEND = 0.5  # seconds; upstream's cloud waits 5, 10, 15, 20
TRIES = 40
SOURCE = "edgecontroller"
QUERIED = r"[^/]+/(configmap|secret|persistentvolume|persistentvolumeclaim)/[^/]+"


class Objects:
    def __init__(self, cloud):
        self.cloud = cloud
        self.kept, self.version = {}, 100
        self.waiting, self.lost = {}, set()
        self.faults = set()

    # --- orders -----------------------------------------------------------------------------------

    def obey(self, word, rest):
        if word in ("put", "have"):
            given = json.loads(rest)
            self.keep(given["resource"], given["object"])
            if word == "put":
                self.push("update", given["resource"])
        elif word == "remove":
            resource, _, other = rest.partition(" uid=")
            self.delete(resource, other)
        elif word == "release":
            metadata = self.kept[rest]["metadata"]
            metadata.update(deletionTimestamp="2026-11-22T08:07:10Z", deletionGracePeriodSeconds=30)
            self.keep(rest, self.kept[rest])
            self.push("update", rest)
        elif word == "many":
            count, size = map(int, rest.split())
            for number in range(count):
                data = {"data": {"filler": "x" * size}}
                resource = f"default/configmap/many-{number}"
                self.keep(resource, {"kind": "ConfigMap", "apiVersion": "v1", **data})
                self.push("insert", resource)
        elif word == "misbehave":
            self.faults = set(rest.split())
        else:
            return False
        return True

    def keep(self, resource, given):
        namespace, _, name = resource.split("/")
        self.version += 10
        old = self.kept.get(resource, {}).get("metadata", {})
        metadata = {"name": name, "namespace": namespace, "uid": old.get("uid", str(uuid.uuid4()))}
        if namespace == "null":
            del metadata["namespace"]
        metadata.update(given.get("metadata", {}), resourceVersion=str(self.version))
        self.kept[resource] = {**given, "metadata": metadata}

    def push(self, operation, resource):
        found = self.kept[resource]
        self.send(operation, resource, found)
        if "late" in self.faults:
            older = copy.deepcopy(found)
            older["metadata"]["resourceVersion"] = str(int(found["metadata"]["resourceVersion"]) - 5)
            older["data"] = {"is": "older"}
            self.send("update", resource, older)

    def delete(self, resource, other=""):
        found = self.kept[resource] if other else self.kept.pop(resource)
        metadata = found["metadata"]
        if "bare-delete" in self.faults or other:
            content = {"metadata": {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata}}
            content["metadata"]["uid"] = other or metadata["uid"]
        else:
            content = found
        self.send("delete", resource, content)

    def send(self, operation, resource, content):
        version = content["metadata"].get("resourceVersion")
        message = wire.message(operation, resource, content, source=SOURCE, version=version)
        message = json.loads(json.dumps(message))
        self.waiting[message["header"]["msg_id"]] = [message, 0]
        self.transmit(message["header"]["msg_id"])
        if "duplicate" in self.faults:
            self.transmit(message["header"]["msg_id"])

    # --- the ack queue ----------------------------------------------------------------------------

    def transmit(self, message_id):
        waiting = self.waiting.get(message_id)
        if not waiting:
            return
        message, sent = waiting
        if sent > TRIES:
            self.cloud.judge("never-acked", message["route"]["resource"])
            del self.waiting[message_id]
            return
        for connection in list(self.cloud.hub.sessions.values()):
            waiting[1] += 1
            connection.pushed.add(message_id)
            connection.send(wire.encode(message))
        asyncio.get_running_loop().call_later(RESEND, self.transmit, message_id)

    def acked(self, msg):
        parent, route = msg["header"].get("parent_msg_id"), msg["route"]
        if route.get("operation") != "response" or parent not in self.waiting:
            return
        if "lose-acks" in self.faults and parent not in self.lost:
            self.lost.add(parent)
            return
        message, sent = self.waiting.pop(parent)
        asked = message["route"]
        copied = all(route.get(key) == asked[key] for key in ("source", "group", "resource"))
        if not copied or msg["content"] != "OK":
            self.cloud.judge("ack-form", json.dumps(msg)[:300])
        self.cloud.events("acked", resource=asked["resource"], operation=asked["operation"],
                          version=message["header"].get("resourceversion"), sent=sent)
        if not self.waiting:
            self.cloud.events("settled")

    # --- questions --------------------------------------------------------------------------------

    def answer(self, connection, msg):
        """True when the question was for us."""
        route, content = msg["route"], msg["content"]
        operation, resource = route.get("operation"), route.get("resource", "")
        namespace, kind, name = (resource.split("/") + ["", ""])[:3]
        if not (re.fullmatch(QUERIED, resource) or kind in ("podpatch", "pod")):
            return False
        self.cloud.events("asked", operation=operation, resource=resource, content=content)
        if (route.get("group"), route.get("source")) != ("meta", "edged"):
            self.cloud.judge("question-form", json.dumps(route))
        if "silent" in self.faults:
            return True
        if operation == "query" and resource in self.kept:
            found = self.kept[resource]
            reply = self.reply(connection, msg, found, found["metadata"]["resourceVersion"])
            self.waiting[reply["header"]["msg_id"]] = [reply, 1]
        elif operation == "patch" and kind == "podpatch":
            self.patch(connection, msg, f"{namespace}/pod/{name}", json.loads(content))
        elif operation == "delete" and kind == "pod":
            self.reply(connection, msg, "OK")
            found = self.kept.get(resource)
            wanted = content.get("preconditions", {}).get("uid")
            if found and found["metadata"]["uid"] == wanted and content.get("gracePeriodSeconds") == 0:
                self.delete(resource)
        else:
            return False
        return True

    def patch(self, connection, msg, resource, patch):
        pod = self.kept.get(resource)
        if not pod or pod["metadata"]["uid"] != patch["metadata"]["uid"]:
            status = {"metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
                      "message": f"pods {resource} not found"}
            self.reply(connection, msg, {"Object": None, "Err": {"ErrStatus": status}})
            return
        if patch["status"].get("phase") == "Failed":
            self.cloud.judge("failed-pod", resource)
        status = pod.setdefault("status", {})
        known = {each["type"]: each for each in status.get("conditions", [])}
        known.update({each["type"]: each for each in patch["status"].get("conditions", [])})
        status.update({**patch["status"], "conditions": list(known.values())})
        self.keep(resource, pod)
        self.reply(connection, msg, {"Object": self.kept[resource], "Err": None})
        self.push("update", resource)

    def reply(self, connection, msg, content, version=None):
        reply = wire.message("response", msg["route"]["resource"], content, source=SOURCE,
                             parent=msg["header"]["msg_id"], version=version)
        connection.pushed.add(reply["header"]["msg_id"])
        connection.send(wire.encode(reply))
        return reply
