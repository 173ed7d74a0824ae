"""Checks the rules, their tests and the runbook. Every alert has a severity, texts, a section in the runbook, a test in
which it fires, and a test in which it nearly fires. Every metric in an expression exists. Prints the findings, and
exits with 1 if there is one. Needs PyYAML, which yamllint installs."""

import pathlib
import re
import sys

import yaml

from expressions import BEGINNINGS, FOREIGN, PROMETHEUS, ROOT, declared, known, late, names_of

SEVERITIES = {"page", "ticket", "none"}
# Every page says whether it is a cause, which holds symptoms back, a symptom, or a loss, which does neither.
KINDS = {"cause", "symptom", "loss"}
# What a cause explains: all symptoms, or those of connections.
EXPLAINS = {"all", "gateways"}
# These wake nobody: Alertmanager uses the first, and a service outside waits for the second.
SILENT = {"TidingsCauseKnown", "TidingsWatchdog"}
# A page must end within minutes of the recovery, so the last event must leave its windows soon. A loss does not recover:
# whoever is woken must still find it. A window that only asks whether something was there before prolongs nothing.
LONGEST_WINDOW_M = 5
RUNBOOK = "docs/RUNBOOK.md"
# The parts of each section of the runbook, in this order.
PARTS = ["**Noticed:**", "**See:**", "**Causes:**", "**Do:**", "**Over:**"]


def load(folder):
    files = sorted((PROMETHEUS / folder).glob("*.yml"))
    assert files, f"deploy/prometheus/{folder} is empty"
    return [(path.name, yaml.safe_load(path.read_text())) for path in files]


def check_alert(alert):
    name = alert["alert"]
    if not re.fullmatch(r"Tidings[A-Z][A-Za-z]+", name):
        yield f"{name}: names are TidingsLikeThis"
    if alert.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"{name}: severity is one of {sorted(SEVERITIES)}"
    yield from check_kind(alert)
    annotations = alert.get("annotations", {})
    for key in ("summary", "description"):
        if len(annotations.get(key, "")) < 15:
            yield f"{name}: has no {key}"
    if "{{" in annotations.get("summary", ""):
        yield f"{name}: its summary changes with the value; that belongs into the description"
    if annotations.get("runbook_url") != f"{RUNBOOK}#{name.lower()}":
        yield f"{name}: runbook_url must be {RUNBOOK}#{name.lower()}"


def minutes(window):
    number, unit = re.fullmatch(r"(\d+)([smhd])", window).groups()
    return int(number) * {"s": 1 / 60, "m": 1, "h": 60, "d": 1440}[unit]


def check_kind(alert):
    name, labels = alert["alert"], alert.get("labels", {})
    severity, kind = labels.get("severity"), labels.get("kind")
    if (severity == "none") != (name in SILENT):
        yield f"{name}: severity none is for {sorted(SILENT)} only"
    if severity == "page" and kind not in KINDS:
        yield f"{name}: a page has a kind, one of {sorted(KINDS)}"
    if severity != "page" and kind is not None:
        yield f"{name}: only a page has a kind"
    if (kind == "cause") != (labels.get("explains") is not None) or labels.get("explains", "all") not in EXPLAINS:
        yield f"{name}: a cause, and only a cause, has the label explains, one of {sorted(EXPLAINS)}"
    lasting = re.sub(r"max_over_time\([^()]*\[\d+[smhd]\]\)\)? == 1", "", str(alert["expr"]))
    windows = [minutes(one) for one in re.findall(r"\[(\d+[smhd])\]", lasting)]
    if severity == "page" and kind != "loss" and max(windows, default=0) > LONGEST_WINDOW_M:
        yield f"{name}: a window of a page is at most {LONGEST_WINDOW_M} minutes, so that it ends soon after the recovery"
    # The windows of an objective are in recording rules, so the alert itself asks for the last two minutes.
    if severity == "page" and "ratio_rate1h" in alert["expr"] and not re.search(
        r"\)\s*and slo:tidings_bad_events:ratio_rate2m\{[^}]*\} > 0\.00001\s*$", alert["expr"]
    ):
        yield f"{name}: must end when nothing bad happened for two minutes (ratio_rate2m)"
    if kind == "cause" and alert.get("for") != "15s":
        yield f"{name}: a cause fires after 15s, before Alertmanager sends the page of its symptoms"


def check_runbook(alerts):
    text = (ROOT / RUNBOOK).read_text()
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    told = [heading for heading, _ in sections]
    for name in sorted(set(told) ^ set(alerts)):
        yield f"{RUNBOOK}: {name} is {'an alert without a section' if name in alerts else 'no alert'}"
    for name in sorted({name for name in told if told.count(name) > 1}):
        yield f"{RUNBOOK}: {name} has two sections"
    for name, section in sections:
        places = [section.find(part) for part in PARTS]
        if -1 in places or places != sorted(places):
            yield f"{RUNBOOK}: {name} does not tell {', '.join(PARTS)} in this order"


