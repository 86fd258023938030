#!/usr/bin/env python3
"""Reads Kubernetes objects as YAML and says which do not follow the schema of one of the versions named.

validate.py VERSION... < objects.yaml: prints a line for each fault, and `N objects` at the end; exit 1 when there is a fault.
"""

import sys

import kubernetes_validate.utils
import yaml


def main():
    documents = [it for it in yaml.safe_load_all(sys.stdin) if it is not None]
    faults = 0
    for version in sys.argv[1:]:
        for document in documents:
            name = f"{document['kind']}/{document['metadata']['name']}"
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except (
                kubernetes_validate.utils.ValidationError,
                kubernetes_validate.utils.SchemaNotFoundError,
                kubernetes_validate.utils.VersionNotSupportedError,
            ) as error:
                faults += 1
                message = str(error).splitlines()[0]
                print(f"{version} {name}: {message}")
    print(f"{len(documents)} objects")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
