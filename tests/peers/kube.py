"""A Kubernetes API on loopback: kmock's emulator, which others wrote, behind TLS, and what it lacks.

kmock takes the requests apart, keeps the objects with their history, and knows which kinds there are (its list is of a
real cluster). It has no versions, conflicts, selectors, pages, PUT, kinds of patches or watches from a version, and no
namespaces as objects: these are here, as the recorded answers of a kube-apiserver in tests/vectors/kube-api have them.

    kube.py FOLDER          writes ca.crt, client.crt, client.key, token, kubeconfig and token.kubeconfig there

Orders come in on stdin, one JSON object a line, each answered by {"event": "done"} with what it asked for:
fail (status, reason, methods, path, times, retry_after), heal, cut (on), forget, token (value; null: everybody is
refused), deny (verbs as "create secrets"), work (unless: no container whose image has this text works; without it
nothing that is deployed does), put (resource as [group, version, plural], object), stop, start, requests, objects.
"""

import asyncio
import copy
import datetime
import json
import pathlib
import re
import ssl
import sys
import uuid

import jsonpatch
import kmock
from aiohttp import web

import pki

WRITES = ["POST", "PUT", "PATCH", "DELETE"]
NAMESPACES = kmock.resource("", "v1", "namespaces")
CRDS = kmock.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
NAMESPACE_PATH = re.compile(r"/api/v1/namespaces(?:/([^/]+)(?:/(status|finalize))?)?$")
# How lists of objects are merged by kubectl's and kubelet's patches.
LIST_KEYS = {"conditions": "type", "addresses": "type", "containers": "name", "env": "name", "volumes": "name",
             "taints": "key", "ownerReferences": "uid", "containerStatuses": None, "volumeMounts": "mountPath"}


def refusal(status, reason, message, details=None):
    return kmock.KubernetesError(status=status, reason=reason, message=message, details=details or {})


def merged(old, new, strategic):
    """RFC 7386, or with lists by their keys as strategic merge patches have it."""
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if strategic and key.startswith("$"):
            continue
        name = LIST_KEYS.get(key) if strategic else None
        if value is None:
            result.pop(key, None)
        elif name and isinstance(value, list):
            result[key] = by_key(result.get(key) or [], value, name)
        else:
            result[key] = merged(result.get(key), value, strategic)
    return result


def by_key(old, new, name):
    items = {item.get(name): item for item in old}
    for item in new:
        if item.get("$patch") == "delete":
            items.pop(item.get(name), None)
        else:
            items[item.get(name)] = merged(items.get(item.get(name)), item, True)
    return list(items.values())


def selected(obj, params):
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, params.get("labelSelector", "").split(",")):
        key, equal, value = term.replace("==", "=").partition("=")
        if key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
        elif (labels.get(key) != value) if equal else (key.removeprefix("!") in labels) == key.startswith("!"):
            return False
    for term in filter(None, params.get("fieldSelector", "").split(",")):
        path, _, value = term.replace("==", "=").partition("=")
        differs = path.endswith("!")
        found = obj
        for part in path.removesuffix("!").split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        if (found == value) == differs:
            return False
    return True


