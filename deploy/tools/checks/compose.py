"""Checks deploy/compose.yaml, alone and with an overlay: its schema, the restrictions of containers, secrets as files, health checks, start order,
stop times, mounted files, and the ports and variables of the programs."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from . import backups, edge, limits
from .images import program_of
from .model import Findings, UniqueLoader
from .policy import BUCKET_KEYS, IMAGE, SECRET
from .programs import FOLDERS, Programs
from .schemas import place
from .stopping import seconds, stop_time_s

# Services whose images have no command for a health check.
NO_HEALTH = {"otel-collector"}
# Services that end when their work is done.
ONE_SHOT = {"migrations", "redis-cluster", "rehearsal"}
# Ports of services whose programs are not ours.
PORTS = {"alertmanager": 9093, "redis": 6379, "redis-exporter": 9121, "postgres-exporter": 9187, "backup": 9854}
# Lists that an overlay replaces. All other lists are joined.
REPLACED = {"command", "entrypoint", "test"}
# The variables of secrets that may come from the environment of the command.
PASSED_ON = {"files": BUCKET_KEYS["tidings-files", "files"] | {"AWS_SESSION_TOKEN"}}
# A value of an overlay that removes what is below it.
RESET = object()


class Loader(UniqueLoader):
    """Knows the tag `!reset`."""


Loader.add_constructor("!reset", lambda loader, node: RESET)


def load(path: Path) -> dict[str, Any]:
    """Reads the file, resolves its merges, and replaces variables by their defaults. A variable that has none, but must
    be set (`:?`), becomes `null`, which Compose also takes from its environment."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
    return yaml.load(re.sub(r"\$\{\w+:\?[^}]*\}", "null", text), Loader=Loader)


def merge(below: Any, above: Any, key: str = "") -> Any:
    """Merges an overlay into a file as Compose does: maps by key, volumes by the path in the container, lists by their
    entries, and every other value from the overlay."""
    if key == "networks" and isinstance(below, list) != isinstance(above, list):
        below, above = (dict.fromkeys(one) if isinstance(one, list) else one for one in (below, above))
    if isinstance(below, dict) and isinstance(above, dict):
        merged = below | {name: merge(below[name], one, name) if name in below else one for name, one in above.items()}
        return {name: one for name, one in merged.items() if one is not RESET}
    if not (isinstance(below, list) and isinstance(above, list)) or key in REPLACED:
        return above
    if key == "volumes":
        mounted = {one.split(":")[1] for one in above}
        below = [one for one in below if one.split(":")[1] not in mounted]
    return below + [one for one in above if one not in below]


def schema() -> dict:
    """The schema of the Compose specification, read from the package check-jsonschema without importing it."""
    package = find_spec("check_jsonschema")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("check_jsonschema")
    return json.loads(Path(package.origin).with_name("builtin_schemas").joinpath("vendor/compose-spec.json").read_text())


def check(compose: dict, folder: Path, programs: Programs | None, stages: dict, findings: Findings) -> None:
    """Checks the whole file. Its paths are relative to `folder`."""
    rules = schema()
    for error in jsonschema.validators.validator_for(rules)(rules).iter_errors(compose):
        findings.add("schema", "compose.yaml", f"{place(error.absolute_path)}: {error.message}")
    if findings.found:
        return
    services = compose["services"]
    for name, service in services.items():
        _restricted(name, service, findings)
        _order(name, service, services, findings)
        _files(name, service, compose, folder, findings)
        program = program_of(service.get("image", ""))
        if program:
            _ours(name, service, services, program, programs, stages, findings)
    _other_programs(services, folder, stages, findings)
    limits.check_compose(compose, folder, findings)
    backups.check(compose, folder, findings)
    for name, secret in compose.get("secrets", {}).items():
        if not secret.get("file", "").startswith("./compose/secrets/"):
            findings.add("secret", name, "is not a file of compose/secrets")
    used = {one for service in services.values() for one in service.get("secrets", [])}
    for name in compose.get("secrets", {}).keys() - used:
        findings.add("secret", name, "nobody uses it")
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith((".", "/")) and source not in compose.get("volumes", {}):
                findings.add("files", name, f"there is no volume {source}")