def used_metrics(expression, recorded):
    """All metrics that an expression uses, directly or through recording rules."""
    names, left = set(), [expression]
    while left:
        for name in names_of(left.pop()) - names:
            names.add(name)
            left.extend(recorded.get(name, []))
    return names


def files_of_rules():
    """The name of the file of each alert, and of the files of each recorded metric."""
    homes = {}
    for file, content in load("rules"):
        for rule in (rule for group in content["groups"] for rule in group["rules"]):
            homes.setdefault(rule.get("alert") or rule["record"], set()).add(file)
    return homes


def check_tests(alerts, recorded):
    fires, silent, homes = set(), set(), files_of_rules()
    for file, content in load("tests"):
        loaded = {pathlib.PurePath(entry).name for entry in content["rule_files"]}
        for test in content["tests"]:
            series = {re.match(r"[\w:]+", entry["series"])[0] for entry in test["input_series"]}
            for case in test.get("alert_rule_test", []):
                name, expected = case["alertname"], case["exp_alerts"]
                if name not in alerts:
                    yield f"{file}: there is no alert {name}"
                    continue
                (fires if expected else silent).add(name)
                word = "fires" if expected else "is silent"
                if not test.get("name", "").startswith(f"{name} {word}: "):
                    yield f"{file}: the name of a test of {name} must begin with '{name} {word}: '"
                # An alert that is not loaded is always silent.
                needed = {name} | {metric for metric in used_metrics(alerts[name]["expr"], recorded) - series if ":" in metric}
                for rule in sorted(rule for rule in needed if not homes[rule] & loaded):
                    yield f"{file}: a test of {name} does not load the file of {rule}"
                # An alert without data is always silent, so such a test would prove nothing.
                if name != "TidingsWatchdog" and not series & used_metrics(alerts[name]["expr"], recorded):
                    yield f"{file}: a test of {name} brings none of the metrics that it asks for"
    for name in sorted(alerts):
        if name not in fires:
            yield f"{name}: no test in which it fires"
        # The watchdog is never silent.
        if name not in silent and name != "TidingsWatchdog":
            yield f"{name}: no test in which it stays silent"


def check_recorded(name):
    level, _, rest = name.partition(":")
    # Rules may give the metrics of another program the names of postgres_exporter or of our backups.
    exported = late()["postgres_exporter"].keys() | late()["exporters, not in the test"].keys() | late()["backups"].keys()
    if name in exported:
        return
    if level not in {"slo", "edge", "cluster", "step", "job", "instance", "tidings"} or ":" not in rest:
        yield f"{name}: names of recording rules are level:metric:operations"


def check_counts(group):
    """A rule that counts samples must multiply by the interval of its group, the time between two samples."""
    for rule in group["rules"]:
        for seconds in re.findall(r"(\d+) \* sum_over_time\(", str(rule["expr"])):
            if group.get("interval") != f"{seconds}s":
                yield f"{rule.get('record')}: a sample stands for {seconds} s, the interval is {group.get('interval')}"


def check_late(asked):
    """Our own metrics exist from the start (docs/decisions/0060-counters-begin-at-zero.md), so none may be listed."""
    own = declared()
    for group, names in late().items():
        if group not in FOREIGN:
            yield f"late-metrics.json: the group {group} is not known"
        for name, reason in names.items():
            if not reason:
                yield f"late-metrics.json: {name} has no reason"
            if name in own:
                yield f"late-metrics.json: {name} is a metric of a service, which exists from the start"
            if name not in asked:
                yield f"late-metrics.json: {name} is asked for by no rule and no dashboard"


def check(asked_by_dashboards):
    groups = [group for _, content in load("rules") for group in content["groups"]]
    for rule in (rule for file, content in load("rules") for group in content["groups"] for rule in group["rules"] if file == "causes.yml"):
        if rule.get("labels", {}).get("severity") == "page" and rule["labels"].get("kind") != "cause":
            yield f"{rule['alert']}: causes.yml has causes only"
    for group in groups:
        yield from check_counts(group)
    rules = [rule for group in groups for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    recorded = {}
    for rule in rules:
        if "record" in rule:
            recorded.setdefault(rule["record"], []).append(str(rule["expr"]))
    if len(alerts) != sum("alert" in rule for rule in rules):
        yield "two alerts have one name"
    for alert in alerts.values():
        yield from check_alert(alert)
    for name in recorded:
        yield from check_recorded(name)
    there, asked = known(recorded), set(asked_by_dashboards)
    for rule in rules:
        names = names_of(str(rule["expr"]))
        asked |= names
        for name in sorted(names - there):
            yield f"{rule.get('alert') or rule['record']}: nobody tells {name}"
        for name in sorted(n for n in names if ":" not in n and n not in {"up", "ALERTS"} and not n.startswith(BEGINNINGS)):
            yield f"{name}: the live test does not know names of this form"
    for name in sorted(asked_by_dashboards - there):
        yield f"dashboards: nobody tells {name}"
    yield from check_late(asked)
    yield from check_runbook(alerts)
    yield from check_tests(alerts, recorded)


if __name__ == "__main__":
    import dashboards

    wrong = list(check(dashboards.names_asked()))
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