class Cluster(kmock.KubernetesEmulator):
    def __init__(self, token):
        super().__init__()
        self.resources.load_bundled()
        self.version, self.oldest = 1000, 1000
        self.log, self.news = [], asyncio.Condition()
        self.token, self.open = token, True
        self.faults, self.cut, self.denied, self.seen = [], False, [], []
        self.works = None

    # --- what a request goes through

    async def __call__(self, raw):
        place = NAMESPACE_PATH.match(raw.path)
        if not place:
            return await super().__call__(raw)
        # kmock takes these for a place where others are.
        try:
            text = await raw.text()
            kinds = {"GET": "FETCH" if place[1] else "LIST", "POST": "CREATE", "PATCH": "UPDATE", "DELETE": "DELETE"}
            watch = raw.query.get("watch") in ("true", "1")
            request = kmock.Request(
                method=raw.method, url=raw.url, params=dict(raw.query), headers=dict(raw.headers), text=text,
                data=json.loads(text) if text else None, resource=NAMESPACES, name=place[1], subresource=place[2],
                action=kmock.action("WATCH" if watch else kinds[raw.method]) if raw.method in kinds else None,
                raw_request=raw)
            return await self._handle(request)
        except Exception as error:  # as kmock does
            return await self._render_error(error)

    async def _handle(self, request):
        if request.url.path in ("/readyz", "/livez", "/healthz"):
            return web.Response(text="ok")
        self.admit(request)
        if request.url.path == "/version":
            return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.1", "platform": "linux/amd64"})
        if request.resource is None or request.resource.version is None:
            return await super()._handle(request)
        if request.resource.plural is None:
            return self.discover(request.resource)
        if "protobuf" in next((v for k, v in request.headers.items() if k.lower() == "content-type"), ""):
            raise refusal(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        method = request.method.value
        if request.resource.plural == "selfsubjectaccessreviews":
            return self.review(request)
        if method == "GET" and request.params.get("watch") in ("true", "1"):
            return await self.watch(request)
        if method == "GET" and request.name is None:
            return self.list(request)
        if method == "GET":
            return web.json_response(self.current(request))
        if method == "POST" and request.name and request.subresource == "token":
            return self.account_token(request)
        handler = {"POST": self.create, "PUT": self.replace, "PATCH": self.patch, "DELETE": self.delete}[method]
        status, obj = await handler(request)
        return web.json_response(obj, status=status)

    def admit(self, request):
        headers = {name.lower(): value for name, value in request.headers.items()}
        who = self.who(request._raw_request, headers)
        self.seen.append({
            "method": request.method.value, "target": request.url.raw_path_qs, "who": who,
            "as": headers.get("impersonate-user"), "agent": headers.get("user-agent", ""),
            "type": headers.get("content-type")})
        if who is None:
            raise refusal(401, "Unauthorized", "Unauthorized")
        if who == "system:anonymous":
            raise refusal(403, "Forbidden", 'User "system:anonymous" cannot do this')
        for fault in list(self.faults):
            if request.method.value in fault.get("methods", WRITES) and re.search(fault.get("path", ""), str(request.url)):
                if "times" in fault:
                    fault["times"] -= 1
                    if fault["times"] <= 0:
                        self.faults.remove(fault)
                details = {"retryAfterSeconds": fault["retry_after"]} if "retry_after" in fault else {}
                raise refusal(fault["status"], fault.get("reason", "Conflict"), "on purpose", details)

    def who(self, raw, headers):
        if self.token is None:
            return None
        if "authorization" in headers:
            return "token" if headers["authorization"] == f"Bearer {self.token}" else None
        shown = raw.transport.get_extra_info("peercert") if raw.transport else None
        names = dict(part for parts in (shown or {}).get("subject", ()) for part in parts)
        return names.get("commonName", "system:anonymous")

    async def _render_error(self, error):
        if isinstance(error, kmock.KubernetesObjectNotFoundError):
            error = refusal(404, "NotFound", "the object was not found")
        elif isinstance(error, kmock.KubernetesNotFoundError):
            return web.Response(text="404 page not found\n", status=404)
        if not isinstance(error, kmock.KubernetesError):
            return await super()._render_error(error)
        headers = {}
        if error.details and "retryAfterSeconds" in error.details:
            headers["Retry-After"] = str(error.details["retryAfterSeconds"])
        return web.json_response({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": error.message,
            "reason": error.reason, "details": error.details, "code": error.status,
        }, status=error.status, headers=headers)

    # --- objects

    def key(self, request, name=None):
        return request.resource, request.namespace, name or request.name

    def current(self, request):
        key = self.key(request)
        if key not in self.objects or self.objects[key].deleted:
            self.missing(request, request.name)
        return self.objects[key].raw

    def missing(self, request, name):
        group, plural = request.resource.group, request.resource.plural
        full = f"{plural}.{group}" if group else plural
        details = {"name": name, "kind": plural} | ({"group": group} if group else {})
        raise refusal(404, "NotFound", f'{full} "{name}" not found', details)

    def note(self, kind, resource, namespace, obj, before=None):
        """Gives the object its new version. Nobody comes in between: `tell` is for when it is stored."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, resource, namespace, copy.deepcopy(obj), copy.deepcopy(before)))

    async def tell(self):
        async with self.news:
            self.news.notify_all()

    def run(self, obj):
        """What controllers and machines make of a workload at once."""
        if obj["kind"] == "Service":
            obj.setdefault("spec", {}).setdefault("clusterIP", "10.96.0.7")
        if obj["kind"] not in ("Deployment", "DaemonSet") or self.works is None:
            return
        images = [container["image"] for container in obj["spec"]["template"]["spec"]["containers"]]
        works = not any(self.works in image for image in images) if self.works else True
        wanted = obj["spec"].get("replicas", 1)
        obj["status"] = {
            "updatedReplicas": wanted, "availableReplicas": wanted if works else 0,
            "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": int(works)}

    async def store(self, request, name, obj, before):
        key = self.key(request, name)
        self.run(obj)
        self.note("MODIFIED" if before else "ADDED", request.resource, request.namespace, obj, before)
        if key in self.objects:
            if not self.objects[key].deleted:
                self.objects[key].delete()
            self.objects[key].create(obj)
        else:
            self.objects[key] = obj
        if request.resource == CRDS:
            self.define(obj)
        await self.tell()

    def kinds(self, resource):
        return self.resources[resource].kind or resource.plural.capitalize()

    def define(self, crd):
        spec = crd["spec"]
        for version in spec["versions"]:
            resource = kmock.resource(spec["group"], version["name"], spec["names"]["plural"])
            self.resources[resource] = {
                "kind": spec["names"]["kind"], "singular": spec["names"].get("singular", ""),
                "namespaced": spec["scope"] == "Namespaced", "shortnames": spec["names"].get("shortNames", []),
                "categories": [], "subresources": ["status"],
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}

    async def create(self, request, obj=None):
        obj = obj or request.data
        if not isinstance(obj, dict) or not obj.get("kind"):
            raise refusal(400, "BadRequest", "the object provided is unrecognized")
        meta = obj.setdefault("metadata", {})
        if "generateName" in meta and "name" not in meta:
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        name = meta.get("name", "")
        if not re.fullmatch(r"[a-z0-9:]([-a-z0-9.:]*[a-z0-9])?", name):
            raise refusal(422, "Invalid", f'{obj["kind"]} "{name}" is invalid: metadata.name: Invalid value: "{name}"')
        if request.namespace:
            meta["namespace"] = request.namespace
            home = (NAMESPACES, None, request.namespace)
            if home not in self.objects or self.objects[home].deleted:
                raise refusal(404, "NotFound", f'namespaces "{request.namespace}" not found',
                              {"name": request.namespace, "kind": "namespaces"})
        key = self.key(request, name)
        if key in self.objects and not self.objects[key].deleted:
            plural = request.resource.plural
            full = f"{plural}.{request.resource.group}" if request.resource.group else plural
            raise refusal(409, "AlreadyExists", f'{full} "{name}" already exists', {"name": name, "kind": plural})
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        if obj["kind"] == "Secret":
            obj.setdefault("type", "Opaque")
        if request.resource == NAMESPACES:
            obj["status"] = {"phase": "Active"}
        if request.resource == CRDS:
            obj["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if request.params.get("dryRun") != "All":
            await self.store(request, name, obj, None)
        return 201, obj

    def conflict(self, request, obj, wanted):
        if wanted and wanted != obj["metadata"]["resourceVersion"]:
            raise refusal(409, "Conflict", f'Operation cannot be fulfilled on {request.resource.plural} '
                          f'"{request.name}": the object has been modified; please apply your changes to the '
                          "latest version and try again", {"name": request.name, "kind": request.resource.plural})

    async def change(self, request, before, new):
        meta = new.setdefault("metadata", {})
        self.conflict(request, before, meta.get("resourceVersion"))
        if meta.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            raise refusal(409, "Conflict", "Precondition failed: UID in precondition")
        for field in ("uid", "creationTimestamp", "name", "namespace"):
            if field in before["metadata"]:
                meta[field] = before["metadata"][field]
        if request.subresource == "status":
            new = {**before, "status": new.get("status", {}), "metadata": {**before["metadata"]}}
        meta = new["metadata"]
        meta["resourceVersion"] = before["metadata"]["resourceVersion"]
        if new == before or request.params.get("dryRun") == "All":
            return 200, new
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return 200, await self.remove(request.resource, request.namespace, request.name)
        await self.store(request, request.name, new, before)
        return 200, new

    async def replace(self, request):
        before = copy.deepcopy(self.current(request))
        return await self.change(request, before, request.data)

    async def patch(self, request):
        kind = {name.lower(): value for name, value in request.headers.items()}.get("content-type", "")
        kind = kind.split(";")[0]
        try:
            change = json.loads(request.text)
        except ValueError as error:
            raise refusal(400, "BadRequest", "unexpected end of JSON input") from error
        if kind == "application/apply-patch+yaml":
            key = self.key(request)
            if key not in self.objects or self.objects[key].deleted:
                return await self.create(request, change)
            kind = "application/merge-patch+json"
        before = copy.deepcopy(self.current(request))
        if kind == "application/json-patch+json":
            try:
                new = jsonpatch.apply_patch(copy.deepcopy(before), change)
            except jsonpatch.JsonPatchException as error:
                raise refusal(422, "Invalid", f"the server rejected our request: {error}") from error
        else:
            new = merged(copy.deepcopy(before), change, kind == "application/strategic-merge-patch+json")
        return await self.change(request, before, new)

    async def delete(self, request):
        if request.name is None:
            raise refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        obj = copy.deepcopy(self.current(request))
        wanted = ((request.data or {}).get("preconditions") or {}) if isinstance(request.data, dict) else {}
        if wanted.get("uid", obj["metadata"]["uid"]) != obj["metadata"]["uid"]:
            raise refusal(409, "Conflict", f'Operation cannot be fulfilled on {request.resource.plural} '
                          f'"{request.name}": the UID in the precondition ({wanted["uid"]}) does not match')
        self.conflict(request, obj, wanted.get("resourceVersion"))
        if obj["metadata"].get("finalizers"):
            obj["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            await self.store(request, request.name, obj, self.current(request))
            return 200, obj
        if request.resource == NAMESPACES:
            for resource, namespace, name in list(self.objects):
                if namespace == request.name and not self.objects[resource, namespace, name].deleted:
                    await self.remove(resource, namespace, name)
        await self.remove(request.resource, request.namespace, request.name)
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {
            "name": request.name, "kind": request.resource.plural, "uid": obj["metadata"]["uid"]}}

    async def remove(self, resource, namespace, name):
        obj = copy.deepcopy(self.objects[resource, namespace, name].raw)
        self.objects[resource, namespace, name].delete()
        self.note("DELETED", resource, namespace, obj, obj)
        await self.tell()
        return obj

    # --- many of them

    def discover(self, wanted):
        """The kinds of a group; kmock's own names the core group wrongly, and parts as if they were objects."""
        found = []
        for resource, info in self.resources.items():
            if (resource.group, resource.version) != (wanted.group, wanted.version):
                continue
            common = {"kind": info.kind, "namespaced": bool(info.namespaced), "verbs": sorted(info.verbs)}
            found.append({"name": resource.plural, "singularName": info.singular or "",
                          "shortNames": sorted(info.shortnames), **common})
            found += [{"name": f"{resource.plural}/{part}", "singularName": "", **common} for part in info.subresources]
        if not found:
            raise kmock.KubernetesResourceNotFoundError()
        return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "resources": found,
                                  "groupVersion": f"{wanted.group}/{wanted.version}".lstrip("/")})

    def known(self, request):
        if request.resource not in self.resources:
            raise kmock.KubernetesResourceNotFoundError()

    def list(self, request):
        self.known(request)
        found = [
            obj.raw for (resource, namespace, _), obj in sorted(self.objects.items(), key=lambda it: (it[0][1] or "", it[0][2]))
            if resource == request.resource and not obj.deleted
            and request.namespace in (None, namespace) and selected(obj.raw, request.params)]
        meta, start, version = {}, 0, self.version
        if "continue" in request.params:
            version, start = map(int, request.params["continue"].split("."))
            if version < self.oldest:
                raise refusal(410, "Expired", "The provided continue parameter is too old to display a consistent list")
        limit = int(request.params.get("limit") or 0)
        rest = found[start:]
        if limit and len(rest) > limit:
            rest, meta["continue"] = rest[:limit], f"{version}.{start + limit}"
        api = f"{request.resource.group}/{request.resource.version}".lstrip("/")
        return web.json_response({"kind": self.kinds(request.resource) + "List", "apiVersion": api,
                                  "metadata": {"resourceVersion": str(version), **meta}, "items": rest})

    async def watch(self, request):
        self.known(request)
        params = dict(request.params)
        if request.name:
            params["fieldSelector"] = f"metadata.name={request.name}"
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request._raw_request)
        loop = asyncio.get_running_loop()
        end = loop.time() + float(params.get("timeoutSeconds") or 1800)

        async def tell(kind, obj):
            await stream.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
            if self.cut:
                request._raw_request.transport.abort()
                raise ConnectionResetError

        since = int(params.get("resourceVersion") or 0)
        try:
            if since and since < self.oldest:
                await stream.write(json.dumps({"type": "ERROR", "object": {
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
                    "message": f"too old resource version: {since} ({self.oldest})", "code": 410}}).encode() + b"\n")
                return stream
            if not since:
                since = self.version
                for (resource, namespace, _), obj in list(self.objects.items()):
                    if (resource == request.resource and request.namespace in (None, namespace) and not obj.deleted
                            and selected(obj.raw, params)):
                        await tell("ADDED", obj.raw)
            told = since
            while loop.time() < end and self.open:
                for version, kind, resource, namespace, obj, before in [it for it in self.log if it[0] > since]:
                    since = version
                    if resource != request.resource or request.namespace not in (None, namespace):
                        continue
                    now, then = selected(obj, params), bool(before) and selected(before, params)
                    if kind == "MODIFIED" and now != then:
                        kind = "ADDED" if now else "DELETED"
                    if now or then:
                        await tell(kind, obj)
                        told = version
                if since > told and params.get("allowWatchBookmarks") == "true":
                    api = f"{request.resource.group}/{request.resource.version}".lstrip("/")
                    await tell("BOOKMARK", {"kind": self.kinds(request.resource), "apiVersion": api,
                                            "metadata": {"resourceVersion": str(since)}})
                    told = since
                async with self.news:
                    if not self.log or self.log[-1][0] <= since:
                        try:
                            await asyncio.wait_for(self.news.wait(), min(1, max(0.01, end - loop.time())))
                        except TimeoutError:
                            pass
        except ConnectionError:
            pass
        return stream

    # --- what is no object

    def review(self, request):
        wanted = request.data["spec"].get("resourceAttributes", {})
        name = f'{wanted.get("verb")} {wanted.get("resource")}'
        request.data["status"] = {"allowed": name not in self.denied and "*" not in self.denied}
        return web.json_response(request.data, status=201)

    def account_token(self, request):
        seconds = request.data.get("spec", {}).get("expirationSeconds", 3600)
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        request.data["status"] = {"token": f"made.for.{request.name}",
                                  "expirationTimestamp": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return web.json_response(request.data, status=201)


class Port:
    """Listens; can be stopped, and comes back where it was."""

    def __init__(self, cluster, context):
        self.cluster, self.context, self.number, self.runner = cluster, context, 0, None

    async def start(self):
        self.cluster.open = True
        self.runner = web.ServerRunner(web.Server(self.cluster), shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", self.number, ssl_context=self.context, reuse_address=True)
        await site.start()
        self.number = self.runner.addresses[0][1]

    async def stop(self):
        self.cluster.open = False
        async with self.cluster.news:
            self.cluster.news.notify_all()
        await self.runner.cleanup()


def prepare(folder):
    """The files of FOLDER; the server's TLS settings and its token."""
    authority = pki.Authority.create()
    key, cert = authority.serving(["127.0.0.1", "::1"], ["localhost", "kubernetes"], seconds=86400)
    (folder / "ca.crt").write_bytes(pki.pem(authority.cert))
    (folder / "server.pem").write_bytes(pki.sec1_pem(key) + pki.pem(cert))
    client = pki.new_key()
    shown = authority.sign(client.public_key(), ("system:masters", "admin"), 86400, [pki.CLIENT_AUTH])
    (folder / "client.crt").write_bytes(pki.pem(shown))
    (folder / "client.key").write_bytes(pki.sec1_pem(client))
    token = uuid.uuid4().hex
    (folder / "token").write_text(token + "\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context, token


def kubeconfigs(folder, port):
    users = {"kubeconfig": "{client-certificate: client.crt, client-key: client.key}",
             "token.kubeconfig": "{tokenFile: token}"}
    for name, user in users.items():
        text = (f'apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: '
                f'u}}}}]\nclusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: '
                f'ca.crt}}}}]\nusers: [{{name: u, user: {user}}}]\n')
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def say(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


async def obey(order, cluster, port):
    match order["do"]:
        case "fail":
            cluster.faults.append(order)
        case "heal":
            cluster.faults.clear()
        case "cut":
            cluster.cut = order["on"]
        case "forget":
            cluster.oldest = cluster.version + 1
            cluster.version += 1
        case "token":
            cluster.token = order["value"]
        case "deny":
            cluster.denied = order["verbs"]
        case "work":
            cluster.works = order.get("unless", "")
        case "put":
            resource, obj = kmock.resource(*order["resource"]), order["object"]
            namespace = obj["metadata"].get("namespace")
            await cluster.create(kmock.Request(method="POST", resource=resource, namespace=namespace, data=obj))
        case "stop":
            await port.stop()
        case "start":
            await port.start()
        case "requests":
            seen, cluster.seen = cluster.seen, []
            return {"requests": seen}
        case "objects":
            return {"objects": [obj.raw for obj in cluster.objects.values() if not obj.deleted]}
        case other:
            return {"error": f"no order {other}"}
    return {}


async def main():
    folder = pathlib.Path(sys.argv[1])
    context, token = prepare(folder)
    cluster = Cluster(token)
    async with cluster:
        port = Port(cluster, context)
        await port.start()
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            request = kmock.Request(method="POST", resource=NAMESPACES, data={
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            await cluster.create(request)
        kubeconfigs(folder, port.number)
        say("ready", port=port.number)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            say("done", do=order["do"], **await obey(order, cluster, port))


if __name__ == "__main__":
    asyncio.run(main())