def _restricted(name: str, service: dict, findings: Findings) -> None:
    wrong = []
    if service.get("read_only") is not True:
        wrong.append("its root file system can be written to")
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        wrong.append("it keeps capabilities")
    if "no-new-privileges:true" not in service.get("security_opt", []):
        wrong.append("it may gain privileges")
    if service.get("privileged") or service.get("network_mode") == "host":
        wrong.append("it is privileged")
    user = str(service.get("user", ""))
    if not program_of(service.get("image", "")) and not re.fullmatch(r"[1-9]\d*(:\d+)?", user):
        wrong.append("no user is named who is not root")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory"} <= limits.keys():
        wrong.append("it has no limits of cpus and memory")
    for why in wrong:
        findings.add("restricted", name, why)
    if not IMAGE.match(service.get("image", "")):
        findings.add("image", name, f"{service.get('image')} names no version")
    for variable, value in (service.get("environment") or {}).items():
        is_passed_on = variable in PASSED_ON.get(name, set()) and value is None
        if SECRET.search(variable) and not is_passed_on:
            findings.add("secret", name, f"{variable} stands in the environment")
        if isinstance(value, bool):
            findings.add("environment", name, f"{variable} is no text")
    for port in service.get("ports", []):
        if name != "haproxy" and not str(port).startswith("127.0.0.1:"):
            findings.add("ports", name, f"{port} is open to other machines")


def _order(name: str, service: dict, services: dict, findings: Findings) -> None:
    check_of = service.get("healthcheck", {})
    if name not in ONE_SHOT | NO_HEALTH and not check_of.get("test"):
        findings.add("health", name, "nobody asks for its health")
    for other, how in service.get("depends_on", {}).items():
        if other not in services:
            findings.add("order", name, f"waits for {other}, which is not there")
            continue
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        if how.get("condition") != wanted:
            findings.add("order", name, f"waits for {other} to be started only")
        if wanted == "service_healthy" and not services[other].get("healthcheck", {}).get("test"):
            findings.add("order", name, f"waits for the health of {other}, which nobody asks for")
    if name == "persistence" and "migrations" not in service.get("depends_on", {}):
        findings.add("order", name, "starts before the schema is there")


def _files(name: str, service: dict, compose: dict, folder: Path, findings: Findings) -> None:
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            # secrets.sh makes what is in this folder.
            if not (folder / source).exists() and not source.startswith("./compose/secrets/"):
                findings.add("files", name, f"{source} is not there")
            if not rest.endswith(":ro"):
                findings.add("files", name, f"{source} could be written to")
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    for variable in FOLDERS & (service.get("environment") or {}).keys():
        if service["environment"][variable] not in mounted:
            findings.add("files", name, f"{variable} is no volume, and its files would not stay")
    for secret in service.get("secrets", []):
        if secret not in compose.get("secrets", {}):
            findings.add("secret", name, f"{secret} is not declared")
    for variable, value in (service.get("environment") or {}).items():
        if variable.endswith("_FILE") and str(value).startswith("/run/secrets/"):
            if str(value).removeprefix("/run/secrets/") not in service.get("secrets", []):
                findings.add("secret", name, f"{variable}: {value} is not given to it")


def _ours(name: str, service: dict, services: dict, program: str, programs: Programs | None, stages: dict,
          findings: Findings) -> None:  # fmt: skip
    target = program.removeprefix("tidings-")
    if service.get("build", {}).get("target") != target or target not in stages:
        findings.add("image", name, f"is not built from the stage {target}")
    given = service.get("environment") or {}
    environment = {key: None if value is None else str(value) for key, value in given.items()}
    if programs is not None:
        programs.check_arguments(program, service.get("command", []), name, findings)
    if program == "tidings-migrations":
        return
    health = service["healthcheck"]["test"] if service.get("healthcheck", {}).get("test") else []
    if health != ["CMD", f"/{program}", "health"]:
        findings.add("health", name, "the program itself is to be asked")
    grace, needed = seconds(str(service.get("stop_grace_period", "10s"))), stop_time_s(program, environment)
    if grace <= needed:
        findings.add("stopping", name, f"has {grace:.0f} s to end, and takes up to {needed:.0f} s")
    if "front" not in service.get("networks", []):
        findings.add("network", name, "cannot be reached from the load balancer")
    for url in (environment.get("TIDINGS_PERSISTENCE_URLS") or "").split(","):
        found = re.fullmatch(r"http://([a-z0-9\-]+):(\d+)", url)
        if url and (found is None or found[1] not in services or int(found[2]) - 20_000 not in stages["persistence"].ports()):
            findings.add("ports", name, f"{url} is no internal listener of a service here")
    if programs is not None:
        programs.check_environment(program, environment | stages[target].environment(), name, findings)


