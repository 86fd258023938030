#!/usr/bin/env python3
"""Runs the two peers against each other: good ones agree, and each notices what the other does wrong."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 60  # seconds for anything here; far more than is needed

# sabotage of the edge → (its command, the rule by which the cloud notices)
EDGE = {
    "csr-other-node": ("join", "request-subject"),
    "csr-masters": ("join", "request-subject"),
    "csr-bad-signature": ("join", "request-signature"),
    "csr-pem": ("join", "request-not-der"),
    "no-nodename": ("join", "no-nodename"),
    "no-body": ("join", "get-without-body"),
    "huge-body": ("join", "body-too-large"),
    "no-authorization": ("join", "authorization-form"),
    "auth-basic": ("join", "authorization-form"),
    "auth-whole-token": ("join", "authorization-form"),
    "rotate-with-authorization": ("rotate", "authorization-on-rotation"),
    "rotate-csr-other-node": ("rotate", "request-subject"),
    "rotate-old-key": ("rotate", "rotation-with-old-key"),
    "other-node-id": ("tunnel", "certificate-of-another"),
    "no-project-id": ("tunnel", "no-project-id"),
    "no-connectionuse": ("tunnel", "connectionuse"),
    "other-path": ("tunnel", "wrong-path"),
    "no-keepalive": ("tunnel", "no-first-keepalive"),
    "first-not-keepalive": ("tunnel", "first-not-keepalive"),
    "keepalive-content": ("tunnel", "keepalive-form"),
    "not-json": ("tunnel", "malformed"),
    "wrong-type": ("tunnel", "malformed"),
}
# sabotage of the cloud → what the edge must not take; it ends with 1
CLOUD = ["ca-other", "serving-other-ca", "serving-no-address", "serving-expired", "hub-other-ca",
         "hub-accept", "cert-empty", "cert-garbage", "cert-pem", "cert-other-key",
         "cert-other-node", "cert-other-ca", "cert-no-client-auth", "cert-ca", "cert-expired"]


class Cloud:
    def __init__(self, folder, *options):
        self.folder = folder
        command = [sys.executable, f"{HERE}/cloud.py", "--dir", folder, *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.wait_for("ready")

    def wait_for(self, event):
        for line in self.process.stdout:
            if (said := json.loads(line))["event"] == event:
                return said
        raise AssertionError(f"the cloud ended before {event!r}")

    def edge(self, command, *options, node="edge-1", folder="edge"):
        host = f"[{self.ready['host']}]" if ":" in self.ready["host"] else self.ready["host"]
        return subprocess.run(
            [sys.executable, f"{HERE}/edge.py", command, "--node", node, "--cloud", "upstream",
             "--dir", f"{self.folder}/{folder}", "--token-file", f"{self.folder}/token",
             "--https", f"{host}:{self.ready['https']}", "--hub", f"{host}:{self.ready['hub']}", *options],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)

    def stop(self):
        """(exit code, the rules that were broken)"""
        out, _ = self.process.communicate("stop\n", timeout=LIMIT)
        said = [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, said[-1]["violations"]


def good(folder, cloud_options, edge_options):
    cloud = Cloud(folder, *cloud_options)
    toured = cloud.edge("tour", *edge_options)
    stopped = cloud.stop()
    assert toured.returncode == 0, toured.stdout + toured.stderr
    assert stopped == (0, []), stopped


def bad_edge(folder, sabotage):
    command, rule = EDGE[sabotage]
    cloud = Cloud(folder, "--keepalive-timeout", "3")
    if command != "join":
        joined = cloud.edge("join")
        assert joined.returncode == 0, joined.stdout + joined.stderr
    done = cloud.edge(command, "--sabotage", sabotage, "--patience", "3.5")
    code, violations = cloud.stop()
    assert (code, rule in violations) == (1, True), (violations, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr


def bad_cloud(folder, sabotage):
    cloud = Cloud(folder, "--sabotage", sabotage)
    done = cloud.edge("tour")
    stopped = cloud.stop()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert stopped == (0, []), (stopped, done.stdout)


def killed_newcomer(folder):
    cloud = Cloud(folder, "--kill-newcomer")
    done = cloud.edge("tour")
    assert done.returncode == 1 and '"wrong"' in done.stdout, done.stdout
    stopped = cloud.stop()
    assert stopped == (0, []), stopped


def commands(folder):
    """drop, push, down, up and answer do what they say, seen from an edge that reconnects at once."""
    cloud = Cloud(folder)
    assert cloud.edge("join").returncode == 0
    edge = subprocess.Popen(
        [sys.executable, f"{HERE}/edge.py", "tunnel", "--node", "edge-1", "--cloud", "upstream",
         "--dir", f"{folder}/edge", "--hub", f"127.0.0.1:{cloud.ready['hub']}", "--reconnect-wait", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = lambda event: next(line for line in edge.stdout if f'"event": "{event}"' in line)
    tell = lambda line: (cloud.process.stdin.write(line + "\n"), cloud.process.stdin.flush())
    said("connected")
    cloud.wait_for("keepalive")
    big = {"header": {"msg_id": "11111111-2222-4333-8444-555555555555", "timestamp": 1},
           "route": {"source": "edgecontroller", "group": "resource", "operation": "update",
                     "resource": "default/configmap/big"}, "content": {"data": {"a": "<" * 20000}}}
    tell("push " + json.dumps(big))
    assert "big" in said("message")
    assert cloud.wait_for("message")["parent"] == big["header"]["msg_id"]
    tell("drop")
    said("disconnected")
    said("connected")
    assert cloud.wait_for("connect")["generation"] == 2
    tell("answer 503")
    cloud.wait_for("did")
    assert '"status": 503' in cloud.edge("join", folder="other").stdout
    edge.communicate("stop\n", timeout=LIMIT)
    assert edge.returncode == 0
    assert cloud.stop() == (0, [])


def main():
    cases = [
        ("tour", lambda at: good(at, [], [])),
        ("tour, empty dNSName", lambda at: good(at, ["--empty-dns-name"], [])),
        ("tour, IPv6", lambda at: good(at, ["--bind", "::1"], [])),
        ("tour, v1.13 cloud", lambda at: good(at, ["--v113"], [])),
        ("tour, v1.13 both", lambda at: good(at, ["--v113", "--allow-legacy"], ["--generation", "v1.13"])),
        ("a killed newcomer is noticed", killed_newcomer),
        ("commands", commands),
        *((f"edge: {name}", lambda at, name=name: bad_edge(at, name)) for name in EDGE),
        *((f"cloud: {name}", lambda at, name=name: bad_cloud(at, name)) for name in CLOUD),
    ]
    failed = 0

    def run(case):
        with tempfile.TemporaryDirectory() as folder:
            try:
                return case[1](f"{folder}/cloud")
            except (AssertionError, subprocess.TimeoutExpired, StopIteration) as err:
                return err or AssertionError("failed")

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for (name, _), err in zip(cases, pool.map(run, cases)):
            print("ok  " if err is None else "FAIL", name, "" if err is None else f"\n{err}", flush=True)
            failed += err is not None
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
