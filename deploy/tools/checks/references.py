"""Checks that names refer to existing objects: services to pods and ports, routes to services, autoscalers and monitors
to their targets, and secrets to the documented secrets."""

import json
import re
from collections.abc import Iterator

from .model import Findings, Manifest, Rendered, ports, selects
from .programs import FOLDERS

# WebSockets, polls and Socket.IO clients go to gateways, all other paths below /v1 to persistence, but for those of
# programs beside the services.
ROUTES = {
    ("Exact", "/v1/ws"): "tidings-gateway",
    ("Exact", "/v1/poll"): "tidings-gateway",
    ("Exact", "/v1/transport"): "tidings-gateway",
    ("Prefix", "/socket.io"): "tidings-gateway",
    ("Prefix", "/v1"): "tidings-persistence",
}
ROUTES_BESIDE = {
    ("Prefix", "/v1/webhooks"): "tidings-webhooks",
    ("Prefix", "/v1/files"): "tidings-files",
    ("Prefix", "/v1/push"): "tidings-push",
    ("Prefix", "/v1/me/devices"): "tidings-push",
    ("Prefix", "/v1/me/mutes"): "tidings-push",
    # In HTTPRoute and in Ingress. The path of an Ingress begins with a slash.
    ("RegularExpression", "^/v1/rooms/[^/]+/(messages/[^/]+/)?files(/.*)?$"): "tidings-files",
    ("ImplementationSpecific", "/v1/rooms/[^/]+/(messages/[^/]+/)?files(/.*)?$"): "tidings-files",
}
# The kinds of routes that have only one of these types.
TYPES_OF = {"RegularExpression": "HTTPRoute", "ImplementationSpecific": "Ingress"}

# The beginnings of the names of secrets that cert-manager and operators make.
SECRETS_OF_OTHERS = ("tidings-internal-tls-", "tidings-ca", "tidings-monitoring")


# The exporter of each PodMonitor whose name is the job of an exporter.
EXPORTERS = {"redis": "redis-exporter", "postgresql": "postgres-exporter"} | {
    name: name for name in ("tidings-probe", "tidings-webhooks", "tidings-files", "tidings-push")
}


def check(rendered: Rendered, findings: Findings, documented: set[tuple[str, str]], metrics: set[str]) -> None:
    """Checks the names in an overlay. `documented` has the pairs (secret, key), `metrics` the services' metrics."""
    for service in rendered.of("Service"):
        _service(rendered, service, findings)
    found = list(_routes(rendered))
    for route, kind, path, service, port in found:
        _route(rendered, route, (kind, path), (service, port), findings)
    if found:
        here = {one.name for one in rendered.workloads()}
        kinds = {route.kind for route, *_ in found}
        beside = {
            path: service for path, service in ROUTES_BESIDE.items()
            if service in here and TYPES_OF.get(path[0], "") in kinds | {""}
        }  # fmt: skip
        wanted = ROUTES | beside
        for kind, path in wanted.keys() - {(kind, path) for _, kind, path, _, _ in found}:
            findings.add("route", "routes", f"nothing leads {path} ({kind}) to {wanted[kind, path]}")
    for one in rendered.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = one.spec["scaleTargetRef"]
        if rendered.named(target.get("kind", "Deployment"), target.get("name", "")) is None:
            findings.add("reference", one.where, f"scales {target.get('name')}, which is not there")
        for metric in sorted(set(re.findall(r"tidings_\w+", json.dumps(one.spec))) - metrics):
            findings.add("metric", one.where, f"no service has {metric}")
    for one in rendered.of("PodMonitor"):
        _monitor(rendered, one, findings)
    watched = rendered.of("PodMonitor", "PrometheusRule")
    releases = {one.data["metadata"].get("labels", {}).get("release") for one in watched}
    # With different labels, kube-prometheus-stack would load the alerts without their metrics, or the reverse.
    if len(releases) > 1 or None in releases:
        findings.add("reference", "monitoring", "PodMonitor and PrometheusRule do not carry the same label `release`")
    for one in rendered.workloads():
        _used(rendered, one, findings, documented)
    _external(rendered, findings, documented)
    claimed = {
        volume.get("persistentVolumeClaim", {}).get("claimName")
        for one in rendered.workloads() for volume in one.pod.get("volumes", [])
    }  # fmt: skip
    for claim in rendered.of("PersistentVolumeClaim"):
        if claim.name not in claimed:
            findings.add("reference", claim.where, "no pod uses it")


