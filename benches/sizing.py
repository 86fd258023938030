#!/usr/bin/env python3
"""Sizes the cloud side for many nodes: arithmetic on measured figures, and a simulation of edges that come back.

usage: benches/sizing.py [--nodes 100000] [--replicas 3,5,10] [--cores 12] ...   prints the tables of docs/sizing.md
       benches/sizing.py --write        puts them there
       benches/sizing.py --help         every input with its default

Nothing is measured here and nothing depends on this machine: the same inputs give the same tables.
"""

import argparse
import heapq
import math
import os
import random
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = f"{TOP}/docs/sizing.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"

# What a run may cost Kubernetes at rest: writes by a node, other calls by a node, watches by a replica.
MOST_WRITES_PER_SECOND, MOST_CALLS_PER_HOUR = 1 / 10, 6

# name, default, what it is, where it is from
MEASURED, CHOSEN, ASSUMED = "measured", "chosen", "assumed"
INPUTS = [
    ("nodes", 100_000, "nodes, all connected", CHOSEN),
    ("cores", 12, "cores of a replica", CHOSEN),
    ("tunnel-kb", 25.6, "kB of cloudcore's memory per tunnel", MEASURED),
    ("base-mb", 6.4, "MB of cloudcore's memory without tunnels (32.0 MB less 1000 tunnels)", MEASURED),
    ("handshakes", 1205, "tunnels opened per second of cloudcore's processor time", MEASURED),
    ("messages", 42_900, "questions answered per second of cloudcore's processor time, 100 tunnels", MEASURED),
    ("certificates", 2304, "certificates issued per second and core", MEASURED),
    ("keepalive", 30, "seconds between two signs of life of an edge", CHOSEN),
    ("rest-bytes", 132, "bytes on the wire for one of them, with its acknowledgement", MEASURED),
    ("lease", 10, "seconds between two writes of a node's Lease", CHOSEN),
    ("calls", 6, "other calls to the API server per node and hour", CHOSEN),
    ("watches", 9, "watches of a replica", CHOSEN),
    ("days", 365, "days that a device's certificate is valid", CHOSEN),
    ("object-kb", 4, "kB of a Node (measured) or of a Pod (assumed), as it is kept", MEASURED),
    ("pods", 0, "Pods of a node", CHOSEN),
    ("socket-kb", 8, "kB of the kernel's memory per idle connection", ASSUMED),
    ("client-us", 100, "µs of cloudcore's processor time per call to the API server", ASSUMED),
    ("server-us", 2000, "µs of the API server's processor time per write", ASSUMED),
    ("lease-bytes", 600, "bytes of a Lease in etcd, per revision", ASSUMED),
    ("kept", 600, "seconds until etcd has dropped an old revision", ASSUMED),
    ("round-trip", 0.05, "seconds from an edge to the cloud and back", ASSUMED),
    ("balancer", 10, "seconds until the balancer sends nobody to a replica that is gone", ASSUMED),
    ("outage", 60, "seconds until a cloud that was gone as a whole serves again", ASSUMED),
]

# src/edgecore/backoff.rs, src/config/edgecore-default.yaml, src/cloudcore/{cloud,listener}.rs
BACKOFF_FIRST, BACKOFF_CAP = 0.8, 30.0
HANDSHAKE_TIMEOUT = 30.0
PLACES, BACKLOG = 2048, 4096
ROUND_TRIPS = 3  # TCP, TLS 1.3, the upgrade

# The published test of KubeEdge, and what its tunnels take by our measurement (docs/benchmarks.md).
UPSTREAM = {"nodes": 100_000, "replicas": 5, "cores": 12, "memory": 48, "tunnel-kb": (129, 147), "status": 60, "pods": 10}


def main():
    given = parser().parse_args()
    faults = broken_rules(given)
    if faults:
        sys.exit(f"sizing: {'; '.join(faults)}")
    text = "\n\n".join([inputs(given), replicas(given), api(given), leases(given), storms(given), upstream(given)])
    if not given.write:
        print(text)
        return
    with open(PAGE) as file:
        page = file.read()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    with open(PAGE, "w") as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def parser():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default, what, origin in INPUTS:
        made.add_argument(f"--{name}", type=type(default), default=default, help=f"{what} ({default}, {origin})")
    made.add_argument("--replicas", type=lambda text: [int(n) for n in text.split(",")], default=[3, 5, 10])
    made.add_argument("--write", action="store_true", help="puts the tables into docs/sizing.md")
    return made


def broken_rules(given):
    faults = []
    if min(given.replicas) < 2:
        faults.append("whoever loses the only replica has none: give --replicas of two or more")
    if 1 / given.lease > MOST_WRITES_PER_SECOND:
        faults.append("a node writes once in ten seconds at the most: give a longer --lease")
    if given.calls > MOST_CALLS_PER_HOUR:
        faults.append(f"a node costs {MOST_CALLS_PER_HOUR} other calls an hour at the most: give fewer --calls")
    return faults


