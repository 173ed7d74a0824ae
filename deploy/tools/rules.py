#!/usr/bin/env python3
"""The rules of deploy/prometheus/rules as a PrometheusRule for the Prometheus operator: rules.py [--check]

Writes k8s/components/monitoring/rules.yaml; with --check only tells whether it is what it would write.

RUNBOOK_BASE: what stands before `docs/RUNBOOK.md#...` in runbook_url, so that a link in a notification leads somewhere:
the address of these files as whoever is on call sees them. Any base passes --check.
"""

import os
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
WRITTEN = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"
HEAD = """# Made by deploy/tools/rules.py from deploy/prometheus/rules: change those. promtool tests them there.
# yamllint disable rule:line-length rule:indentation
"""


def based(text: str, base: str) -> str:
    """The same with this base before the pages of the runbook, whatever stood there."""
    base = base.rstrip("/") + "/" if base else ""
    return re.sub(r"(?<=runbook_url: )\S*(?=docs/RUNBOOK\.md#)", lambda _: base, text)


def wrapped() -> str:
    """The object that holds all groups."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    labels = {"app.kubernetes.io/name": "tidings", "app.kubernetes.io/part-of": "tidings"}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tidings", "labels": labels},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, width=10_000, allow_unicode=True)


def main() -> int:
    """See the head."""
    if not RULES.is_dir():
        print("there are no rules in deploy/prometheus/rules")
        return 1
    text = wrapped()
    if sys.argv[1:] == ["--check"]:
        if WRITTEN.exists() and based(WRITTEN.read_text(), "") == text:
            return 0
        print("k8s/components/monitoring/rules.yaml is not that of deploy/prometheus/rules: deploy/tools/deploy.sh rules")
        return 1
    WRITTEN.write_text(based(text, os.environ.get("RUNBOOK_BASE", "")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