def _external(rendered: Rendered, findings: Findings, documented: set[tuple[str, str]]) -> None:
    """With the External Secrets Operator each secret of a workload has an ExternalSecret, which reads the entry and the
    property of the same name."""
    made: set[tuple[str, str]] = set()
    for one in rendered.of("ExternalSecret"):
        for data in one.spec["data"]:
            made.add((one.name, data["secretKey"]))
            wanted = {"key": f"tidings/{one.name.removeprefix('tidings-')}", "property": data["secretKey"]}
            if data["remoteRef"] != wanted:
                findings.add("secret", one.where, f"reads {data['remoteRef']}, not {wanted}")
    for name, key in sorted(made - documented):
        findings.add("secret", name, f"{key} is not in the table of secrets in docs/DEPLOY.md")
    if made:
        for one in rendered.workloads():
            for name, key in sorted(set(secrets(one)) - made):
                if not name.startswith(SECRETS_OF_OTHERS):
                    findings.add("secret", one.where, f"no ExternalSecret makes {key} of {name}")


def _service(rendered: Rendered, service: Manifest, findings: Findings) -> None:
    wanted = {"matchLabels": service.spec.get("selector", {})}
    backs = [one for one in rendered.workloads() if one.kind != "Job" and selects(wanted, one.labels)]
    if len(backs) != 1:
        findings.add("reference", service.where, f"selects {len(backs)} workloads")
        return
    there = {name: port for container in backs[0].containers() for name, port in ports(container).items()}
    for port in service.spec["ports"]:
        target = port.get("targetPort", port["port"])
        if target not in there and target not in there.values():
            findings.add("reference", service.where, f"{target} is no port of {backs[0].where}")
        elif there.get(target, target) != port["port"]:
            findings.add("reference", service.where, f"{port['port']} leads to {there.get(target, target)}")


def _routes(rendered: Rendered) -> Iterator[tuple[Manifest, str, str, str, object]]:
    for route in rendered.of("HTTPRoute"):
        for rule in route.spec["rules"]:
            for match in rule.get("matches", []):
                for back in rule["backendRefs"]:
                    path = match["path"]
                    yield route, path["type"].removeprefix("Path"), path["value"], back["name"], back["port"]
    for route in rendered.of("Ingress"):
        for rule in route.spec["rules"]:
            for path in rule["http"]["paths"]:
                back = path["backend"]["service"]
                port = back["port"].get("number", back["port"].get("name"))
                yield route, path["pathType"], path["path"], back["name"], port


def _route(rendered: Rendered, route: Manifest, path: tuple[str, str], back: tuple[str, object], findings: Findings) -> None:
    if (ROUTES | ROUTES_BESIDE).get(path) != back[0]:
        findings.add("route", route.where, f"{path[1]} ({path[0]}) leads to {back[0]}")
        return
    service = rendered.named("Service", back[0])
    there = [port for port in service.spec["ports"] if back[1] in (port["port"], port["name"])] if service else []
    if not there:
        findings.add("reference", route.where, f"{back[0]}:{back[1]} is not there")
    elif there[0]["name"] != "http":
        findings.add("route", route.where, f"{back[0]}:{back[1]} is not public")