# ---- tables


def inputs(given):
    lines = [(what, number(getattr(given, name.replace("-", "_"))), origin) for name, _, what, origin in INPUTS]
    return "### Inputs\n\n" + table(["input", "value", ""], lines)


def replicas(given):
    lines = []
    for count in given.replicas:
        at_rest, after = math.ceil(given.nodes / count), math.ceil(given.nodes / (count - 1))
        own = given.base_mb + after * given.tunnel_kb / 1000
        objects = given.nodes * (1 + given.pods) * given.object_kb / 1000
        kernel = after * given.socket_kb / 1000
        lines.append(
            (
                count, number(at_rest), number(after), f"{own:,.0f} MB", f"{kernel:,.0f} MB", f"{objects:,.0f} MB",
                f"{(own + kernel + objects) / 1000:.1f} GB", f"{cores_at_rest(given, after):.2f}",
            )
        )  # fmt: skip
    head = ["replicas", "tunnels each", "one lost: each", "their memory", "the kernel's", "Nodes and Pods", "sum", "cores at rest"]
    return "### A replica, when one is lost\n\n" + table(head, lines)


def cores_at_rest(given, tunnels):
    """Of one replica: signs of life as if each were a question, and calls to the API server."""
    calls = tunnels * (1 / given.lease + given.calls / 3600)
    return tunnels / given.keepalive / given.messages + calls * given.client_us / 1e6


def api(given):
    lease, others = given.nodes / given.lease, given.nodes * given.calls / 3600
    renewals = given.nodes / (given.days * 0.8 * 86_400)
    lines = [
        ("Lease writes a second", number(lease), f"{given.nodes:,} / {given.lease} s"),
        ("other calls a second", number(others), f"{given.nodes:,} × {given.calls} / 3600 s"),
        *((f"watches, {n} replicas", n * given.watches, f"{n} × {given.watches}, for any number of nodes") for n in given.replicas),
        ("certificates renewed a second", f"{renewals:.4f}", f"at 80 % of {given.days} days; they cost the API server nothing"),
        ("all nodes enrol at once, one core", f"{given.nodes / given.certificates:.0f} s", f"{given.nodes:,} / {given.certificates:,} a second"),
        ("network, all nodes at rest", f"{given.nodes * given.rest_bytes / given.keepalive / 1000:,.0f} kB/s", f"{given.rest_bytes} bytes in {given.keepalive} s each, both directions"),
    ]  # fmt: skip
    return "### Kubernetes and the network, at rest\n\n" + table(["what", "value", "from"], lines)


def leases(given):
    lines = []
    for seconds in sorted({given.lease, 30, 60}):
        writes = given.nodes / seconds
        held = writes * given.kept * given.lease_bytes / 1e9
        lines.append((f"{seconds} s", number(writes), f"{writes * given.server_us / 1e6:.1f}", f"{held:.1f} GB", f"{4 * seconds} s"))
    head = ["a Lease is written every", "writes a second", "cores of the API server", "old revisions in etcd", "a lost node is noticed after"]
    return "### What the Leases cost Kubernetes\n\n" + table(head, lines)


def storms(given):
    lines = []
    for count in given.replicas:
        for scenario in SCENARIOS:
            # Where edges come spread over half a minute, more cores change nothing.
            for cores in sorted({1, 2, given.cores}) if scenario is SCENARIOS[0] else [1]:
                storm = Storm(given, count, cores, scenario)
                storm.run()
                lines.append((count, cores, scenario.name, number(storm.nodes), *storm.summary()))
    head = ["replicas", "cores", "what happens", "nodes", "half are back", "99 % are back", "all are back", "tries a node", "tunnels a second, at most"]
    return "### Edges that come back\n\n" + table(head, lines)


def upstream(given):
    share = UPSTREAM["nodes"] // UPSTREAM["replicas"]
    low, high = (share * kb / 1e6 for kb in UPSTREAM["tunnel-kb"])
    cores = cores_at_rest(given, share)
    lines = [
        ("replicas, tunnels each", f"{UPSTREAM['replicas']}, {share:,}", f"{UPSTREAM['replicas']}, {share:,}"),
        ("a machine for each", f"{UPSTREAM['cores']} CPUs, {UPSTREAM['memory']} GB", f"computed need: {cores:.2f} cores at rest"),
        ("memory of the tunnels of one", f"{low:.1f}–{high:.1f} GB", f"{share * given.tunnel_kb / 1e6:.2f} GB"),
        (f"Nodes and {UPSTREAM['pods']} Pods each, kept by each replica", "not published", f"{UPSTREAM['nodes'] * (1 + UPSTREAM['pods']) * given.object_kb / 1e6:.1f} GB"),
        ("writes by nodes a second", f"{UPSTREAM['nodes'] / UPSTREAM['status']:,.0f} node statuses, one in {UPSTREAM['status']} s", f"{UPSTREAM['nodes'] / given.lease:,.0f} Leases"),
    ]  # fmt: skip
    return "### Beside KubeEdge's published test\n\n" + table(["what", "KubeEdge", "this cloudcore"], lines)


