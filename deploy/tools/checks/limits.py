"""Checks values that belong together and are set in different files: the options of Redis, the retention of Prometheus,
the times of load balancers, memory limits and the rule about them, connections to PostgreSQL, and where traces and
queries are sent. Each of them can be wrong while its own file is valid."""

import re
from pathlib import Path

import yaml

from .images import program_of
from .model import Findings, Manifest, Rendered

# Redis keeps what it has accepted, and never throws a key away, because the head of a room must not be lost.
REDIS = {"appendonly": {"yes"}, "appendfsync": {"everysec", "always"}, "maxmemory-policy": {"noeviction"}}
# The objectives are over 30 days.
LEAST_RETENTION_DAYS = 32
# The default of --heartbeat-ms. A WebSocket is silent for at most this time.
HEARTBEAT_S = 25
# The gateway answers a poll, and persistence a change, within this time.
POLL_S, CHANGE_S = 30, 60
# Connections of a replica of persistence to PostgreSQL by default, and those that others may need.
CONNECTIONS, OTHERS = 39, 20


def check_compose(compose: dict, folder: Path, findings: Findings) -> None:
    """Checks compose.yaml against the files that it mounts. Its paths are relative to `folder`."""
    services = compose["services"]
    for name, service in services.items():
        limit = service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory", "")
        if "redis-server" in service.get("command", []):
            _redis(name, [str(word) for word in service["command"]], limit, findings)
        _memory(name, program_of(service.get("image", "")), limit, folder / "prometheus", findings)
        endpoint = (service.get("environment") or {}).get("TIDINGS_OTLP_ENDPOINT")
        if endpoint is not None:
            _traces(name, endpoint, services, folder / "otel" / "collector.yaml", findings)
    _store_of_traces(services, folder / "jaeger" / "jaeger.yaml", findings)
    _retention(services["prometheus"]["command"], findings)
    _threads(services, folder / "prometheus", findings)
    _data_source(services["grafana"].get("environment", {}), services, folder / "grafana", findings)
    environments = [service.get("environment") or {} for service in services.values()]
    heartbeats = [int(one["TIDINGS_HEARTBEAT_MS"]) // 1000 for one in environments if "TIDINGS_HEARTBEAT_MS" in one]
    _balancer((folder / "haproxy" / "haproxy.cfg").read_text(), max(heartbeats, default=HEARTBEAT_S), findings)


def check_manifests(rendered: Rendered, folder: Path, findings: Findings) -> None:
    """Checks the manifests of one overlay. `folder` is deploy/."""
    for one in rendered.workloads():
        container = one.pod["containers"][0]
        limit = container.get("resources", {}).get("limits", {}).get("memory", "")
        if "redis-server" in container.get("command", []):
            _redis(one.where, [str(word) for word in container.get("args", [])], limit, findings)
        if one.kind == "Deployment":
            _memory(one.where, program_of(container.get("image", "")), limit, folder / "prometheus", findings)
    for one in rendered.of("HTTPRoute"):
        _route(one, findings)
    for one in rendered.of("ScaledObject"):
        if one.spec["scaleTargetRef"].get("name") == "tidings-persistence":
            _connections(one, (folder.parent / "docs" / "DEPLOY.md").read_text(), findings)


def _threads(services: dict, folder: Path, findings: Findings) -> None:
    """The rule about the CPU of gateways knows their threads."""
    rule = re.search(r"job:tidings_gateway_cores:limit\n.*?expr: vector\((\d+)\)", (folder / "rules/recording.yml").read_text(), re.DOTALL)
    for name, service in services.items():
        workers = (service.get("environment") or {}).get("TIDINGS_WORKERS")
        if workers is not None and (rule is None or rule[1] != str(workers)):
            findings.add("limits", name, f"has {workers} threads, job:tidings_gateway_cores:limit is {rule and rule[1]}")


def size(text: str) -> int:
    """A size with a unit of Compose, Kubernetes or Redis in bytes, such as 512M, 512Mi or 400mb. All mean powers of two
    here, as in Compose and Redis; Kubernetes would read M as a power of ten, and the manifests do not use it."""
    found = re.fullmatch(r"(\d+)([kmg]?)[ib]*", text.lower())
    return int(found[1]) * 1024 ** " kmg".index(found[2] or " ") if found else 0


def _redis(where: str, words: list[str], limit: str, findings: Findings) -> None:
    told = {name.removeprefix("--"): value for name, value in zip(words, words[1:]) if name.startswith("--")}
    for name, wanted in REDIS.items():
        if told.get(name) not in wanted:
            findings.add("limits", where, f"{name} is {told.get(name)}, and not {' or '.join(sorted(wanted))}")
    if not 0 < size(told.get("maxmemory", "")) < size(limit):
        findings.add("limits", where, f"maxmemory is {told.get('maxmemory')}, the limit of its container {limit}")


def _memory(where: str, program: str | None, limit: str, folder: Path, findings: Findings) -> None:
    """The alert about memory compares with the limit that a recording rule states."""
    rules = yaml.safe_load((folder / "rules" / "recording.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        if rule["record"] == "job:tidings_memory_limit:bytes" and rule["labels"]["job"] == program:
            factors = re.fullmatch(r"vector\(([\d *]+)\)", rule["expr"])
            stated = 1
            for factor in factors[1].split("*") if factors else ["0"]:
                stated *= int(factor)
            if size(limit) != stated:
                findings.add("limits", where, f"its memory limit is {limit}, {rule['record']} states {stated} bytes")


def _traces(where: str, endpoint: str, services: dict, collector: Path, findings: Findings) -> None:
    listens = yaml.safe_load(collector.read_text())["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    found = re.fullmatch(r"http://([a-z\-]+):(\d+)", endpoint)
    if found is None or found[1] not in services or found[2] != listens.rsplit(":", 1)[1]:
        findings.add("limits", where, f"sends traces to {endpoint}, the collector listens at {listens}")
    elif not set(services[where].get("networks", [])) & set(services[found[1]].get("networks", [])):
        findings.add("network", where, f"cannot reach {found[1]}")


def _store_of_traces(services: dict, configuration: Path, findings: Findings) -> None:
    """The collector sends to the port at which Jaeger listens, and Grafana asks the port at which it answers."""
    told = yaml.safe_load(configuration.read_text())
    ports = {
        ("otel-collector", "OTLP_BACKEND"): told["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"],
        ("grafana", "JAEGER_URL"): told["extensions"]["jaeger_query"]["http"]["endpoint"],
    }
    for (service, variable), endpoint in ports.items():
        address = services[service]["environment"].get(variable, "").removeprefix("http://")
        if address != f"jaeger:{endpoint.rsplit(':', 1)[1]}" or "jaeger" not in services:
            findings.add("limits", service, f"{variable} is {address}, Jaeger listens at {endpoint}")
        elif not set(services[service]["networks"]) & set(services["jaeger"]["networks"]):
            findings.add("network", service, "cannot reach jaeger")


def _retention(command: list[str], findings: Findings) -> None:
    days = [re.fullmatch(r"--storage\.tsdb\.retention\.time=(\d+)d", word) for word in command]
    kept = [int(found[1]) for found in days if found]
    if len(kept) != 1 or kept[0] < LEAST_RETENTION_DAYS:
        findings.add("limits", "prometheus", f"keeps {kept} days, the objectives need {LEAST_RETENTION_DAYS}")


def _data_source(environment: dict, services: dict, folder: Path, findings: Findings) -> None:
    for file in sorted((folder / "provisioning" / "datasources").glob("*.yml")):
        for source in yaml.safe_load(file.read_text())["datasources"]:
            name = source["url"].removeprefix("$").strip("{}")
            found = re.fullmatch(r"http://([a-z\-]+):(\d+)", environment.get(name, ""))
            if found is None or found[1] not in services:
                findings.add("limits", "grafana", f"{file.name}: {source['url']} leads to no service")


def _balancer(text: str, heartbeat_s: int, findings: Findings) -> None:
    """HAProxy must be more patient than the services, so that clients get their answers and not its own errors."""
    least = {"tunnel": 2 * heartbeat_s, "server": CHANGE_S, "client": POLL_S}
    for name, seconds in least.items():
        told = [int(value) for value in re.findall(rf"^\s*timeout {name} (\d+)s$", text, re.MULTILINE)]
        if len(told) != 1 or told[0] <= seconds:
            findings.add("limits", "haproxy.cfg", f"timeout {name} is {told}, and must be more than {seconds} s")


def _route(route: Manifest, findings: Findings) -> None:
    for rule in route.spec["rules"]:
        paths = {match["path"]["value"] for match in rule.get("matches", [])}
        told = rule.get("timeouts", {}).get("request", "")
        found = re.fullmatch(r"(\d+)s", told)
        seconds = int(found[1]) if found else -1
        if paths & {"/v1/ws", "/socket.io"}:
            if seconds != 0:
                findings.add("limits", route.where, f"WebSockets end after {told}; 0s means no limit")
        elif 0 != seconds <= (POLL_S if "/v1/poll" in paths else CHANGE_S):
            findings.add("limits", route.where, f"{sorted(paths)}: {told} is shorter than answers take")


def _connections(scaled: Manifest, page: str, findings: Findings) -> None:
    """DEPLOY tells operators the `max_connections` of PostgreSQL for the most replicas."""
    found = re.search(r"\+ 1\) × (\d+) \+ (\d+), which is (\d+) for (\d+)", " ".join(page.split()))
    most = scaled.spec["maxReplicaCount"]
    needed = (most + 1) * CONNECTIONS + OTHERS
    if found is None or [int(one) for one in found.groups()] != [CONNECTIONS, OTHERS, needed, most]:
        findings.add("limits", scaled.where, f"{most} replicas need max_connections {needed}; docs/DEPLOY.md says otherwise")
