"""Generates the Grafana dashboards from deploy/grafana/source/*.yml, and checks them.

    dashboards.py build          writes deploy/grafana/dashboards/*.json
    dashboards.py check          prints what is wrong with them
    dashboards.py expressions    prints every expression as a recording rule, for `promtool check rules`

Needs PyYAML, which yamllint installs."""

import json
import re
import sys
import urllib.parse

import yaml

from expressions import ROOT, names_of

GRAFANA = ROOT / "deploy" / "grafana"
COLUMNS = 24
UNITS = {
    "short", "none", "percentunit", "s", "bytes", "Bps", "ops", "reqps", "cps", "mps", "dtdurations", "bool_on_off",
}
KINDS = {"timeseries", "stat", "table"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# deploy/grafana/provisioning/datasources/jaeger.yml.
TRACES = {"type": "jaeger", "uid": "jaeger"}
VARIABLES = {"$__rate_interval": "5m", "$__range": "1d", "$instance": ".*"}


def sources():
    found = sorted((GRAFANA / "source").glob("*.yml"))
    assert found, "there are no dashboards"
    return [(path, yaml.safe_load(path.read_text())) for path in found]


def variables(source):
    """The variables of a dashboard: the data source, and the processes when the dashboard is about one service."""
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    if "instances" in source:
        query = f"label_values({source['instances']}, instance)"
        yield {
            "name": "instance", "label": "Process", "type": "query", "datasource": DATASOURCE, "definition": query,
            "query": {"query": query, "refId": "instances"}, "refresh": 2, "includeAll": True, "allValue": ".*",
            "multi": True, "sort": 1, "current": {"text": "All", "value": "$__all"},
        }


def thresholds(steps):
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def traces_link(service, operation, slower):
    """A link of a panel: a search in the data source for traces, for the times that the dashboard shows."""
    query = {
        "refId": "A", "datasource": TRACES, "queryType": "search", "service": service, "minDuration": slower, "limit": 20,
    } | ({"operation": operation} if operation else {})
    pane = {"datasource": TRACES["uid"], "queries": [query], "range": {"from": "${__from}", "to": "${__to}"}}
    panes = urllib.parse.quote(json.dumps({"traces": pane}, separators=(",", ":")), safe="${}")
    title = f"Traces of {operation or service} above {slower}"
    return {"title": title, "url": f"/explore?schemaVersion=1&orgId=1&panes={panes}", "targetBlank": True}


def panel(source, number, x, y, width):
    defaults = {"unit": source["unit"], "custom": {}}
    if source["kind"] == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "lineWidth": 1}
    if "thresholds" in source:
        defaults["thresholds"] = thresholds(source["thresholds"])
    for bound in ("min", "max", "decimals"):
        if bound in source:
            defaults[bound] = source[bound]
    instant = source["kind"] != "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + at), "datasource": DATASOURCE, "expr": " ".join(query["expr"].split()),
            "legendFormat": query.get("legend", "__auto"), "instant": instant, "range": not instant,
        }
        for at, query in enumerate(source["queries"])
    ]
    made = {
        "id": number, "type": source["kind"], "title": source["title"], "description": source["description"],
        "datasource": DATASOURCE, "gridPos": {"x": x, "y": y, "w": width, "h": source.get("height", 8)},
        "fieldConfig": {"defaults": defaults, "overrides": []}, "targets": targets,
    }
    if "traces" in source:
        made["links"] = [traces_link(**source["traces"])]
    if source["kind"] == "timeseries":
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif source["kind"] == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return made


def dashboard(source):
    panels, y = [], 0
    for row in source["rows"]:
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": row["title"], "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        })
        y, x, height = y + 1, 0, 0
        for one in row["panels"]:
            width = one.get("width", 8)
            if x + width > COLUMNS:
                y, x, height = y + height, 0, 0
            made = panel(one, len(panels) + 1, x, y, width)
            panels.append(made)
            x, height = x + width, max(height, made["gridPos"]["h"])
        y += height
    return {
        "uid": source["uid"], "title": source["title"], "description": source["description"], "tags": ["tidings"],
        "editable": False, "graphTooltip": 1, "schemaVersion": 39, "version": 1, "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"}, "timezone": "browser", "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["tidings"], "title": "Tidings", "asDropdown": True}],
        "templating": {"list": list(variables(source))}, "panels": panels,
    }


def written():
    """The path and the generated text of every dashboard."""
    for path, source in sources():
        text = json.dumps(dashboard(source), indent=2, ensure_ascii=False) + "\n"
        yield GRAFANA / "dashboards" / f"{path.stem}.json", text


