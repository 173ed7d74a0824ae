#!/usr/bin/env python3
"""Converts deploy/alertmanager/routes.yml to an AlertmanagerConfig for the Prometheus operator, in
k8s/components/alertmanager/config.yaml. deploy/tools/watch.sh build runs this. The receivers are webhooks, whose
addresses are in the secret `tidings-alerts`.
"""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROUTES = ROOT / "deploy" / "alertmanager" / "routes.yml"
WRITTEN = ROOT / "k8s" / "components" / "alertmanager" / "config.yaml"
HEAD = """# Built by deploy/tools/watch.sh build from deploy/alertmanager/routes.yml. Change that file.
# yamllint disable rule:line-length rule:indentation
"""
NAMES = {"group_by": "groupBy", "group_wait": "groupWait", "group_interval": "groupInterval", "repeat_interval": "repeatInterval"}


def matcher(text: str) -> dict:
    """One matcher, such as `severity="page"`."""
    name, kind, value = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text).groups()
    # Equality is the default. kustomize writes a plain `=`, which PyYAML does not read as text.
    return {"name": name, "value": value} | ({} if kind == "=" else {"matchType": kind})


def route(one: dict) -> dict:
    """A route with the routes below it."""
    made = {"receiver": one["receiver"]}
    if "matchers" in one:
        made["matchers"] = [matcher(text) for text in one["matchers"]]
    made |= {new: one[old] for old, new in NAMES.items() if old in one}
    if "routes" in one:
        made["routes"] = [route(below) for below in one["routes"]]
    return made


def receivers(names: list[str]) -> list[dict]:
    """Each receiver with the key of its address in the secret. `nobody` has no address."""
    webhook = lambda name: {"urlSecret": {"name": "tidings-alerts", "key": f"{name}-url"}, "sendResolved": name != "watchdog"}  # noqa: E731
    return [{"name": name} if name == "nobody" else {"name": name, "webhookConfigs": [webhook(name)]} for name in names]


def config() -> str:
    """The AlertmanagerConfig, as YAML."""
    routes = yaml.safe_load(ROUTES.read_text())
    whole = route(routes["route"])
    names = {whole["receiver"], *(below["receiver"] for below in whole["routes"])}
    inhibit = [
        {
            "sourceMatch": [matcher(text) for text in one["source_matchers"]],
            "targetMatch": [matcher(text) for text in one["target_matchers"]],
            "equal": one["equal"],
        }
        for one in routes["inhibit_rules"]
    ]
    labels = {"app.kubernetes.io/name": "tidings", "app.kubernetes.io/part-of": "tidings"}
    made = {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": {"name": "tidings", "labels": labels},
        "spec": {"route": whole, "inhibitRules": inhibit, "receivers": receivers(sorted(names))},
    }
    return HEAD + yaml.safe_dump(made, sort_keys=False, width=10_000)


def build(written: Path) -> None:
    """Writes the AlertmanagerConfig, unless the file already contains it: another process may read it."""
    text = config()
    if not written.exists() or written.read_text() != text:
        written.write_text(text)


if __name__ == "__main__":
    build(WRITTEN)
