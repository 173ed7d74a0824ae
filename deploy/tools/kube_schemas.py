#!/usr/bin/env python3
"""Writes the schemas that kubeconform reads: kube_schemas.py FOLDER. FOLDER/vVERSION has each kind of Kubernetes, from the
package kubernetes-validate, with all definitions that it refers to. FOLDER/own has those of checks/schemas."""

import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate

from checks.schemas import own_schemas

# The oldest version that the manifests need, the newest with schemas, and one between.
VERSIONS = ("1.30.0", "1.32.0", "1.34.0")


def local(value: Any, used: list[str]) -> Any:
    """The same with references inside of the file. Adds the names that it refers to."""
    if isinstance(value, dict):
        found = {key: local(one, used) for key, one in value.items()}
        reference = found.get("$ref", "")
        if isinstance(reference, str) and "#/$defs/" in reference:
            name = reference.rsplit("/", 1)[1]
            used.append(name)
            found["$ref"] = f"#/$defs/{name}"
        return found
    return [local(one, used) for one in value] if isinstance(value, list) else value


def whole(schema: dict, definitions: dict) -> dict:
    """A schema with the definitions that it needs."""
    waiting: list[str] = []
    found, held = local(schema, waiting), {}
    while waiting:
        name = waiting.pop()
        if name not in held:
            held[name] = local(definitions[name], waiting)
    # kubeconform would look for references below this address.
    found.pop("$id", None)
    return {**found, "$defs": held}


def main() -> int:
    """See the head."""
    folder = Path(sys.argv[1])
    source = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    for version in VERSIONS:
        found = source / f"v{version}-local-strict"
        definitions = json.loads((found / "_definitions.json").read_text())["$defs"]
        into = folder / f"v{version}"
        into.mkdir(parents=True, exist_ok=True)
        for path in found.glob("*.json"):
            schema = json.loads(path.read_text())
            # Only objects that can be applied have this mark.
            if "x-kubernetes-group-version-kind" in schema:
                (into / path.name).write_text(json.dumps(whole(schema, definitions)))
    own = folder / "own"
    own.mkdir(parents=True, exist_ok=True)
    for (version, kind), schema in own_schemas().items():
        (own / f"{kind.lower()}-{version.replace('/', '-')}.json").write_text(json.dumps(schema))
    return 0


if __name__ == "__main__":
    sys.exit(main())
