"""Finds the metrics in PromQL expressions, and lists the metrics that exist: those of the services, of recording rules,
and of other programs (deploy/prometheus/late-metrics.json)."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"

# The groups of late-metrics.json with metrics of other programs than our services.
FOREIGN = (
    "haproxy", "redis_exporter", "postgres_exporter", "exporters, not in the test", "cloudnativepg", "backups",
    "prometheus",
)
BEGINNINGS = (
    "tidings_", "process_", "haproxy_", "redis_", "pg_", "cnpg_", "prometheus_", "alertmanager_", "probe_", "kubelet_",
    "node_", "kube_", "barman_",
)
WORDS = {
    "sum", "avg", "min", "max", "count", "topk", "by", "without", "on", "ignoring", "group_left", "group_right", "and",
    "or", "unless", "bool", "offset", "rate", "irate", "increase", "changes", "delta", "histogram_quantile", "absent",
    "vector", "label_replace", "clamp_min", "clamp_max", "time", "inf", "nan", "sum_over_time", "avg_over_time",
    "max_over_time", "min_over_time", "count_over_time", "last_over_time", "predict_linear", "abs", "group",
    "label_values", "le",
}


def without_literals(expression):
    """Removes strings, matchers, windows and label lists, so that only names of metrics and functions remain."""
    expression = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    expression = re.sub(r"\{[^}]*\}", "", expression)
    expression = re.sub(r"\[[^\]]*\]", "", expression)
    return re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", r"\1", expression)


def names_of(expression):
    """The metrics that an expression uses."""
    words = set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*", without_literals(expression)))
    return words - WORDS


def declared():
    """The metrics of our programs, with the series of each histogram."""
    names = set()
    for service in ("gateway", "persistence", "probe", "webhooks", "files", "push"):
        text = (ROOT / service / "src" / "metrics.rs").read_text()
        found = re.findall(r': (\w+)[^=\n]*= "([a-z_]+)", "', text)
        assert len(found) > 5, f"{service}: the declarations were not understood"
        for kind, name in found:
            names.add(name)
            if kind.startswith("Histogram"):
                names.update(name + part for part in ("_bucket", "_count", "_sum"))
    # A library exports the process metrics. A test of the services checks this table.
    operations = (ROOT / "docs" / "OPERATIONS.md").read_text()
    return names | set(re.findall(r"^\| `(process_[a-z_]+)` \|", operations, re.MULTILINE))


def late():
    """By group: the metrics of other programs than our services, each with its source."""
    return json.loads((PROMETHEUS / "late-metrics.json").read_text())


def known(recorded):
    """Every metric that an expression may use."""
    foreign = {name for group in FOREIGN for name in late()[group]}
    return declared() | set(recorded) | foreign | {"up"}
