#!/usr/bin/env python3
"""Converts deploy/prometheus/rules to a PrometheusRule for the Prometheus operator, in
k8s/components/monitoring/rules.yaml. deploy/tools/watch.sh build runs this.

RUNBOOK_BASE: the address of the repository for people on call. It precedes
`docs/RUNBOOK.md#...` in each runbook_url, so that the links in notifications work. A file that is there keeps its base
when this variable is not set.
"""

import os
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
WRITTEN = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"
HEAD = """# Built by deploy/tools/watch.sh build from deploy/prometheus/rules. Change those files; promtool tests them.
# yamllint disable rule:line-length rule:indentation
"""


def with_base(text: str, base: str) -> str:
    """Returns the text with this base in all links to the runbook."""
    base = base.rstrip("/") + "/" if base else ""
    return re.sub(r"(?<=runbook_url: )\S*(?=docs/RUNBOOK\.md#)", lambda _: base, text)


def base_of(text: str) -> str:
    """The base of the links to the runbook in a text."""
    found = re.search(r"runbook_url: (\S*)docs/RUNBOOK\.md#", text)
    return found[1] if found else ""


def prometheus_rule() -> str:
    """The PrometheusRule with all groups, as YAML."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    assert groups, "there are no rules in deploy/prometheus/rules"
    labels = {"app.kubernetes.io/name": "tidings", "app.kubernetes.io/part-of": "tidings"}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tidings", "labels": labels},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, width=10_000, allow_unicode=True)


def build(written: Path) -> None:
    """Writes the PrometheusRule, unless the file already contains it: another process may read it."""
    present = written.read_text() if written.exists() else ""
    text = with_base(prometheus_rule(), os.environ.get("RUNBOOK_BASE", base_of(present)))
    if text != present:
        written.write_text(text)


if __name__ == "__main__":
    build(WRITTEN)
