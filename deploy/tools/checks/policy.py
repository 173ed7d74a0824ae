"""Checks how pods run: restricted, with resource requests, without an API token, spread, and with the right probes.
kube-score cannot check this, because it knows neither ScaledObjects nor the meaning of our probes."""

import re

from .model import Findings, Manifest, Rendered, ports, selects

SERVICES = ("tidings-gateway", "tidings-persistence")
# These have a number of replicas, and no autoscaler.
UNSCALED = ("tidings-webhooks", "tidings-files", "tidings-push")
# An image with a name and a fixed version. Tags that move, such as `latest`, are not versions.
IMAGE = re.compile(r"^[a-z0-9._\-/:]+:(?!latest$|stable$|edge$)[A-Za-z0-9._\-]+(@sha256:[0-9a-f]{64})?$")
# Names of variables that may contain a secret. Secrets are in files, which programs name by variables in `_FILE`.
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|(REDIS|DATABASE)_URL)(?!.*_FILE$)")
# The container, by workload and name, whose key of a bucket is in variables: its library for buckets reads no files.
BUCKET_KEYS = {("tidings-files", "files"): {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}}


def check(rendered: Rendered, findings: Findings, production: bool) -> None:
    """Checks all workloads of an overlay."""
    for one in rendered.workloads():
        _restricted(one, findings)
        _secret_variables(one, findings)
        _resources(one, findings)
        if one.name in SERVICES + UNSCALED:
            _probes(one, findings)
            _available(rendered, one, findings, production)
    for one in rendered.of("Service"):
        # Gateways need the address of each pod, also of pods that are not ready. All other services need ready pods.
        direct = one.spec.get("clusterIP") == "None" and one.spec.get("publishNotReadyAddresses") is True
        if one.name == "tidings-persistence-internal" and not direct:
            findings.add("failover", one.where, "does not lead to each pod (clusterIP: None, publishNotReadyAddresses)")
        elif one.name in SERVICES + UNSCALED and one.spec.get("publishNotReadyAddresses"):
            findings.add("failover", one.where, "clients are sent to who is not ready")
    for one in rendered.of("ServiceAccount"):
        if one.data.get("automountServiceAccountToken") is not False:
            findings.add("token", one.where, "automountServiceAccountToken is not false")
    for one in rendered.of("Namespace"):
        if one.data["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            findings.add("restricted", one.where, "does not enforce restricted pod security")
    if production:
        for one in rendered.of("Secret"):
            findings.add("secret", one.where, "production names secrets, and does not hold them")
    _roles(rendered, findings)


def _restricted(one: Manifest, findings: Findings) -> None:
    pod, context = one.pod, one.pod.get("securityContext", {})
    wrong = []
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        wrong.append("the pod may run as root: runAsNonRoot and a numeric runAsUser are needed")
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong.append("seccompProfile is not RuntimeDefault")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        wrong.append("it shares namespaces with its machine")
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        wrong.append("it sees files of its machine (hostPath)")
    for container in one.containers():
        name, inner = container["name"], container.get("securityContext", {})
        if inner.get("allowPrivilegeEscalation") is not False:
            wrong.append(f"{name}: allowPrivilegeEscalation is not false")
        if inner.get("readOnlyRootFilesystem") is not True:
            wrong.append(f"{name}: its root file system can be written to")
        capabilities = inner.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            wrong.append(f"{name}: it keeps capabilities")
        if inner.get("privileged") or inner.get("runAsUser") == 0 or inner.get("runAsNonRoot") is False:
            wrong.append(f"{name}: it is privileged or root")
        if any("hostPort" in port for port in container.get("ports", [])):
            wrong.append(f"{name}: it takes a port of its machine")
    for why in wrong:
        findings.add("restricted", one.where, why)
    if pod.get("automountServiceAccountToken") is not False or not pod.get("serviceAccountName"):
        findings.add("token", one.where, "it needs a serviceAccountName and automountServiceAccountToken: false")


def _secret_variables(one: Manifest, findings: Findings) -> None:
    for container in one.containers():
        allowed = BUCKET_KEYS.get((one.name, container["name"]), set())
        for env in container.get("env", []):
            refers = "secretKeyRef" in env.get("valueFrom", {})
            if refers and env["name"] not in allowed:
                findings.add("secret", one.where, f"{env['name']} holds a secret: mount it as a file")
            elif not refers and SECRET.search(env["name"]):
                findings.add("secret", one.where, f"{env['name']} has its secret value in the manifest")
        if any("secretRef" in source for source in container.get("envFrom", [])):
            findings.add("secret", one.where, "envFrom exposes a whole secret: mount it as a file")


def _resources(one: Manifest, findings: Findings) -> None:
    for container in one.containers():
        name, resources = container["name"], container.get("resources", {})
        missing = [f"requests.{what}" for what in ("cpu", "memory") if what not in resources.get("requests", {})]
        if "memory" not in resources.get("limits", {}):
            missing.append("limits.memory")
        if missing:
            findings.add("resources", one.where, f"{name} has no {', '.join(missing)}")
        if not IMAGE.match(container.get("image", "")):
            findings.add("image", one.where, f"{name}: {container.get('image')} names no version")


def _probes(one: Manifest, findings: Findings) -> None:
    """The readiness probe tests all dependencies. The startup and liveness probes test only the process, because a
    restart does not repair a dependency. The startup probe waits longer."""
    container = one.pod["containers"][0]
    paths = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for kind, path in paths.items():
        asked = container.get(kind, {}).get("httpGet", {})
        if asked.get("path") != path:
            findings.add("probes", one.where, f"{kind} does not ask {path}")
            continue
        if asked.get("port") not in ("admin", ports(container).get("admin")):
            findings.add("probes", one.where, f"{kind} does not ask the admin port")

    def probe_timeout_s(kind: str, otherwise: int) -> int:
        probe = container.get(kind, {})
        return probe.get("periodSeconds", 10) * probe.get("failureThreshold", otherwise)

    # Longer than persistence waits for its tables, so that its own error message appears before the restart.
    if probe_timeout_s("startupProbe", 3) < 90:
        findings.add("probes", one.where, "startupProbe gives up within 90 s")
    if probe_timeout_s("livenessProbe", 3) < 30:
        findings.add("probes", one.where, "livenessProbe restarts what was slow for less than 30 s")
    if probe_timeout_s("readinessProbe", 3) > 20:
        findings.add("probes", one.where, "readinessProbe takes longer than 20 s to believe it")


def _available(rendered: Rendered, one: Manifest, findings: Findings, production: bool) -> None:
    rolling = one.spec.get("strategy", {}).get("rollingUpdate", {})
    if rolling.get("maxUnavailable") != 0 or rolling.get("maxSurge") != 1:
        findings.add("rollout", one.where, "is not rolled out one by one (maxSurge 1, maxUnavailable 0)")
    budgets = [two for two in rendered.of("PodDisruptionBudget") if selects(two.spec["selector"], one.labels)]
    if len(budgets) != 1:
        findings.add("disruption", one.where, f"has {len(budgets)} PodDisruptionBudgets")
    elif budgets[0].spec.get("maxUnavailable") != 1:
        findings.add("disruption", one.where, "its PodDisruptionBudget is not maxUnavailable: 1")
    spread = {two["topologyKey"]: two for two in one.pod.get("topologySpreadConstraints", [])}
    for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
        if key not in spread:
            findings.add("spread", one.where, f"is not spread over {key}")
        elif not selects(spread[key].get("labelSelector", {}), one.labels):
            findings.add("spread", one.where, f"the spread over {key} counts other pods")
        # Otherwise a cordoned node counts as a node without pods, and no pod may start elsewhere.
        elif {spread[key].get("nodeTaintsPolicy"), spread[key].get("nodeAffinityPolicy", "Honor")} != {"Honor"}:
            findings.add("spread", one.where, f"the spread over {key} counts nodes that it cannot run on")
    if not production:
        return
    if spread.get("kubernetes.io/hostname", {}).get("whenUnsatisfiable") != "DoNotSchedule":
        findings.add("spread", one.where, "two of them may go with one machine")
    if one.name in UNSCALED:
        if one.spec.get("replicas", 1) < 2:
            findings.add("scale", one.where, "has fewer than 2 replicas")
        return
    scaled = [
        two
        for two in rendered.of("HorizontalPodAutoscaler", "ScaledObject")
        if two.spec["scaleTargetRef"].get("name") == one.name
    ]
    least = [two.spec.get("minReplicas", two.spec.get("minReplicaCount", 0)) for two in scaled]
    if len(scaled) != 1 or least[0] < 2:
        findings.add("scale", one.where, "needs exactly one autoscaler, with 2 replicas at least")
    for two in scaled:
        if two.kind == "ScaledObject" and not _scales_slowly(two):
            findings.add("scale", two.where, "while PostgreSQL is away it would start all replicas at once")
    if scaled and "replicas" in one.spec:
        findings.add("scale", one.where, "replicas is set, and would undo what its autoscaler did")


def _scales_slowly(scaled: Manifest) -> bool:
    """Autoscaling adds at most one replica in 2 minutes, and does not depend on the age of the backlog."""
    behavior = scaled.spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    policies = behavior.get("scaleUp", {}).get("policies", [])
    slow = [two["type"] == "Pods" and two["value"] == 1 and two["periodSeconds"] >= 120 for two in policies]
    queries = [two.get("metadata", {}).get("query", "") for two in scaled.spec["triggers"]]
    return bool(slow) and all(slow) and not any("oldest" in query for query in queries)


def _roles(rendered: Rendered, findings: Findings) -> None:
    """No workload has rights to the Kubernetes API."""
    for one in rendered.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        findings.add("token", one.where, "no part of Tidings needs rights in the cluster")
