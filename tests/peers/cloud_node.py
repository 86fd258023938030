"""Nodes and leases of a Go cloud: stored, patched, pushed; misdeeds to order; and a judge of what an edge says.

Written from the protocol alone. A misdeed is (operation, kind, what), kind in node, nodepatch, lease, and
`what` one of 403 404 409 422 500, exists (409 AlreadyExists), empty (`Err` is {}), words (a string for a content),
error (the operation `error`), silence (not done, not answered), lost (done, not answered), twice (answered twice).
"""

import json
import re
import time
import uuid

import wire

ROUTE = re.compile(r"(?P<space>[a-z-]+)/(?P<kind>node|nodepatch|lease)/(?P<name>[^/]+)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
QUANTITY = re.compile(r"\d+([KMGTP]i|[kMGTP])?")
VERSION = re.compile(r"v\d+\.\d+\.\d+-kubeedge-v\d+\.\d+\.\d+")
CONDITIONS = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
LABELS = ["beta.kubernetes.io/arch", "beta.kubernetes.io/os", "kubernetes.io/arch", "kubernetes.io/hostname",
          "kubernetes.io/os", "node-role.kubernetes.io/agent", "node-role.kubernetes.io/edge"]
INFO = ["machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
        "kubeProxyVersion", "operatingSystem", "architecture"]
REASONS = {"403": "Forbidden", "404": "NotFound", "409": "Conflict", "422": "Invalid", "500": "InternalError",
           "exists": "AlreadyExists"}
PLURALS = {"node": "nodes", "nodepatch": "nodes", "lease": "leases"}
MANY = 80  # questions in ten seconds: an edge that goes round in circles
NEVER = "0000-00-00T00:00:00.000000Z"


class Refused(Exception):
    def __init__(self, code, reason, name, kind):
        super().__init__(reason)
        details = {"name": name, "kind": PLURALS[kind]}
        if kind == "lease":
            details["group"] = "coordination.k8s.io"
        self.status = {"metadata": {}, "status": "Failure", "message": f'{PLURALS[kind]} "{name}": {reason}',
                       "reason": reason, "details": details, "code": code}


class Nodes:
    def __init__(self, cloud):
        self.cloud = cloud
        self.nodes, self.leases = {}, {}
        self.version = 300
        self.misdeeds = []
        self.always = {}
        self.deaf = set()
        self.asked = {}
        self.seen = {}

    # --- what the one who started us wants -------------------------------------------------------

    def obey(self, word, rest):
        if word == "misdeed":
            operation, kind, what = rest.split()
            self.misdeeds.append((operation, kind, what))
        elif word == "always":
            operation, kind, *what = rest.split()
            self.always[operation, kind] = what[0] if what else None
        elif word == "tell-node":
            node = {"kind": "Node", "apiVersion": "v1", **self.nodes[rest]}
            self.cloud.objects.send("update", f"null/node/{rest}", node)
        elif word in ("lose-taints", "give-taints"):
            taints = [{"key": "node.kubeedge.io/no-runtime", "effect": "NoSchedule"}]
            self.nodes[rest]["spec"]["taints"] = taints if word == "give-taints" else []
            self.touch(self.nodes[rest])
        elif word == "deaf":
            self.deaf = set(rest.split())
        elif word == "show":
            self.give_up()
            self.cloud.events("store", nodes=self.nodes, leases=self.leases)
        elif word == "delete-node":
            # the cloud ends the session; the lease goes with its owner
            self.nodes.pop(rest, None)
            self.leases.pop(rest, None)
            session = self.cloud.hub.sessions.get(rest)
            if session:
                session.close("node-deleted")
        elif word == "forget-lease":
            self.leases.pop(rest, None)
        elif word == "lose-ready":
            node = self.nodes[rest]
            for condition in node["status"]["conditions"]:
                condition.update(status="Unknown", reason="NodeStatusUnknown")
            self.touch(node)
        else:
            return False
        return True

    # --- questions --------------------------------------------------------------------------------

    def handle(self, connection, msg):
        """True when the message was about a node or its lease."""
        route = msg["route"]
        found = ROUTE.fullmatch(route.get("resource", ""))
        if not found or msg["header"].get("parent_msg_id"):
            return False
        operation, kind, name = route.get("operation"), found["kind"], found["name"]
        self.judge_question(connection, route, found)
        what = self.next_misdeed(operation, kind)
        self.cloud.events("asked", node=connection.node, operation=operation, kind=kind, misdeed=what,
                          generation=self.cloud.hub.generation.get(connection.node))
        if what == "silence" or kind in self.deaf:
            return True
        pushes = []
        try:
            if what in REASONS:
                raise Refused(409 if what == "exists" else int(what), REASONS[what], name, kind)
            if what in (None, "lost", "twice"):
                result, pushes = self.do(operation, kind, name, msg["content"])
                content = result if (operation, kind) == ("query", "node") else {"Object": result, "Err": None}
            elif what == "empty":
                content = {"Object": {"metadata": {"creationTimestamp": None}}, "Err": {}}
            else:
                content = "something went wrong"
        except Refused as refused:
            error = {"ErrStatus": refused.status}
            content = error if (operation, kind) == ("query", "node") else {"Object": None, "Err": error}
        reply = wire.answer(msg, "error" if what == "error" else "response", content)
        reply["route"].update(source="edgecontroller", group="resource")
        for push in pushes:
            connection.pushed.add(push["header"]["msg_id"])
            connection.send(wire.encode(push))
        for _ in range({"lost": 0, "twice": 2}.get(what, 1)):
            connection.pushed.add(reply["header"]["msg_id"])
            connection.send(wire.encode(reply))
        return True

    def next_misdeed(self, operation, kind):
        for at, (of, about, what) in enumerate(self.misdeeds):
            if (of, about) == (operation, kind):
                del self.misdeeds[at]
                return what
        return self.always.get((operation, kind))

    def do(self, operation, kind, name, content):
        store = self.leases if kind == "lease" else self.nodes
        if operation == "insert" and kind in ("node", "lease"):
            if name in store:
                raise Refused(409, "AlreadyExists", name, kind)
            self.judge_node(name, content) if kind == "node" else self.judge_lease(name, content, None)
            store[name] = self.born(content)
        elif name not in store:
            raise Refused(404, "NotFound", name, kind)
        elif operation == "patch" and kind == "nodepatch":
            self.patch(name, content)
        elif operation == "update" and kind == "lease":
            self.renew(name, content)
        elif operation != "query":
            self.cloud.judge("unknown-question", f"{operation} {kind}")
        pushes = []
        if kind != "lease" and operation != "query" and not self.cloud.options.v113:
            node = {"kind": "Node", "apiVersion": "v1", **store[name]}
            pushes.append(wire.message("update", f"null/node/{name}", node, source="edgecontroller",
                                       version=store[name]["metadata"]["resourceVersion"]))
        return store[name], pushes

    def born(self, content):
        made = json.loads(json.dumps(content))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        made["metadata"].update(uid=str(uuid.uuid4()), creationTimestamp=now,
                                managedFields=[{"manager": "cloudcore", "operation": "Update"}])
        return self.touch(made)

    def touch(self, stored):
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        return stored

    def renew(self, name, content):
        old = self.leases[name]
        version = content.get("metadata", {}).get("resourceVersion")
        if not version:
            self.cloud.judge("lease-without-version", json.dumps(content))
            raise Refused(422, "Invalid", name, "lease")
        self.judge_lease(name, content, old)
        if version != old["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", name, "lease")
        new = json.loads(json.dumps(content))
        for key in ("uid", "creationTimestamp"):
            new["metadata"][key] = old["metadata"][key]
        fields = new["metadata"].pop("managedFields", None)
        if fields != [{}] and "managedFields" in old["metadata"]:
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
        self.leases[name] = self.touch(new)
        latest, stale = self.seen.get(name, (old["spec"]["renewTime"], 0))
        renewed = new["spec"]["renewTime"]
        self.seen[name] = (renewed, 0) if renewed > latest else (latest, stale + 1)

    def give_up(self):
        """As a cluster: a node whose lease has not grown as long as it is good for, four renewals, is Ready no more."""
        for name, (_, stale) in self.seen.items():
            if stale >= 4 and name in self.nodes:
                self.obey("lose-ready", name)

    def patch(self, name, content):
        if not isinstance(content, str):
            self.cloud.judge("patch-form", "a patch is a string that holds JSON")
            raise Refused(400, "BadRequest", name, "nodepatch")
        patch = json.loads(content)
        self.judge_patch(patch)
        merge(self.nodes[name], patch)
        self.touch(self.nodes[name])

    # --- the judge ---------------------------------------------------------------------------------

    def judge_question(self, connection, route, found):
        judge = self.cloud.judge
        if (route.get("source"), route.get("group")) != ("edged", "meta"):
            judge("node-route", json.dumps(route))
        space = {"lease": ["kube-node-lease"]}.get(found["kind"], ["null", "default"])
        if found["space"] not in space or found["name"] != connection.node:
            judge("node-resource", route["resource"])
        times = self.asked.setdefault(connection, [])
        now = time.monotonic()
        times.append(now)
        times[:] = [then for then in times if then > now - 10]
        if len(times) > MANY:
            judge("goes-round-in-circles", f"{len(times)} questions in ten seconds")

    def check(self, rule, holds, detail):
        if not holds:
            self.cloud.judge(rule, str(detail)[:300])

    def judge_node(self, name, node):
        head, status = node.get("metadata", {}), node.get("status", {})
        labels = head.get("labels", {})
        self.check("node-name", head.get("name") == name, head)
        self.check("node-labels", all(key in labels for key in LABELS), labels)
        self.check("node-labels", labels.get("node-role.kubernetes.io/edge") == "", labels)
        self.check("node-labels", labels.get("kubernetes.io/hostname") == name, labels)
        info = status.get("nodeInfo", {})
        self.check("node-info", sorted(info) == sorted(INFO), info)
        self.check("node-info", all(isinstance(text, str) for text in info.values()), info)
        self.check("node-version", VERSION.fullmatch(info.get("kubeletVersion", "")), info)
        for key in ("capacity", "allocatable"):
            amounts = status.get(key, {})
            sound = all(isinstance(it, str) and QUANTITY.fullmatch(it) for it in amounts.values())
            self.check("node-quantities", amounts and sound, amounts)
        if status.get("capacity", {}).get("pods") == "0":
            taint = {"key": "node.kubeedge.io/no-runtime", "effect": "NoSchedule"}
            self.check("node-taint", taint in node.get("spec", {}).get("taints", []), node.get("spec"))
        conditions = status.get("conditions", [])
        self.check("node-conditions", [it.get("type") for it in conditions] == CONDITIONS, conditions)
        for it in conditions:
            whole = {"type", "status", "reason", "message", "lastHeartbeatTime", "lastTransitionTime"}
            self.check("node-conditions", set(it) == whole, it)
            self.check("node-times", TIME.fullmatch(it.get("lastHeartbeatTime", "")), it)
        kinds = [it.get("type") for it in status.get("addresses", [])]
        self.check("node-addresses", kinds == ["InternalIP", "Hostname"], status.get("addresses"))

    def judge_patch(self, patch):
        self.check("patch-form", set(patch) <= {"metadata", "status"}, patch)
        self.check("patch-form", set(patch.get("metadata", {})) <= {"labels", "annotations"}, patch)
        status = patch.get("status", {})
        for it in status.get("conditions", []):
            self.check("patch-conditions", it.get("type") in CONDITIONS, it)
            if "status" in it:
                self.check("patch-conditions", "lastTransitionTime" in it, it)
        order = status.get("$setElementOrder/conditions", [])
        self.check("patch-order", [it.get("type") for it in order] == CONDITIONS, order)
        addresses = status.get("addresses")
        self.check("patch-addresses", addresses is None or {"$patch": "replace"} in addresses, addresses)

    def judge_lease(self, name, lease, old):
        head, spec = lease.get("metadata", {}), lease.get("spec", {})
        self.check("lease-name", (head.get("name"), head.get("namespace")) == (name, "kube-node-lease"), head)
        self.check("lease-holder", spec.get("holderIdentity") == name, spec)
        length = spec.get("leaseDurationSeconds")
        self.check("lease-length", isinstance(length, int) and length > 0, spec)
        renewed = spec.get("renewTime", "")
        self.check("lease-time", MICRO_TIME.fullmatch(renewed), spec)
        before = old["spec"]["renewTime"] if old else NEVER
        self.check("lease-goes-back", renewed > before, f"{renewed} after {before}")
        node = self.nodes.get(name)
        for owner in head.get("ownerReferences", []):
            sound = node is None or owner.get("uid") == node["metadata"]["uid"]
            self.check("lease-owner", sound and owner.get("kind") == "Node", owner)


def merge(into, patch):
    """A strategic merge patch, as far as the status of nodes goes."""
    for key, value in patch.items():
        if key == "conditions":
            for change in value:
                old = next((it for it in into.setdefault(key, []) if it["type"] == change["type"]), None)
                old.update(change) if old else into[key].append(dict(change))
        elif key == "addresses":
            into[key] = [it for it in value if "$patch" not in it]
        elif key.startswith("$"):
            continue
        elif value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
