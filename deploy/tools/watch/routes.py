"""Checks the routes of Alertmanager against the alerts: each alert goes to its receiver, one cause is one page, a cause
holds back symptoms and nothing else, and pages begin and end soon. Checks the files of receivers too. Follows the routes
itself; watch.sh compares the result with amtool. Prints the findings, and exits with 1 if there is one.

routes.py alerts    prints the labels of each alert and its receiver, for amtool"""

import re
import sys

import yaml

from expressions import ROOT
from rules import load, minutes

FOLDER = ROOT / "deploy" / "alertmanager"
# A symptom waits for the alert of its cause, and a page must not wait long.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 15, 30
# What a cause explains, by its label `explains`. Names of alerts that an installation may lack are allowed.
EXPLAINED = {
    "all": re.compile(".*"),
    "gateways": re.compile("Tidings(NobodyGetsIn|ConnectsFailing|SendsFailing|DeliveryLate|ProbeFailing)"),
}
RECEIVERS = {"page": "page", "ticket": "ticket", "none": "nobody"}


def matches(texts, labels):
    """Whether all matchers, such as `severity="page"`, match these labels."""
    for text in texts:
        name, kind, value = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text).groups()
        same = re.fullmatch(value, labels.get(name, "")) is not None if "~" in kind else labels.get(name, "") == value
        if same != (kind in {"=", "=~"}):
            return False
    return True


def routed(route, labels):
    """The settings of the route that an alert takes: those of the innermost route that matches."""
    for below in route.get("routes", []):
        if matches(below.get("matchers", []), labels):
            inherited = {key: value for key, value in route.items() if key not in {"routes", "matchers"}}
            return routed(inherited | below, labels)
    return route


def alerts():
    rules = [rule for _, content in load("rules") for group in content["groups"] for rule in group["rules"]]
    return [rule.get("labels", {}) | {"alertname": rule["alert"]} for rule in rules if "alert" in rule]


def receiver_of(labels):
    return "watchdog" if labels["alertname"] == "TidingsWatchdog" else RECEIVERS.get(labels["severity"])


def check_route(labels, taken):
    name = labels["alertname"]
    if taken["receiver"] != receiver_of(labels):
        yield f"{name}: goes to {taken['receiver']}, not to {receiver_of(labels)}"
    wait = minutes(taken["group_wait"]) * 60
    if name == "TidingsWatchdog" and minutes(taken["repeat_interval"]) > 5:
        yield f"{name}: is repeated too seldom for a service that waits for it"
    if labels["severity"] != "page":
        return
    by_name = "alertname" in taken["group_by"]
    if labels["kind"] == "symptom":
        if by_name:
            yield f"{name}: symptoms are one page, so their group must not have alertname"
        if not SHORTEST_WAIT_S <= wait <= LONGEST_WAIT_S:
            yield f"{name}: waits {wait:.0f} s for its cause, {SHORTEST_WAIT_S} to {LONGEST_WAIT_S} s are right"
    elif wait > 0 or not by_name:
        yield f"{name}: a cause or a loss is a page of its own, at once"
    if "installation" not in taken["group_by"]:
        yield f"{name}: installations would share a page"
    if minutes(taken["group_interval"]) > 1:
        yield f"{name}: its end would be told late"


def check_inhibition(rules, labels, every):
    name, held = labels["alertname"], labels.get("kind") == "symptom"

    def explains(source):
        if source["alertname"] == "TidingsCauseKnown":
            return True
        explained = EXPLAINED.get(source.get("explains"))
        return source.get("kind") == "cause" and explained is not None and bool(explained.fullmatch(name))

    holding = [one for one in rules if matches(one["target_matchers"], labels)]
    if not held and holding:
        yield f"{name}: is held back, and is no symptom"
    for source in every:
        found = [one for one in holding if matches(one["source_matchers"], source)]
        if held and explains(source) and not found:
            yield f"{name}: {source['alertname']} does not hold it back"
        if not explains(source) and found:
            yield f"{name}: {source['alertname']} holds it back, and does not explain it"
        if any(one.get("equal") != ["installation"] for one in found):
            yield f"{name}: is held back by a cause of another installation"


def check_receivers(names):
    for path in sorted((FOLDER / "receivers").glob("*.yml")):
        given = {one["name"]: one for one in yaml.safe_load(path.read_text())["receivers"]}
        if given.keys() != names:
            yield f"{path.name}: has the receivers {sorted(given)}, the routes name {sorted(names)}"
        for name, one in given.items():
            integrations = [entry for key, entries in one.items() if key != "name" for entry in entries]
            if path.name == "none.yml" and integrations:
                yield f"{path.name}: the default must notify nobody"
            if any(entry.get("send_resolved") is not (name != "watchdog") for entry in integrations):
                yield f"{path.name}: {name}: send_resolved is true, except for the watchdog"


def check():
    whole, every = yaml.safe_load((FOLDER / "routes.yml").read_text()), alerts()
    for labels in every:
        yield from check_route(labels, routed(whole["route"], labels))
        yield from check_inhibition(whole["inhibit_rules"], labels, every)
    route = whole["route"]
    yield from check_receivers({route["receiver"], *(below["receiver"] for below in route["routes"])})


if __name__ == "__main__":
    if sys.argv[1:] == ["alerts"]:
        for labels in alerts():
            print(receiver_of(labels), *(f"{key}={value}" for key, value in labels.items()))
        sys.exit(0)
    wrong = list(check())
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
