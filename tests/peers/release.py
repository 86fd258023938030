#!/usr/bin/env python3
"""Reads the record of a release as Helm does, and compares it with one that Helm has written.

release.py RECORDED.secret.json RECORDED.release.json < SECRET: prints a line for each place where ours is not made like
the recorded one, then the record of ours as JSON; exit 1 when there was such a place.
"""

import base64
import gzip
import json
import re
import sys

# What an operator, a chart or a key makes different; only its type counts.
FREE = {"chart.values", "config", "chart.templates", "chart.files", "chart.metadata.description"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def unpack(secret):
    stored = base64.b64decode(secret["data"]["release"], validate=True)
    packed = base64.b64decode(stored, validate=True)
    return json.loads(gzip.decompress(packed))


def faults(ours, theirs, path=""):
    if type(ours) is not type(theirs):
        yield f"{path}: {type(ours).__name__}, not {type(theirs).__name__}"
    elif path in FREE:
        return
    elif isinstance(theirs, dict):
        for key in theirs.keys() ^ ours.keys():
            yield f"{path}.{key}: only in one"
        for key in theirs.keys() & ours.keys():
            yield from faults(ours[key], theirs[key], f"{path}.{key}".lstrip("."))
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], dict):
        for own, other in zip(ours, theirs):
            yield from faults(own, other, path)
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} entries, not {len(theirs)}"
    elif isinstance(theirs, str):
        if TIME.fullmatch(theirs):
            if not TIME.fullmatch(ours):
                yield f"{path}: {ours} is no time"
        elif theirs.startswith("<"):
            if not ours:
                yield f"{path}: empty"
        elif ours != theirs and not path.endswith(("ersion", "description", "path")):
            yield f"{path}: {ours}, not {theirs}"


def main():
    ours = json.load(sys.stdin)
    with open(sys.argv[1]) as file:
        theirs = json.load(file)
    with open(sys.argv[2]) as file:
        recorded = json.load(file)
    record = unpack(ours)
    found = list(faults(record, recorded))
    labels, known = ours["metadata"]["labels"], theirs["metadata"]["labels"]
    if labels.keys() != known.keys():
        found.append(f"labels: {sorted(labels)}, not {sorted(known)}")
    for key, value in (("owner", "helm"), ("name", record["name"]), ("status", record["info"]["status"]),
                       ("version", str(record["version"]))):
        if labels.get(key) != value:
            found.append(f"label {key}: {labels.get(key)}, not {value}")
    if ours["type"] != theirs["type"] or ours["metadata"]["name"] != f"sh.helm.release.v1.{record['name']}.v{record['version']}":
        found.append("the type or the name of the Secret is wrong")
    for line in found:
        print(line)
    print(json.dumps(record))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
