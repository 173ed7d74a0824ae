"""Checks every object with a strict schema: kubernetes-validate has the kinds of Kubernetes, the folder `schemas` the
others. A kind without a schema is a finding, and so is a field that is not in the schema."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate

from .model import Findings, Manifest, Rendered

# The oldest version with all features in use (preStop with sleep), and the newest version with a schema.
VERSIONS = ("1.30", "1.34")
SCHEMAS = Path(__file__).with_name("schemas")


def own_schemas() -> dict[tuple[str, str], dict]:
    """The schemas in the folder of this file, by apiVersion and kind."""
    found = {}
    for path in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(path.read_text())
        properties = schema["properties"]
        found[properties["apiVersion"]["const"], properties["kind"]["const"]] = schema
    return found


def place(path: object) -> str:
    """A place in an object, as text."""
    return ".".join(map(str, path)) or "the object"


def check(rendered: Rendered, findings: Findings) -> None:
    """Checks all objects of an overlay."""
    known = own_schemas()
    seen = set()
    for one in rendered.manifests:
        identity = (one.data.get("apiVersion"), one.where)
        if identity in seen:
            findings.add("schema", one.where, "is there twice")
        seen.add(identity)
        schema = known.get((one.data.get("apiVersion", ""), one.kind))
        if schema is not None:
            for error in jsonschema.Draft202012Validator(schema).iter_errors(one.data):
                findings.add("schema", one.where, f"{place(error.absolute_path)}: {error.message}")
        else:
            for version in VERSIONS:
                for rule, why in _of_kubernetes(json.dumps(one.data, default=str), version):
                    findings.add(rule, one.where, why)


@cache
def _of_kubernetes(text: str, version: str) -> list[tuple[str, str]]:
    """Checks an object, given as JSON. The result is cached, because the tests check the same objects repeatedly."""
    one = Manifest(json.loads(text))
    try:
        kubernetes_validate.validate(one.data, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        why = f"{one.data.get('apiVersion')} {one.kind} has no schema in Kubernetes {version}, nor in checks/schemas"
        return [("kind", why)]
    except kubernetes_validate.ValidationError as error:
        return [("schema", f"{place(error.path)}: {error.message} (Kubernetes {version})")]
    return []
