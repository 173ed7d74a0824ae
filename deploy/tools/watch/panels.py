"""Asks a running Prometheus for what the dashboards show: panels.py URL FOLDER [MINUTES]

Writes FOLDER/panels.md, a table of every panel, its queries and their values now, and FOLDER/NAME.svg, a picture of each
dashboard over the last MINUTES (15). Exits with 1 when a query has no series and no metric of it is in late-metrics.json, or
when no value of a query is a number. Needs PyYAML."""

import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from dashboards import written
from expressions import ROOT, names_of
from picture import picture
from units import shown

LATE = ROOT / "deploy" / "prometheus" / "late-metrics.json"
# These programs are part of every installation, so their metrics must exist.
PRESENT = ("haproxy", "redis_exporter", "postgres_exporter")
MOST_SERIES, POINTS = 6, 120


class Prometheus:
    """The HTTP API of a Prometheus."""

    def __init__(self, url, minutes):
        self.url, self.minutes, self.now = url.rstrip("/"), minutes, time.time()
        step = max(1, minutes * 60 // POINTS)
        self.step = step
        # Four scrapes of the shipped configuration, as Grafana takes.
        self.variables = {"$__rate_interval": "1m", "$__range": f"{minutes}m", "$instance": ".*"}

    def ask(self, path, **parameters):
        for name, value in self.variables.items():
            parameters["query"] = parameters["query"].replace(name, value)
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as refused:
            sys.exit(f"{parameters['query']}: {refused.read().decode()}")
        except OSError as away:
            sys.exit(f"{self.url}: {away}")

    def value(self, expression):
        """The series of an expression now: labels and value."""
        found = self.ask("query", query=expression, time=self.now)
        return [(one["metric"], float(one["value"][1])) for one in found]

    def course(self, expression):
        """The series of an expression along the time: labels, and pairs of time and value."""
        start = self.now - self.minutes * 60
        found = self.ask("query_range", query=expression, start=start, end=self.now, step=self.step)
        return [(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in found]


def named(legend, labels):
    """The legend of a series, as Grafana fills it in."""
    if legend == "__auto":
        return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend


def late_metrics():
    """Metrics that exist only after some events, or only with other programs, each with the reason."""
    groups = json.loads(LATE.read_text())
    return {name: why for group, names in groups.items() if group not in PRESENT for name, why in names.items()}


def cell(text):
    return text.replace("|", "\\|")


def rows_of(prometheus, made, late, wrong):
    """The lines of the table for one dashboard. Adds to `wrong` what has no value."""
    for panel in made["panels"]:
        if panel["type"] == "row":
            yield f"| **{cell(panel['title'])}** | | |"
            continue
        defaults = panel["fieldConfig"]["defaults"]
        for target in panel["targets"]:
            found = prometheus.value(target["expr"])
            place = f"{made['title']} / {panel['title']} {target['refId']}: {target['expr']}"
            reasons = [late[name] for name in names_of(target["expr"]) if name in late]
            if not found and not reasons:
                wrong.append(f"{place}: has no series")
            # A quantile of what did not happen is no number.
            numbers = sorted((one for one in found if math.isfinite(one[1])), key=lambda one: -one[1])
            if found and not numbers:
                wrong.append(f"{place}: is no number")
            values = [
                f"{named(target['legendFormat'], labels)}: {shown(value, defaults['unit'], defaults.get('decimals'))}".removeprefix(": ")
                for labels, value in numbers
            ]
            more = [f"and {len(values) - MOST_SERIES} more"] if len(values) > MOST_SERIES else []
            more += [f"{len(found) - len(numbers)} without events"] if len(found) > len(numbers) else []
            text = "; ".join(values[:MOST_SERIES] + more) or f"no series: {(reasons or ['?'])[0]}"
            yield f"| {cell(panel['title'])} | `{cell(target['expr'])}` | {cell(text)} |"


def main(url, folder, minutes="15"):
    prometheus, folder, late, wrong = Prometheus(url, int(minutes)), Path(folder), late_metrics(), []
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for path, text in written():
        made = json.loads(text)
        lines = ["| panel | query | value |", "| --- | --- | --- |", *rows_of(prometheus, made, late, wrong)]
        parts.append(f"## {made['title']}\n\n" + "\n".join(lines) + "\n")
        drawn = picture(made, prometheus, named, shown)
        (folder / f"{path.stem}.svg").write_text(drawn)
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(prometheus.now))
    head = f"# Panels of the dashboards\n\nEach query with its values on {at}, as `deploy/tools/watch.sh panels` writes them.\n\n"
    (folder / "panels.md").write_text(head + "\n".join(parts))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