def _monitor(rendered: Rendered, monitor: Manifest, findings: Findings) -> None:
    asked = [one for one in rendered.workloads() if selects(monitor.spec["selector"], one.labels)]
    if monitor.name in EXPORTERS:
        _exporter(monitor, asked, findings)
        return
    if {one.name for one in asked} != {"tidings-gateway", "tidings-persistence"}:
        findings.add("reference", monitor.where, f"asks {sorted(one.name for one in asked)}")
    for one in asked:
        for endpoint in monitor.spec["podMetricsEndpoints"]:
            if endpoint["port"] != "admin" or "admin" not in ports(one.pod["containers"][0]):
                findings.add("reference", monitor.where, f"{endpoint['port']} of {one.where} has no metrics")
        node = next((env for env in one.pod["containers"][0].get("env", []) if env["name"] == "TIDINGS_NODE"), {})
        if node.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") != "metadata.name":
            findings.add("reference", one.where, "TIDINGS_NODE is not the name of the pod")
    # Alerts, traces and the clients of Redis then name a node in the same way.
    by_pod = {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"}
    for endpoint in monitor.spec["podMetricsEndpoints"]:
        if by_pod not in endpoint.get("relabelings", []):
            findings.add("reference", monitor.where, "the label `instance` is not the name of the pod")


def _exporter(monitor: Manifest, asked: list[Manifest], findings: Findings) -> None:
    """The labels `job` and `instance` of an exporter are set, and its port exists."""
    if [one.name for one in asked] != [EXPORTERS[monitor.name]]:
        findings.add("reference", monitor.where, f"asks {sorted(one.name for one in asked)}")
        return
    for endpoint in monitor.spec["podMetricsEndpoints"]:
        if endpoint["port"] not in ports(asked[0].pod["containers"][0]):
            findings.add("reference", monitor.where, f"{asked[0].where} has no port {endpoint['port']}")
        labels = {one["targetLabel"]: one for one in endpoint.get("relabelings", [])}
        if labels.get("job", {}).get("replacement") != monitor.name or "instance" not in labels:
            findings.add("reference", monitor.where, f"the labels are not job={monitor.name} and an instance")
        if endpoint["path"] == "/scrape" and not endpoint.get("params", {}).get("target"):
            findings.add("reference", monitor.where, "names no server")


def secrets(one: Manifest) -> Iterator[tuple[str, str]]:
    """The secrets that a workload names, with their keys; `*` means all keys."""
    for volume in one.pod.get("volumes", []):
        sources = [source["secret"] for source in volume.get("projected", {}).get("sources", []) if "secret" in source]
        if "secret" in volume:
            sources.append({"name": volume["secret"]["secretName"], **volume["secret"]})
        for source in sources:
            for item in source.get("items", [{"key": "*"}]):
                yield source["name"], item["key"]
    for container in one.containers():
        for env in container.get("env", []):
            reference = env.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield reference["name"], reference["key"]
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"], "*"


def _used(rendered: Rendered, one: Manifest, findings: Findings, documented: set[tuple[str, str]]) -> None:
    for name, key in secrets(one):
        made = rendered.named("Secret", name)
        if made is not None:
            held = set(made.data.get("data", {})) | set(made.data.get("stringData", {}))
            if key != "*" and key not in held:
                findings.add("secret", one.where, f"{name} has no {key}")
        elif (name, key) not in documented:
            findings.add("secret", one.where, f"{key} of {name} is not in the table of secrets in docs/DEPLOY.md")
    account = one.pod.get("serviceAccountName", "")
    if rendered.named("ServiceAccount", account) is None:
        findings.add("reference", one.where, f"ServiceAccount {account} is not there")
    mounted = {volume["name"] for volume in one.pod.get("volumes", [])}
    mounted |= {claim["metadata"]["name"] for claim in one.spec.get("volumeClaimTemplates", [])}
    claims = [volume["persistentVolumeClaim"] for volume in one.pod.get("volumes", []) if "persistentVolumeClaim" in volume]
    for claim in (found["claimName"] for found in claims):
        made = rendered.named("PersistentVolumeClaim", claim)
        if made is None:
            findings.add("reference", one.where, f"PersistentVolumeClaim {claim} is not there")
        elif one.kind == "Deployment" and made.spec.get("accessModes") != ["ReadWriteMany"]:
            findings.add("reference", one.where, f"its replicas cannot share {claim}, which is not ReadWriteMany")
    used = {mount["name"] for container in one.containers() for mount in container.get("volumeMounts", [])}
    for name in sorted(mounted - used):
        findings.add("reference", one.where, f"no container mounts the volume {name}")
    for container in one.containers():
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in mounted:
                findings.add("reference", one.where, f"volume {mount['name']} is not there")
        for source in container.get("envFrom", []):
            name = source.get("configMapRef", {}).get("name")
            if name and rendered.named("ConfigMap", name) is None:
                findings.add("reference", one.where, f"ConfigMap {name} is not there")
    # A file that a variable names must be mounted.
    held = {
        volume["name"]: {item["path"] for source in volume.get("projected", {}).get("sources", [])
                         for item in source.get("secret", {}).get("items", [])}
        for volume in one.pod.get("volumes", [])
    }  # fmt: skip
    for container in one.containers():
        mounts = container.get("volumeMounts", [])
        there = {f"{mount['mountPath']}/{path}" for mount in mounts for path in held.get(mount["name"], ())}
        # A whole secret has a file for each of its keys, which are checked above.
        whole = {volume["name"] for volume in one.pod.get("volumes", []) if "secret" in volume}
        folders = tuple(f"{mount['mountPath']}/" for mount in mounts if mount["name"] in whole)
        for env in container.get("env", []):
            value = env.get("value") or ""
            if env["name"] in FOLDERS and value not in {mount["mountPath"] for mount in mounts}:
                findings.add("reference", one.where, f"{env['name']}: nothing is mounted at {value}")
            if value.startswith("/run/secrets/") and value not in there and not value.startswith(folders):
                findings.add("secret", one.where, f"{env['name']}: nothing is mounted at {value}")