def build(folder):
    """Writes all dashboards and removes those without a source. What is there already stays, because others may read it
    now."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {path.name: text for path, text in written()}
    for path in folder.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def filled(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def expressions():
    """The place and the expression of each query in a dashboard."""
    for path, text in written():
        for one in json.loads(text)["panels"]:
            for target in one.get("targets", []):
                yield f"{path.name}: {one['title']} {target['refId']}", filled(target["expr"])


def names_asked():
    return {name for _, expression in expressions() for name in names_of(expression)}


def overlap(one, other):
    a, b = one["gridPos"], other["gridPos"]
    beside = a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
    return beside and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def check_panel(place, one):
    for key in ("title", "description"):
        if len(one.get(key, "")) < (3 if key == "title" else 20):
            yield f"{place}: has no {key}"
    if one["type"] not in KINDS:
        yield f"{place}: {one['type']} is none of {sorted(KINDS)}"
    if one["fieldConfig"]["defaults"].get("unit") not in UNITS:
        yield f"{place}: its unit is none of {sorted(UNITS)}"
    if one["datasource"] != DATASOURCE or any(t["datasource"] != DATASOURCE for t in one["targets"]):
        yield f"{place}: asks another data source than the variable"
    if not one["targets"]:
        yield f"{place}: shows nothing"
    for target in one["targets"]:
        left = filled(target["expr"])
        if "$" in left:
            yield f"{place}: uses an unknown variable: {left}"


def check_dashboard(path, text):
    made, place = json.loads(text), path.name
    ids = [one["id"] for one in made["panels"]]
    if len(ids) != len(set(ids)):
        yield f"{place}: two panels have one id"
    names = {variable["name"] for variable in made["templating"]["list"]}
    if "datasource" not in names:
        yield f"{place}: has no variable for the data source"
    if "$instance" in text and "instance" not in names:
        yield f"{place}: uses $instance and has no such variable"
    for at, one in enumerate(made["panels"]):
        spot = one["gridPos"]
        if spot["x"] < 0 or spot["w"] < 1 or spot["x"] + spot["w"] > COLUMNS:
            yield f"{place}: {one['title']} does not fit into the grid"
        for other in made["panels"][at + 1:]:
            if overlap(one, other):
                yield f"{place}: {one['title']} and {other['title']} overlap"
        if one["type"] != "row":
            yield from check_panel(f"{place}: {one['title']}", one)
        # These figures are what users see. The counters of nodes do not have what the load balancer answers itself.
        if one["title"] == "Answered at the edge":
            wanted = [f'1 - slo:tidings_bad_events:ratio_rate5m{{slo="{slo}"}}' for slo in ("http", "connects")]
            if [target["expr"] for target in one["targets"]] != wanted:
                yield f"{place}: {one['title']} must show {wanted}"
        # Otherwise the alert fires while the panel shows that nothing is down.
        if one["title"] == "Targets down":
            rules = (ROOT / "deploy/prometheus/rules/down.yml").read_text().split("- alert: TidingsTargetDown")[1].split("for:")[0]
            wanted = "|".join(re.findall(r'up\{job=~"([^"]+)"\}', rules))
            if f'"{wanted}"' not in one["targets"][0]["expr"]:
                yield f"{place}: {one['title']} must ask the jobs of TidingsTargetDown: {wanted}"


def check():
    all_written = list(written())
    uids = [json.loads(text)["uid"] for _, text in all_written]
    if len(uids) != len(set(uids)):
        yield "two dashboards have one uid"
    for path, text in all_written:
        yield from check_dashboard(path, text)
    generated = yaml.safe_load((GRAFANA / "dashboards" / "kustomization.yaml").read_text())["configMapGenerator"]
    files = sorted(file for one in generated for file in one["files"])
    if files != sorted(path.name for path, _ in all_written):
        yield f"kustomization.yaml: the ConfigMaps hold {files}"


def as_rules():
    numbered = enumerate(expression for _, expression in expressions())
    rules = [{"record": f"check:expression:{number}", "expr": expression} for number, expression in numbered]
    return yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, width=1000)


if __name__ == "__main__":
    command = sys.argv[1] if len(sys.argv) == 2 else "help"
    if command == "build":
        build(GRAFANA / "dashboards")
    elif command == "check":
        wrong = list(check())
        print("\n".join(wrong))
        sys.exit(1 if wrong else 0)
    elif command == "expressions":
        print(as_rules())
    else:
        print(__doc__)
        sys.exit(2)
