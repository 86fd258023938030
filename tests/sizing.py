#!/usr/bin/env python3
"""docs/sizing.md says what benches/sizing.py computes, from figures that were measured and constants that are in use.

Ends with `N passed, N failed`.
"""

import importlib.util
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = f"{TOP}/benches/sizing.py"
LIMIT = 300  # seconds for one run
# A figure that was measured anew may differ by this share before the page must be made anew.
DRIFT = 0.25

# input -> where docs/benchmarks.md has it
MEASURED = {
    "tunnel-kb": r"memory per idle mTLS tunnel in cloudcore \|[^|]*\| ([\d.,]+) kB",
    "handshakes": r"([\d.,]+) per second of cloudcore's processor time",
    "messages": r"questions after the node's Lease, the same \|[^|]*\| [\d.,]+ / ([\d.,]+) \|",
    "certificates": r"certificates issued per second and core[^|]*\|[^|]*\| ([\d.,]+),",
}

# constant -> file and how it stands there
CONSTANTS = {
    "BACKOFF_FIRST": ("src/edgecore/backoff.rs", r"Backoff::new\(Duration::from_millis\((\d+)\), Duration::from_secs\(\d+\)\)", 1000),
    "BACKOFF_CAP": ("src/edgecore/backoff.rs", r"Backoff::new\(Duration::from_millis\(\d+\), Duration::from_secs\((\d+)\)\)", 1),
    "HANDSHAKE_TIMEOUT": ("src/config/edgecore-default.yaml", r"websocket:\n +enable: true\n +handshakeTimeout: (\d+)", 1),
    "PLACES": ("src/cloudcore/cloud.rs", r"const HUB_PLACES: usize = (\d+);", 1),
    "BACKLOG": ("src/cloudcore/listener.rs", r"const BACKLOG: i32 = (\d+);", 1),
}


def the_page_is_what_the_script_prints(sizing):
    printed = run([SCRIPT])
    page = text("docs/sizing.md").split(sizing.BEGIN)[1].split(sizing.END)[0]
    assert page.strip() == printed.strip(), "docs/sizing.md is older than its script: run benches/sizing.py --write"


def figures_are_those_of_the_benches(sizing):
    page = text("docs/benchmarks.md")
    defaults = {name: default for name, default, _, _ in sizing.INPUTS}
    for name, pattern in MEASURED.items():
        measured = float(re.search(pattern, page)[1].replace(",", ""))
        off = abs(measured / defaults[name] - 1)
        assert off <= DRIFT, f"{name} is {defaults[name]}, but {measured} was measured: change benches/sizing.py and run it with --write"


def constants_are_those_in_use(sizing):
    for name, (file, pattern, unit) in CONSTANTS.items():
        found = re.search(pattern, text(file))
        assert found, f"{name} is not in {file} any more"
        assert float(found[1]) / unit == getattr(sizing, name), f"{name} is {float(found[1]) / unit} in {file}"


def kubernetes_is_asked_little(_):
    """Arguments beyond what a node may cost are refused, and the tables keep to it."""
    for arguments, said in [
        (["--lease", "9"], "a node writes once in ten seconds"),
        (["--calls", "7"], "6 other calls an hour"),
        (["--replicas", "1,3"], "the only replica"),
    ]:
        assert said in run([SCRIPT, *arguments], status=1), said
    small, large = (run([SCRIPT, "--nodes", nodes, "--replicas", "4"]) for nodes in ("1000", "5000"))
    for printed, writes, calls in [(small, "100", "1.66667"), (large, "500", "8.33333")]:
        assert f"| Lease writes a second | {writes} |" in printed, printed
        assert f"| other calls a second | {calls} |" in printed, printed
        assert "| watches, 4 replicas | 36 |" in printed, printed


def a_replica_serves_in_turn(sizing):
    replica = sizing.Replica(10)
    assert [round(replica.offer(5.0), 6) for _ in range(3)] == [5.1, 5.2, 5.3]
    assert round(replica.offer(9.0), 6) == 9.1
    room = sizing.PLACES + sizing.BACKLOG
    replica = sizing.Replica(1)
    taken = [replica.offer(0.0) for _ in range(room + 10)]
    assert taken[room - 1] == room and taken[room:] == [None] * 10


def everybody_comes_back(sizing):
    for scenario in sizing.SCENARIOS:
        for cores in (1, 4):
            storm = simulated(sizing, scenario, 3, cores, ["--nodes", "9000"])
            assert len(storm.back) == storm.nodes == (9000 if scenario.all_gone else 3000), scenario.name
            assert storm.tries >= storm.nodes
            assert simulated(sizing, scenario, 3, cores, ["--nodes", "9000"]).back == storm.back, "chance"


def nobody_is_served_faster_than_the_cores_can(sizing):
    """A drained replica's 30,000 edges on three replicas of one core."""
    storm = simulated(sizing, named(sizing, "drained"), 4, 1, ["--nodes", "120000", "--handshakes", "1000"])
    assert storm.nodes == 30_000 and storm.back[-1] >= 30_000 / 3000, storm.back[-1]
    assert storm.busiest() <= 3000 + 3, storm.busiest()
    fast = simulated(sizing, named(sizing, "drained"), 4, 8, ["--nodes", "120000", "--handshakes", "1000"])
    # Then only the first wait and the network remain.
    assert fast.back[-1] < sizing.BACKOFF_FIRST + 2, fast.back[-1]
    assert fast.tries == fast.nodes


def what_is_gone_serves_nobody(sizing):
    """All come after the outage; of one replica, only through the others; no sooner than it is noticed."""
    storm = simulated(sizing, named(sizing, "all end"), 2, 1, ["--nodes", "2000", "--outage", "45"])
    assert storm.back[0] >= 45 and storm.back[-1] <= 45 + sizing.BACKOFF_CAP + 2, storm.back
    gone = simulated(sizing, named(sizing, "replica ends"), 2, 1, ["--nodes", "2000", "--balancer", "1000"])
    assert gone.replicas[0].free == 0 and gone.tries > 1.5 * gone.nodes
    machine = simulated(sizing, named(sizing, "machine"), 2, 1, ["--nodes", "2000", "--keepalive", "100"])
    assert machine.back[0] >= 40 and machine.back[-1] >= 130, machine.back


def named(sizing, part):
    return next(scenario for scenario in sizing.SCENARIOS if part in scenario.name)


def simulated(sizing, scenario, count, cores, arguments):
    storm = sizing.Storm(sizing.parser().parse_args(arguments), count, cores, scenario)
    storm.run()
    return storm


def run(command, status=0):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, text=True
    )
    assert done.returncode == status, f"exit {done.returncode}, not {status}: {done.stdout}"
    return done.stdout


def text(path):
    with open(f"{TOP}/{path}") as file:
        return file.read()


def main():
    spec = importlib.util.spec_from_file_location("sizing", SCRIPT)
    sizing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sizing)
    checks = [
        the_page_is_what_the_script_prints,
        figures_are_those_of_the_benches,
        constants_are_those_in_use,
        kubernetes_is_asked_little,
        a_replica_serves_in_turn,
        everybody_comes_back,
        nobody_is_served_faster_than_the_cores_can,
        what_is_gone_serves_nobody,
    ]
    passed = 0
    for check in checks:
        try:
            check(sizing)
            passed += 1
        except (AssertionError, subprocess.TimeoutExpired) as fault:
            print(f"FAIL {check.__name__}: {fault}")
    print(f"{passed} passed, {len(checks) - passed} failed")
    return 0 if passed == len(checks) else 1


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