def _other_programs(services: dict, folder: Path, stages: dict, findings: Findings) -> None:
    """Each service and variable in the settings of other programs, such as HAProxy, must exist here, and vice versa."""
    balancer = folder / "haproxy" / "haproxy.cfg"
    listens: set[int] = set()
    if balancer.exists():
        text = balancer.read_text()
        edge.check_balancer(text, services["haproxy"].get("environment", {}), findings)
        known = set(re.findall(r"\$\{(\w+)-", text))
        for variable in services["haproxy"].get("environment", {}).keys() - known:
            findings.add("environment", "haproxy", f"haproxy.cfg reads no {variable}")
        for variable, value in services["haproxy"].get("environment", {}).items():
            _address(f"haproxy: {variable}", str(value), services, stages, findings)
        listens = {int(port) for port in re.findall(r'bind "\$\{\w+-[^:}]*:(\d+)\}"', text)}
        for port in services["haproxy"]["ports"]:
            if int(str(port).rsplit(":", 1)[-1]) not in listens:
                findings.add("ports", "haproxy", f"{port}: it listens at {sorted(listens)}")
    _receivers(services.get("alertmanager", {}), findings)
    prometheus = folder / "prometheus" / "prometheus.yml"
    if prometheus.exists():
        configured = yaml.safe_load(prometheus.read_text())
        notified = [one for place in configured.get("alerting", {}).get("alertmanagers", [])
                    for targets in place["static_configs"] for one in targets["targets"]]  # fmt: skip
        if not notified:
            findings.add("alerts", "prometheus.yml", "nobody is told of alerts")
        for target in notified:
            _target("prometheus.yml: alerting", target, services, stages, listens, findings)
        for job in configured["scrape_configs"]:
            where = f"prometheus.yml: {job['job_name']}"
            for targets in job.get("static_configs", []):
                for target in targets["targets"]:
                    if not target.startswith("localhost:"):
                        _target(where, target, services, stages, listens, findings)
            for names in job.get("dns_sd_configs", []):
                for name in names["names"]:
                    _target(where, f"{name}:{names['port']}", services, stages, listens, findings)
            _by_exporter(where, job, services, stages, folder, findings)


def _receivers(service: dict, findings: Findings) -> None:
    """Alertmanager reads the shipped routes and the file of receivers that is mounted."""
    mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
    if service.get("entrypoint") != ["/bin/sh", "/etc/alertmanager/start.sh"] or "/etc/alertmanager" not in mounted:
        findings.add("alerts", "alertmanager", "does not start with the shipped routes")
    if service.get("command", [None])[0] not in mounted:
        findings.add("alerts", "alertmanager", "its file of receivers is not mounted")
    if "outside" not in service.get("networks", []):
        findings.add("network", "alertmanager", "cannot reach a receiver")


def _by_exporter(where: str, job: dict, services: dict, stages: dict, folder: Path, findings: Findings) -> None:
    """A job whose exporter asks other servers: Prometheus reaches the exporter, and the exporter each server."""
    exporters = [one["replacement"] for one in job.get("relabel_configs", []) if one.get("target_label") == "__address__"]
    for exporter in exporters:
        _target(where, exporter, services, stages, set(), findings)
        networks = set(services.get(exporter.partition(":")[0], {}).get("networks", []))
        for file in (name for lists in job.get("file_sd_configs", []) for name in lists["files"]):
            mounted = [volume.split(":")[0] for volume in services["prometheus"]["volumes"] if f"/{file}:" in volume]
            path = folder / (mounted[0] if mounted else f"prometheus/{file}")
            for target in (one for lists in yaml.safe_load(path.read_text()) for one in lists["targets"]):
                reached = [name for name, one in services.items() if target in _addresses(name, one)]
                if not reached:
                    findings.add("ports", where, f"{target} is no port of a service here")
                elif not networks & set(services[reached[0]].get("networks", [])):
                    findings.add("network", where, f"{exporter} cannot reach {target}")


def _addresses(name: str, service: dict) -> set[str]:
    """The addresses of a Redis: its name, and the addresses that it has in networks."""
    if "redis-server" not in service.get("command", []):
        return set()
    networks = service.get("networks", [])
    given = [(one or {}).get("ipv4_address") for one in networks.values()] if isinstance(networks, dict) else []
    return {f"{host}:{PORTS['redis']}" for host in [name, *given] if host}


def _target(where: str, target: str, services: dict, stages: dict, listens: set[int], findings: Findings) -> None:
    """Each target of Prometheus exists and shares a network with Prometheus."""
    host, _, port = target.partition(":")
    if host == "haproxy":
        if int(port) not in listens:
            findings.add("ports", where, f"{target}: HAProxy listens at {sorted(listens)}")
    else:
        _address(where, target, services, stages, findings)
    if not set(services.get(host, {}).get("networks", [])) & set(services["prometheus"].get("networks", [])):
        findings.add("network", where, f"Prometheus cannot reach {target}")


def _address(where: str, address: str, services: dict, stages: dict, findings: Findings) -> None:
    """Checks a host and a port of a service in this file."""
    found = re.fullmatch(r"([a-z0-9\-]+):(\d+)", address)
    if found is None:
        return
    if found[1] in services and PORTS.get(found[1]) == int(found[2]):
        return
    program = program_of(services.get(found[1], {}).get("image", ""))
    if program is None or int(found[2]) not in stages[program.removeprefix("tidings-")].ports():
        findings.add("ports", where, f"{address} is no port of a service here")
