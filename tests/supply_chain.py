#!/usr/bin/env python3
"""What comes in with other people's crates: known weaknesses, licences, and the parts list. Needs no network.

usage: tests/supply_chain.py                  checks Cargo.lock; ends with `N passed, N failed`
       tests/supply_chain.py --update FOLDER  writes tests/advisories.toml anew from a clone of rustsec/advisory-db

tests/advisories.toml has the numbers of the published advisories about every crate of Cargo.lock, as of a day. A
crate that is not in it has not been looked up, and fails the check as much as one in an affected version.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADVISORIES = f"{TOP}/tests/advisories.toml"
# The snapshot is looked at with a warning from this age on, in days.
OLD = 120
TARGETS = ["armv7-unknown-linux-musleabihf", "x86_64-unknown-linux-musl"]


def main():
    if sys.argv[1:2] == ["--update"] and len(sys.argv) == 3:
        return update(sys.argv[2])
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    checks = [
        versions_are_compared_rightly,
        an_affected_version_is_found,
        every_crate_was_looked_up,
        no_crate_is_affected,
        every_licence_is_allowed,
        the_parts_list_is_whole,
    ]
    passed = 0
    for check in checks:
        faults = check()
        print(f"{check.__name__.replace('_', ' ')}: {'ok' if not faults else 'FAILED'}")
        for fault in faults:
            print(f"  {fault}")
        passed += not faults
    print(f"{passed} passed, {len(checks) - passed} failed")
    return 0 if passed == len(checks) else 1


# ---- versions


def parse(version):
    """Something that sorts as versions do: a version before its release comes earlier."""
    numbers, _, before = version.split("+")[0].partition("-")
    parts = [int(part) for part in numbers.split(".")]
    parts += [0] * (3 - len(parts))
    rank = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split(".")]
    return (parts, 0 if before else 1, rank)


def matches(version, requirement):
    return all(matches_one(version, part.strip()) for part in requirement.split(","))


def matches_one(version, part):
    operator, number = re.fullmatch(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)", part).groups()
    ours, theirs = parse(version), parse(number)
    if operator in (None, "^", "~"):
        major, minor, _ = theirs[0]
        keep = 2 if operator == "~" or major == 0 and minor else 1
        if operator != "~" and major == minor == 0:
            keep = 3
        return ours >= theirs and ours[0][:keep] == theirs[0][:keep]
    return {">=": ours >= theirs, "<=": ours <= theirs, ">": ours > theirs, "<": ours < theirs, "=": ours == theirs}[
        operator
    ]


def is_affected(version, advisory):
    safe = advisory["patched"] + advisory.get("unaffected", [])
    return not any(matches(version, requirement) for requirement in safe)


def versions_are_compared_rightly():
    cases = [
        ("0.23.46", ">= 0.23.5", True),
        ("0.23.4", ">= 0.23.5", False),
        ("1.10.0", "> 1.9.9", True),
        ("0.104.0-alpha.1", "< 0.104.0-alpha.6", True),
        ("0.104.0-alpha.10", "< 0.104.0-alpha.6", False),
        ("0.104.0-alpha.1", "< 0.104.0", True),
        ("0.103.17", ">= 0.103.13, < 0.104.0-alpha.1", True),
        ("0.20.2", "^0.20.2", True),
        ("0.21.0", "^0.20.2", False),
        ("1.9.0", "^1.2", True),
        ("0.13.10", "0.13.10", True),
        ("0.2.0", "=0.2.0", True),
        ("0.11.1+wasi", ">= 0.11.1", True),
    ]
    return [f"{case}" for case in cases if matches(case[0], case[1]) != case[2]]


def an_affected_version_is_found():
    advisory = {"crate": "rustls", "id": "X", "patched": [">= 0.23.18"], "unaffected": ["< 0.23"]}
    found = faults_of([("rustls", "0.23.17"), ("rustls", "0.23.18"), ("rustls", "0.22.0")], [advisory])
    return [] if len(found) == 1 and "0.23.17" in found[0] else [f"found {found}"]


# ---- checks


def locked():
    with open(f"{TOP}/Cargo.lock", "rb") as file:
        return [(p["name"], p["version"]) for p in tomllib.load(file)["package"] if "source" in p]


def snapshot():
    with open(ADVISORIES, "rb") as file:
        return tomllib.load(file)


def every_crate_was_looked_up():
    known = snapshot()
    age = (datetime.date.today() - known["snapshot"]).days
    if age > OLD:
        print(f"warning: tests/advisories.toml is {age} days old: run tests/supply_chain.py --update")
    missing = sorted({name for name, _ in locked()} - set(known["looked_up"]))
    return [f"{name}: nobody has looked for advisories about it: run tests/supply_chain.py --update" for name in missing]


def no_crate_is_affected():
    return faults_of(locked(), snapshot()["advisory"])


def faults_of(crates, advisories):
    return [
        f"{name} {version}: {advisory['id']}: take {' or '.join(advisory['patched']) or 'another crate'}"
        for name, version in crates
        for advisory in advisories
        if advisory["crate"] == name and is_affected(version, advisory)
    ]


def every_licence_is_allowed():
    with open(f"{TOP}/deny.toml", "rb") as file:
        allowed = set(tomllib.load(file)["licenses"]["allow"])
    command = ["cargo", "tree", "--locked", "--all-features", "--target", "all", "--edges", "normal,build"]
    command += ["--prefix", "none", "--format", "{p}|{l}"]
    lines = subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    faults = []
    for line in sorted(set(lines)):
        crate, _, licence = line.removesuffix(" (*)").partition("|")
        if not is_allowed(licence.replace("/", " OR "), allowed):
            faults.append(f"{crate}: {licence or 'no licence'} is not in deny.toml")
    return faults


def is_allowed(expression, allowed):
    """OR binds less than AND, and neither reaches into parentheses."""
    expression = expression.strip()
    if not expression:
        return False
    for word, combine in ((" OR ", any), (" AND ", all)):
        parts = split(expression, word)
        if len(parts) > 1:
            return combine(is_allowed(part, allowed) for part in parts)
    if expression.startswith("(") and expression.endswith(")"):
        return is_allowed(expression[1:-1], allowed)
    return expression in allowed


def split(expression, word):
    parts, depth, begun = [], 0, 0
    for at, char in enumerate(expression):
        depth += (char == "(") - (char == ")")
        if depth == 0 and expression.startswith(word, at):
            parts.append(expression[begun:at])
            begun = at + len(word)
    return parts + [expression[begun:]]


def the_parts_list_is_whole():
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}
    command = [f"{TOP}/cross/sbom.py", *TARGETS]
    texts = [subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout for _ in range(2)]
    bom = json.loads(texts[0])
    faults = [] if texts[0] == texts[1] else ["two runs differ"]
    if (bom["bomFormat"], bom["specVersion"], bom["version"]) != ("CycloneDX", "1.5", 1):
        faults.append("no CycloneDX 1.5")
    if not re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"]):
        faults.append(f"serial number {bom['serialNumber']}")
    if bom["metadata"]["timestamp"] != "2027-01-15T08:00:00Z":
        faults.append(f"time {bom['metadata']['timestamp']}")
    listed = {(part["name"], part["version"]): part for part in bom["components"]}
    for crate in wanted(TARGETS[0], "normal,build") - set(listed):
        faults.append(f"{crate} is missing")
    linked = {crate for crate, part in listed.items() if part["scope"] == "required"}
    for name in ("rustls", "ring", "smol"):
        if not any(crate == name for crate, _ in linked):
            faults.append(f"{name} is not among what is linked")
    for crate in linked & {("syn", v) for n, v in listed if n == "syn"}:
        faults.append(f"{crate} only helps to build")
    references = {bom["metadata"]["component"]["bom-ref"], *(part["bom-ref"] for part in bom["components"])}
    for part in bom["components"]:
        name, version = part["name"], part["version"]
        if part["purl"] != f"pkg:cargo/{name}@{version}" or part["type"] != "library":
            faults.append(f"{name}: purl {part['purl']}")
        if not re.fullmatch(r"[0-9a-f]{64}", part.get("hashes", [{}])[0].get("content", "")):
            faults.append(f"{name}: no hash")
        if part["licenses"][0]["expression"] in ("", "NOASSERTION"):
            faults.append(f"{name}: no licence")
    for entry in bom["dependencies"]:
        if {entry["ref"], *entry["dependsOn"]} - references:
            faults.append(f"{entry['ref']} depends on what is not listed")
    if {entry["ref"] for entry in bom["dependencies"]} != references:
        faults.append("not every part says what it depends on")
    return faults


def wanted(target, edges):
    command = ["cargo", "tree", "--locked", "--target", target, "--edges", edges, "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = {tuple(line.split()[:2]) for line in lines if line and "/" not in line}
    return {(name, version.removeprefix("v")) for name, version in found}


# ---- a new snapshot


def update(folder):
    names = sorted({name for name, _ in locked()})
    git = ["git", "-C", folder]
    day = run([*git, "log", "-1", "--format=%cs"]).strip()
    files = run([*git, "ls-tree", "-r", "--name-only", "HEAD", "crates"]).splitlines()
    found = []
    for file in files:
        place = re.fullmatch(r"crates/([^/]+)/(RUSTSEC-[\d-]+)\.md", file)
        if place and place[1] in names:
            text = run([*git, "show", f"HEAD:{file}"])
            facts = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.S)[1])
            if "withdrawn" not in facts["advisory"]:
                safe = facts["versions"]
                found.append((place[1], place[2], safe.get("patched", []), safe.get("unaffected", []), ""))
    known = {identity for _, identity, *_ in found}
    # What was learnt elsewhere stays until the database has it.
    for old in snapshot()["advisory"] if os.path.exists(ADVISORIES) else []:
        if "source" in old and old["id"] not in known:
            found.append((old["crate"], old["id"], old["patched"], old.get("unaffected", []), old["source"]))
    lines = [
        "# Published advisories about the crates of Cargo.lock: what tests/supply_chain.py goes by, and writes.",
        f"snapshot = {day}",
        "looked_up = [",
        *(f"  {json.dumps(name)}," for name in names),
        "]",
    ]
    for crate, identity, patched, unaffected, source in sorted(found):
        lines += ["", "[[advisory]]", f"crate = {json.dumps(crate)}", f"id = {json.dumps(identity)}"]
        lines.append(f"patched = {json.dumps(patched)}")
        if unaffected:
            lines.append(f"unaffected = {json.dumps(unaffected)}")
        if source:
            lines.append(f"source = {json.dumps(source)}")
    with open(ADVISORIES, "w") as file:
        file.write("\n".join(lines) + "\n")
    return 0


def run(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
