#!/usr/bin/env python3
"""Writes the parts list of the executables (CycloneDX 1.5, JSON) to standard output.

usage: cross/sbom.py [--crates] RUST_TARGET...
       --crates  a plain list instead, a crate a line: name, version, licence, and `build` for what is not linked

The crates that the default features link for these targets, and those that only help to build them, with
versions, licences and the hashes of Cargo.lock. The same sources give the same bytes.
"""

import datetime
import json
import os
import subprocess
import sys
import tomllib
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(targets, as_list):
    graph = metadata(targets)
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    # cargo metadata also tells of crates that no feature asks for; cargo tree does not.
    everything, linked = tree(targets, "normal,build"), tree(targets, "normal,no-proc-macro")
    everything = {i for i, p in packages.items() if (p["name"], p["version"]) in everything}
    linked = {i for i, p in packages.items() if (p["name"], p["version"]) in linked}
    checksums = lock_checksums()

    def reference(identity):
        package = packages[identity]
        return purl(package)

    components = []
    for identity in sorted(everything - {root}, key=reference):
        package = packages[identity]
        component = {
            "type": "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "scope": "required" if identity in linked else "excluded",
            "purl": purl(package),
            "licenses": [{"expression": expression(package)}],
        }
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package.get("repository"):
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
    dependencies = [
        {
            "ref": reference(identity),
            "dependsOn": sorted({reference(d) for d in needs(nodes[identity], {None, "build"}) if d in everything}),
        }
        for identity in sorted(everything, key=reference)
    ]
    own = packages[root]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": built(),
            "component": {
                "type": "application",
                "bom-ref": purl(own),
                "name": own["name"],
                "version": own["version"],
                "purl": purl(own),
                "licenses": [{"expression": expression(own)}],
            },
            "properties": [{"name": "kubeedge:target", "value": target} for target in targets],
        },
        "components": components,
        "dependencies": dependencies,
    }
    content = json.dumps(bom, sort_keys=True)
    if as_list:
        for part in components:
            words = [part["name"], part["version"], part["licenses"][0]["expression"]]
            print("\t".join(words + ["build"] * (part["scope"] == "excluded")))
        return
    bom["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, content))
    json.dump(bom, sys.stdout, indent=2)
    print()


def metadata(targets):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", f"{TOP}/Cargo.toml"]
    for target in targets:
        command += ["--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def needs(node, kinds):
    """The packages that one needs in these ways: None is to run, "build" to be built."""
    for dependency in node["deps"]:
        if any(kind["kind"] in kinds for kind in dependency["dep_kinds"]):
            yield dependency["pkg"]


def tree(targets, edges):
    """Names and versions of the crates that are used in these ways for any of the targets."""
    found = set()
    for target in targets:
        command = ["cargo", "tree", "--locked", "--manifest-path", f"{TOP}/Cargo.toml", "--target", target]
        command += ["--edges", edges, "--prefix", "none", "--format", "{p}"]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        found.update((line.split()[0], line.split()[1].removeprefix("v")) for line in lines if line)
    return found


def lock_checksums():
    with open(f"{TOP}/Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def expression(package):
    """As SPDX has it: older crates part their licences by a slash."""
    return (package.get("license") or "NOASSERTION").replace("/", " OR ")


def built():
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    words = sys.argv[1:]
    as_list = words[:1] == ["--crates"]
    targets = words[as_list:]
    if not targets or targets[0].startswith("-"):
        sys.exit(__doc__)
    main(targets, as_list)
