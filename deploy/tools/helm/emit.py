"""Writes a manifest as a template of Helm. A value is a YAML scalar, a mapping, a list, or one of the nodes below. Values
from `.Values` are written as JSON, which is YAML on one line, so that no indentation depends on a value."""

import json
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Expr:
    """A value that Helm computes."""

    text: str


@dataclass(frozen=True)
class When:
    """A value of a mapping, or an item of a list, that exists under a condition."""

    condition: str
    value: Any


@dataclass(frozen=True)
class Each:
    """Further items of a list, or further entries of a mapping (under any key), from a list or a mapping in the values."""

    text: str


@dataclass(frozen=True)
class Loop:
    """An item of a list, repeated for each element of a list in the values. The item finds the element in `.`."""

    text: str
    item: Any


@dataclass(frozen=True)
class Variables:
    """Further environment variables, from a mapping in the values."""

    text: str


def scalar(value: Any) -> str:
    """A scalar as YAML on one line."""
    if isinstance(value, str):
        if "{{" in value:
            raise ValueError(f"Helm would execute {value!r}")
        plain = yaml.safe_dump(value, width=float("inf"), allow_unicode=True).removesuffix("...\n").strip()
        return plain if "\n" not in plain else json.dumps(value)
    return json.dumps(value)


def _entry(head: str, value: Any, indent: int) -> list[str]:
    """The lines of a value behind `key:` or `-`."""
    if isinstance(value, Expr):
        return [f"{head} {{{{ {value.text} | toJson }}}}"]
    if isinstance(value, (dict, list)) and value:
        return [head, *lines(value, indent)]
    return [f"{head} {scalar(value)}"]


def _item(value: Any, indent: int) -> list[str]:
    """The lines of an item of a list."""
    space = " " * indent
    if isinstance(value, When):
        return [f"{{{{- if {value.condition} }}}}", *_item(value.value, indent), "{{- end }}"]
    if isinstance(value, Loop):
        return [f"{{{{- range {value.text} }}}}", *_item(value.item, indent), "{{- end }}"]
    if isinstance(value, Each):
        return [f"{{{{- range {value.text} }}}}", f"{space}- {{{{ . | toJson }}}}", "{{- end }}"]
    if isinstance(value, Variables):
        return [
            f"{{{{- range $name, $value := {value.text} }}}}",
            f"{space}- name: {{{{ $name }}}}",
            f"{space}  value: {{{{ $value | toString | toJson }}}}",
            "{{- end }}",
        ]
    if isinstance(value, dict) and value and not isinstance(next(iter(value.values())), (When, Each)):
        inner = lines(value, indent + 2)
        return [f"{space}- {inner[0].lstrip()}", *inner[1:]]
    return _entry(f"{space}-", value, indent + 2)


def lines(node: Any, indent: int = 0) -> list[str]:
    """The lines of a mapping or a list."""
    found: list[str] = []
    space = " " * indent
    if isinstance(node, list):
        for one in node:
            found += _item(one, indent)
        return found
    for key, value in node.items():
        if isinstance(value, Each):
            found += [f"{{{{- range $key, $value := {value.text} }}}}"]
            found += [f"{space}{{{{ $key }}}}: {{{{ $value | toJson }}}}", "{{- end }}"]
        elif isinstance(value, When):
            found += [f"{{{{- if {value.condition} }}}}", *_entry(f"{space}{key}:", value.value, indent + 2)]
            found += ["{{- end }}"]
        else:
            found += _entry(f"{space}{scalar(key)}:", value, indent + 2)
    return found
