"""What PromQL expressions name, and which names there are: those that the services declare, those of recording rules,
and those that others tell (deploy/prometheus/late-metrics.json)."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"

# Groups of late-metrics.json whose names are told by others than our services.
FOREIGN = ("haproxy", "redis_exporter", "postgres_exporter", "prometheus")
BEGINNINGS = ("tidings_", "process_", "haproxy_", "redis_", "pg_", "prometheus_")
WORDS = {
    "sum", "avg", "min", "max", "count", "topk", "by", "without", "on", "ignoring", "group_left", "group_right", "and",
    "or", "unless", "bool", "offset", "rate", "irate", "increase", "changes", "delta", "histogram_quantile", "absent",
    "vector", "label_replace", "clamp_min", "clamp_max", "time", "inf", "nan", "sum_over_time", "avg_over_time",
    "max_over_time", "min_over_time", "count_over_time", "label_values", "le",
}


def bare(expression):
    """Without texts, matchers, windows and lists of labels: what is left names metrics and functions."""
    expression = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    expression = re.sub(r"\{[^}]*\}", "", expression)
    expression = re.sub(r"\[[^\]]*\]", "", expression)
    return re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", r"\1", expression)


def names_of(expression):
    """The metrics that an expression asks for."""
    words = set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*", bare(expression)))
    return words - WORDS


def declared():
    """Names of the metrics of both services, with the series that a histogram consists of."""
    names = set()
    for service in ("gateway", "persistence"):
        text = (ROOT / service / "src" / "metrics.rs").read_text()
        found = re.findall(r': (\w+)[^=\n]*= "([a-z_]+)", "', text)
        assert len(found) > 15, f"{service}: the declarations were not understood"
        for kind, name in found:
            names.add(name)
            if kind.startswith("Histogram"):
                names.update(name + part for part in ("_bucket", "_count", "_sum"))
    # Those of the process come from a library; a test of the services holds this table.
    operations = (ROOT / "docs" / "OPERATIONS.md").read_text()
    return names | set(re.findall(r"^\| `(process_[a-z_]+)` \|", operations, re.MULTILINE))


def late():
    """By group: names that nobody tells at once, or only other programs, with the reason or the source."""
    return json.loads((PROMETHEUS / "late-metrics.json").read_text())


def known(recorded):
    """Every name that may be asked for."""
    foreign = {name for group in FOREIGN for name in late()[group]}
    return declared() | set(recorded) | foreign | {"up"}