# ---- the simulation


class Scenario:
    def __init__(self, name, noticed, all_gone=False, refuses=True, announced=False):
        self.name = name
        # Whether the balancer has known before.
        self.announced = announced
        # The earliest and the latest moment at which an edge notices.
        self.noticed = noticed
        self.all_gone = all_gone
        # Whether the system of what is gone still refuses connections; else nothing answers at all.
        self.refuses = refuses


SCENARIOS = [
    Scenario("a replica ends", lambda given: (0, 0)),
    Scenario("a replica is drained first", lambda given: (0, 0), announced=True),
    # The edge's next sign of life is not acknowledged for 0.4 of the time between two.
    Scenario("its machine is gone", lambda given: (0.4 * given.keepalive, 1.4 * given.keepalive), refuses=False),
    Scenario("all end, and serve again", lambda given: (0, 0), all_gone=True),
]


class Replica:
    """Opens tunnels one after the other, as fast as all of its cores together."""

    def __init__(self, rate):
        self.rate, self.free = rate, 0.0

    def offer(self, now):
        """When the tunnel is open; None if so many wait that the system drops the connection's first packet."""
        begin = max(now, self.free)
        if (begin - now) * self.rate >= PLACES + BACKLOG:
            return None
        self.free = begin + 1 / self.rate
        return self.free


class Storm:
    """All edges of the lost replica, or of all, from the loss until the last one has its tunnel."""

    def __init__(self, given, count, cores, scenario):
        self.given, self.scenario = given, scenario
        self.draw = random.Random(f"{count} {cores} {scenario.name}").random
        self.replicas = [Replica(cores * given.handshakes) for _ in range(count)]
        self.nodes = given.nodes if scenario.all_gone else math.ceil(given.nodes / count)
        self.network = ROUND_TRIPS * given.round_trip
        self.tries, self.back = 0, []

    def run(self):
        # What happens next to each node: when, its number, tries so far, when this try began, packets dropped so far.
        events = [self.first(node) for node in range(self.nodes)]
        heapq.heapify(events)
        while events:
            now, node, tried, since, dropped = heapq.heappop(events)
            if since is None:
                tried, since = tried + 1, now
                self.tries += 1
            replica = self.replicas[self.choose(now)]
            done = None if self.is_gone(replica, now) else replica.offer(now)
            if done is not None and done + self.network - since <= HANDSHAKE_TIMEOUT:
                self.back.append(done + self.network)
                continue
            if self.is_gone(replica, now) and self.scenario.refuses:
                over = now + self.given.round_trip
            else:
                over = since + HANDSHAKE_TIMEOUT
                again = now + 2**dropped
                if done is None and again < over:
                    # The edge's system sends it again, after 1, 2, 4 and 8 s.
                    heapq.heappush(events, (again, node, tried, since, dropped + 1))
                    continue
            heapq.heappush(events, (over + self.pause(tried), node, tried, None, 0))
        self.back.sort()

    def first(self, node):
        """The first try that may succeed: as long as all are gone none does."""
        earliest, latest = self.scenario.noticed(self.given)
        now = earliest + (latest - earliest) * self.draw() + self.pause(0)
        tried = 0
        while self.scenario.all_gone and now < self.given.outage:
            tried += 1
            now += self.given.round_trip + self.pause(tried)
        self.tries += tried
        return now, node, tried, None, 0

    def pause(self, failures):
        """Full jitter below a ceiling that doubles, as src/edgecore/backoff.rs draws it."""
        return self.draw() * min(BACKOFF_FIRST * 2 ** min(failures, 20), BACKOFF_CAP)

    def choose(self, now):
        """The balancer's choice, until it has noticed also of the first, which is the one that is gone."""
        notices = 0 if self.scenario.announced else self.given.balancer
        first = 0 if self.scenario.all_gone or now < notices else 1
        return first + int(self.draw() * (len(self.replicas) - first))

    def is_gone(self, replica, now):
        return now < self.given.outage if self.scenario.all_gone else replica is self.replicas[0]

    def summary(self):
        at = lambda share: f"{self.back[math.ceil(share * len(self.back)) - 1]:.1f} s"
        return at(0.5), at(0.99), at(1), f"{self.tries / self.nodes:.2f}", number(self.busiest())

    def busiest(self):
        """The most tunnels in any second of the clock."""
        counts = {}
        for moment in self.back:
            counts[int(moment)] = counts.get(int(moment), 0) + 1
        return max(counts.values())


# ---- text


def table(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def number(value):
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:g}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
