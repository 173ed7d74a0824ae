"""Checks what Prometheus reads: its rule files exist and are all loaded, the scrape jobs are those that rules and
dashboards ask for, and the label values in queries and the spans in links occur in the code of the services. A wrong
name makes a query empty, and an alert on it silent. Prints the findings, and exits with 1 if there is one."""

import fnmatch
import re
import sys

import yaml

import dashboards
from expressions import PROMETHEUS, ROOT, declared
from rules import load

# Labels that Prometheus and its targets add, or whose values are configured.
FREE = {"instance", "job", "namespace", "pod", "le", "shard", "slo"}
# Jobs of programs that Compose does not start. docs/OPERATIONS.md names them.
ELSEWHERE = {"node", "node-exporter", "kube-state-metrics", "tidings-probe", "tidings-public"}
SELECTOR = re.compile(r"\b([a-z_:][\w:]*)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def queries():
    """The place and the expression of each rule and each panel."""
    for file, content in load("rules"):
        for group in content["groups"]:
            for rule in group["rules"]:
                yield f"{file}: {rule.get('alert') or rule['record']}", str(rule["expr"])
    yield from dashboards.expressions()


def literals():
    """All texts between quotation marks in the code of the services."""
    found = set()
    for crate in ("gateway", "persistence", "shared", "webhooks", "files", "push"):
        for path in (ROOT / crate / "src").rglob("*.rs"):
            found.update(re.findall(r'"([^"\n]*)"', path.read_text()))
    return found


def check_rule_files(configured):
    files = [f"rules/{path.name}" for path in (PROMETHEUS / "rules").glob("*.yml")]
    for pattern in configured["rule_files"]:
        if not fnmatch.filter(files, pattern):
            yield f"prometheus.yml: no file matches {pattern}"
    for file in sorted(files):
        if not any(fnmatch.fnmatch(file, pattern) for pattern in configured["rule_files"]):
            yield f"prometheus.yml: does not load {file}"


def check_selectors(jobs):
    own, texts = declared(), literals()
    for place, expression in queries():
        for metric, matchers in SELECTOR.findall(expression):
            for label, _, value in MATCHER.findall(matchers):
                for one in value.split("|"):
                    if label == "job" and re.fullmatch(r"[\w-]+", one) and one not in jobs | ELSEWHERE:
                        yield f"{place}: there is no scrape job {one}"
                    # Only plain values; a pattern such as `5..` cannot be compared.
                    is_ours = metric in own and label not in FREE and re.fullmatch(r"[a-z_]+", one)
                    if is_ours and one not in texts:
                        yield f"{place}: no service writes {label}={one!r} of {metric}"


def check_links():
    """The links to traces: a span of this name exists, and Grafana has the data source."""
    folder = dashboards.GRAFANA / "provisioning" / "datasources"
    sources = [one for path in folder.glob("*.yml") for one in yaml.safe_load(path.read_text())["datasources"]]
    if dashboards.TRACES not in [{"type": one["type"], "uid": one["uid"]} for one in sources]:
        yield f"no data source of Grafana is {dashboards.TRACES}"
    texts = literals()
    for path, source in dashboards.sources():
        for panel in (one for row in source["rows"] for one in row["panels"] if "traces" in one):
            for name in (panel["traces"]["service"], panel["traces"]["operation"]):
                if name is not None and name not in texts:
                    yield f"{path.name}: {panel['title']}: no service writes spans with the name {name}"


def check():
    configured = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    yield from check_rule_files(configured)
    yield from check_links()
    yield from check_selectors({one["job_name"] for one in configured["scrape_configs"]})


if __name__ == "__main__":
    wrong = list(check())
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
