"""The table of the chart: under which condition the chart has an object, and which of its fields come from values. A
path that is not in the manifest, or an object that is not in the table, is an error, so k8s/ cannot change without the
chart. Long because each object has its own fields."""

from typing import Any

from helm.emit import Each, Expr, Loop, Variables, When

V = "$.Values"
GATEWAY_API, INGRESS, TRAEFIK = f"{V}.gatewayApi.enabled", f"{V}.ingress.enabled", f"{V}.traefik.enabled"
RETENTION, SCALED, POLICIES = f"{V}.retention.enabled", f"{V}.autoscaling.enabled", f"{V}.networkPolicies.enabled"
MIGRATIONS, INTERNAL_TLS = f"{V}.migrations.enabled", f"{V}.internalTls.enabled"
REDIS_X, POSTGRESQL_X = f"{V}.exporters.redis.enabled", f"{V}.exporters.postgresql.enabled"
MONITORING, PROBE = f"{V}.monitoring.enabled", f"{V}.probe.enabled"
EXTERNAL = f"{V}.externalSecrets.enabled"
# Where the files are: in a bucket, or else in a folder.
BUCKET, KEYS = f"{V}.files.bucket.url", f"{V}.files.bucket.keys"
# The programs beside the services that have an API.
COMPANIONS = ("webhooks", "files", "push")

# (kind, name) -> the file of the template, and the condition. `*` as a name means all objects of the kind that have no
# line of their own.
OBJECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("ConfigMap", "tidings-settings"): ("settings", ""),
    ("Ingress", "*"): ("ingress", INGRESS),
    ("HTTPRoute", "tidings"): ("gateway-api", GATEWAY_API),
    ("Middleware", "*"): ("traefik", TRAEFIK),
    ("HorizontalPodAutoscaler", "tidings-gateway"): ("autoscaling", SCALED),
    ("ScaledObject", "tidings-persistence"): ("autoscaling", SCALED),
    ("PodMonitor", "tidings"): ("monitoring", MONITORING),
    ("PodMonitor", "redis"): ("exporters", f"and {REDIS_X} {MONITORING}"),
    ("PodMonitor", "postgresql"): ("exporters", f"and {POSTGRESQL_X} {MONITORING}"),
    ("PodMonitor", "tidings-probe"): ("probe", f"and {PROBE} {MONITORING}"),
    ("CronJob", "tidings-retention"): ("retention", RETENTION),
    ("Job", "tidings-migrations"): ("migrations", MIGRATIONS),
    ("ExternalSecret", "tidings-database-owner"): ("migrations", f"and {EXTERNAL} {MIGRATIONS}"),
    ("ExternalSecret", "*"): ("external-secrets", EXTERNAL),
    ("AlertmanagerConfig", "tidings"): ("alertmanager", f"{V}.alertmanager.enabled"),
    ("Certificate", "*"): ("internal-tls", INTERNAL_TLS),
    ("Issuer", "*"): ("internal-tls", INTERNAL_TLS),
    ("NetworkPolicy", "tidings-migrations"): ("migrations", f"and {POLICIES} {MIGRATIONS}"),
    ("NetworkPolicy", "tidings-retention"): ("retention", f"and {POLICIES} {RETENTION}"),
    ("NetworkPolicy", "tidings-probe"): ("probe", f"and {POLICIES} {PROBE}"),
    ("NetworkPolicy", "redis-exporter"): ("exporters", f"and {POLICIES} {REDIS_X}"),
    ("NetworkPolicy", "postgres-exporter"): ("exporters", f"and {POLICIES} {POSTGRESQL_X}"),
    ("NetworkPolicy", "traces"): ("network", f"and {POLICIES} {V}.networkPolicies.traces.enabled"),
    ("NetworkPolicy", "*"): ("network", POLICIES),
}
for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"):
    for name, condition in (("tidings-gateway", ""), ("tidings-persistence", ""), ("redis-exporter", REDIS_X),
                            ("postgres-exporter", POSTGRESQL_X), ("tidings-retention", RETENTION), ("tidings-probe", PROBE),
                            *((f"tidings-{one}", f"{V}.{one}.enabled") for one in COMPANIONS),
                            ("tidings-migrations", MIGRATIONS), ("tidings-persistence-internal", "")):  # fmt: skip
        file = "exporters" if "exporter" in name else name.removeprefix("tidings-").removesuffix("-internal")
        OBJECTS[kind, name] = (file, condition)
for name in COMPANIONS:
    for kind, also in (("Ingress", INGRESS), ("HTTPRoute", GATEWAY_API), ("PodMonitor", MONITORING),
                       ("NetworkPolicy", POLICIES), ("ExternalSecret", EXTERNAL)):  # fmt: skip
        OBJECTS[kind, f"tidings-{name}"] = (name, f"and {V}.{name}.enabled {also}")
OBJECTS["PersistentVolumeClaim", "tidings-files"] = (
    "files", f"and {V}.files.enabled (not {V}.files.storage.claim) (not {BUCKET})"
)  # fmt: skip
OBJECTS["ExternalSecret", "tidings-redis-push"] = ("push", f"and {V}.push.enabled {EXTERNAL}")
OBJECTS["ExternalSecret", "tidings-bucket"] = ("files", f"and {V}.files.enabled {EXTERNAL} {BUCKET} {KEYS}")
# The namespace is that of the release, and these two are read from the files of k8s/ and deploy/ (templates/alerts-and-dashboards.yaml).
LEFT_OUT = {"Namespace", "PrometheusRule"}
DASHBOARDS = "tidings-dashboard-"

SECRETS = {
    "tidings-redis-gateway": "redisGateway",
    "tidings-redis-persistence": "redisPersistence",
    "tidings-redis-push": "redisPush",
    "tidings-database": "database",
    "tidings-database-owner": "databaseOwner",
    "tidings-internal": "internal",
    "tidings-tokens": "tokens",
    "tidings-monitoring": "monitoring",
    "tidings-files": "files",
    "tidings-push": "push",
    "tidings-bucket": "bucket",
}
# The values that name the keys of a secret with more than one.
SECRET_KEYS = {"access-key-id": "idKey", "secret-access-key": "secretKey"}

# cert-manager makes these under fixed names (k8s/components/internal-tls).
TLS_SECRETS = "tidings-internal-tls-"


def resolve_path(found: Any, path: list[Any], what: str) -> tuple[Any, Any]:
    """Returns the container and the key at the end of a path. Fails if the path does not exist."""
    for step in path[:-1]:
        found = found[step]
    if path[-1] not in (found if isinstance(found, dict) else range(len(found))):
        raise KeyError(f"{what} has no {path}: change deploy/tools/helm/table.py")
    return found, path[-1]


def put(one: dict, path: list[Any], value: Any) -> None:
    """Replaces a field that the manifest has."""
    inside, key = resolve_path(one, path, f"{one['kind']}/{one['metadata']['name']}")
    inside[key] = Expr(value) if isinstance(value, str) else value


def variable(container: dict, name: str) -> dict:
    """An environment variable of a container."""
    return next(env for env in container["env"] if isinstance(env, dict) and env["name"] == name)


def secrets(pod: dict) -> None:
    """The names and keys of secrets come from values. Without secrets.tokens.enabled keys of tokens come by JWKS."""
    for volume in pod["volumes"]:
        sources = volume.get("projected", {}).get("sources", [])
        for at, source in enumerate(sources):
            name = source["secret"]["name"]
            if name.startswith(TLS_SECRETS):
                sources[at] = When(INTERNAL_TLS, source)
                continue
            value = f"{V}.secrets.{SECRETS[name]}"
            source["secret"]["name"] = Expr(f"{value}.name")
            if name != "tidings-monitoring":
                source["secret"]["items"][0]["key"] = Expr(f"{value}.key")
            if name == "tidings-tokens":
                sources[at] = When(f"{value}.enabled", source)


def authorities(pod: dict, redis: bool, database: bool) -> None:
    """Certificates of own authorities, beside the secrets."""
    sources, container = pod["volumes"][0]["projected"]["sources"], pod["containers"][0]
    for used, key, path in ((redis, "redisKey", "redis-ca.crt"), (database, "databaseKey", "database-ca.crt")):
        if used:
            item = {"key": Expr(f"{V}.ca.{key}"), "path": path}
            source = {"secret": {"name": Expr(f"{V}.ca.secret"), "items": [item]}}
            sources.append(When(f"and {V}.ca.secret {V}.ca.{key}", source))
    if redis:
        env = {"name": "TIDINGS_REDIS_CA_FILE", "value": "/run/secrets/tidings/redis-ca.crt"}
        container["env"].append(When(f"and {V}.ca.secret {V}.ca.redisKey", env))


def scheduled(pod: dict, values: str) -> None:
    """Where the pods run, and what pulls their images."""
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        pod[key] = When(f"{values}.{key}", Expr(f"{values}.{key}"))
    pulls = f"{V}.image.pullSecrets"
    pod["imagePullSecrets"] = When(pulls, Expr(pulls))


def container_of(one: dict, pod: dict, values: str, image: str) -> dict:
    """The first container, with its image and resources from values."""
    container = pod["containers"][0]
    container["image"] = Expr(f'include "tidings.image" (dict "root" $ "name" "{image}" "image" {values}.image) ')
    container["imagePullPolicy"] = Expr(f"{V}.image.pullPolicy")
    put({**one, "it": container}, ["it", "resources"], f"{values}.resources")
    return container


def service(one: dict) -> None:
    """A Deployment of gateways or persistence."""
    name = one["metadata"]["name"].removeprefix("tidings-")
    values, template = f"{V}.{name}", one["spec"]["template"]
    pod = template["spec"]
    container = container_of(one, pod, values, name)
    one["spec"]["replicas"] = When(f"not {SCALED}", Expr(f"{values}.replicas"))
    put(one, ["spec", "template", "spec", "terminationGracePeriodSeconds"],
        f'include "tidings.{name}.grace" $ | int')  # fmt: skip
    if name == "gateway":
        put(one, ["spec", "minReadySeconds"], f"add (div (int {values}.drainMs) 1000) 5")
        for key, value in (("TIDINGS_WORKERS", "workers"), ("TIDINGS_DRAIN_MS", "drainMs")):
            variable(container, key)["value"] = Expr(f"{values}.{value} | int | toString")
    variable(container, "TIDINGS_UNREADY_MS")["value"] = Expr(f"{values}.unreadyMs | int | toString")
    spread = resolve_path(one, ["spec", "template", "spec", "topologySpreadConstraints", 1, "whenUnsatisfiable"], name)
    spread[0][spread[1]] = Expr(f"{V}.spread")
    tokens = container["env"].index(variable(container, "TIDINGS_JWT_SECRET_FILE"))
    container["env"][tokens] = When(f"{V}.secrets.tokens.enabled", container["env"][tokens])
    secrets(pod)
    internal_tls(container, name)
    authorities(pod, redis=True, database=name == "persistence")
    container["env"].append(Variables(f"{values}.env"))
    container["volumeMounts"].append(Each(f"{values}.volumeMounts"))
    pod["volumes"].append(Each(f"{values}.volumes"))
    scheduled(pod, values)
    # The pods restart when a setting changes.
    digest = Expr(f"{V}.settings | toJson | sha256sum")
    template["metadata"]["annotations"] = {"checksum/settings": digest, "*": Each(f"{values}.podAnnotations")}
    template["metadata"]["labels"]["*"] = Each(f"{values}.podLabels")


def internal_tls(container: dict, name: str) -> None:
    """TLS between the services becomes conditional: its variables, and the scheme of the internal address."""
    found = 0
    for at, env in enumerate(container["env"]):
        if isinstance(env, dict) and env["name"].startswith("TIDINGS_INTERNAL_TLS_"):
            container["env"][at] = When(INTERNAL_TLS, env)
            found += 1
    if found != 3:
        raise KeyError(f"tidings-{name} has {found} variables of internal TLS: change deploy/tools/helm/table.py")
    if name == "gateway":
        url = variable(container, "TIDINGS_PERSISTENCE_URLS")
        scheme, address = url["value"].split("://")
        if scheme != "https":
            raise KeyError("TIDINGS_PERSISTENCE_URLS has no TLS")
        url["value"] = Expr(f'printf "%s://{address}" (ternary "https" "http" {INTERNAL_TLS})')


def job(one: dict) -> None:
    """The migrations, as a hook before an installation or an upgrade."""
    pod = one["spec"]["template"]["spec"]
    container = container_of(one, pod, f"{V}.migrations", "migrations")
    put(one, ["spec", "activeDeadlineSeconds"], f"{V}.migrations.deadlineSeconds")
    secrets(pod)
    authorities(pod, redis=False, database=True)
    container["env"].append(Variables(f"{V}.migrations.env"))
    scheduled(pod, f"{V}.migrations")
    hook(one, 0, "before-hook-creation")


def hook(one: dict, weight: int, deleted: str = "before-hook-creation,hook-succeeded") -> None:
    """Makes an object a hook. The annotations of Argo CD go, because it reads those of Helm."""
    annotations = one["metadata"].get("annotations", {})
    one["metadata"]["annotations"] = {
        **{key: value for key, value in annotations.items() if not key.startswith("argocd.")},
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-weight": str(weight),
        "helm.sh/hook-delete-policy": deleted,
    }


def retention(one: dict) -> None:
    """The nightly job."""
    values, spec = f"{V}.retention", one["spec"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    container = container_of(one, pod, values, "persistence")
    put(one, ["spec", "schedule"], f"{values}.schedule")
    put(one, ["spec", "timeZone"], f"{values}.timeZone")
    if container["args"] != ["retain", "--older-than", "365d", "--archive", "--pause-ms", "50"]:
        raise KeyError("the arguments of retention changed: change deploy/tools/helm/table.py")
    container["args"] = ["retain", "--older-than", Expr(f"{values}.olderThan"), Expr(f'print "--" {values}.mode'),
                         "--pause-ms", Expr(f"{values}.pauseMs | int | toString")]  # fmt: skip
    secrets(pod)
    authorities(pod, redis=True, database=True)
    scheduled(pod, values)


def exporter(one: dict) -> None:
    """Converts an exporter, which uses a third-party image."""
    name = {"redis-exporter": "redis", "postgres-exporter": "postgresql"}[one["metadata"]["name"]]
    pod = one["spec"]["template"]["spec"]
    container = pod["containers"][0]
    container["image"] = Expr(f"{V}.exporters.{name}.image")
    container["resources"] = Expr(f"{V}.exporters.{name}.resources")
    secrets(pod)


def probe(one: dict) -> None:
    """The probe, which goes to the first public name."""
    values, pod = f"{V}.probe", one["spec"]["template"]["spec"]
    container = container_of(one, pod, values, "probe")
    variable(container, "TIDINGS_PROBE_URL")["value"] = Expr(f'printf "https://%s" (first {V}.hosts)')
    variable(container, "TIDINGS_PROBE_INTERVAL_MS")["value"] = Expr(f"{values}.intervalMs | int | toString")
    tokens = container["env"].index(variable(container, "TIDINGS_PROBE_SIGNING_KEY_FILE"))
    container["env"][tokens] = When(f"{V}.secrets.tokens.enabled", container["env"][tokens])
    secrets(pod)
    container["env"].append(Variables(f"{values}.env"))
    container["volumeMounts"].append(Each(f"{values}.volumeMounts"))
    pod["volumes"].append(Each(f"{values}.volumes"))
    scheduled(pod, values)


def companion(one: dict) -> None:
    """A program beside the services that has an API."""
    name = one["metadata"]["name"].removeprefix("tidings-")
    values, pod = f"{V}.{name}", one["spec"]["template"]["spec"]
    container = container_of(one, pod, values, name)
    put(one, ["spec", "replicas"], f"{values}.replicas")
    spread = resolve_path(one, ["spec", "template", "spec", "topologySpreadConstraints", 1, "whenUnsatisfiable"], values)
    spread[0][spread[1]] = Expr(f"{V}.spread")
    tokens = container["env"].index(variable(container, "TIDINGS_JWT_SECRET_FILE"))
    container["env"][tokens] = When(f"{V}.secrets.tokens.enabled", container["env"][tokens])
    secrets(pod)
    authorities(pod, redis=name == "push", database=True)
    if name == "files":
        contents(one, pod, container)
        one["spec"]["template"]["metadata"]["labels"]["*"] = Each(f"{values}.podLabels")
    if name == "push":
        variable(container, "TIDINGS_PUSH_VAPID_SUBJECT")["value"] = Expr(f"{values}.vapidSubject")
    if any("configMapKeyRef" in env.get("valueFrom", {}) for env in container["env"] if isinstance(env, dict)):
        # The pods restart when a setting changes.
        digest = Expr(f"{V}.settings | toJson | sha256sum")
        one["spec"]["template"]["metadata"]["annotations"] = {"checksum/settings": digest}
    container["env"].append(Variables(f"{values}.env"))
    container["volumeMounts"].append(Each(f"{values}.volumeMounts"))
    pod["volumes"].append(Each(f"{values}.volumes"))
    scheduled(pod, values)


def contents(one: dict, pod: dict, container: dict) -> None:
    """The folder of the files, or the bucket in its place."""
    bucket, env = f"{V}.files.bucket", container["env"]
    put(one, ["spec", "template", "spec", "volumes", 1, "persistentVolumeClaim", "claimName"],
        f'default "tidings-files" {V}.files.storage.claim')  # fmt: skip
    for items in (pod["volumes"], container["volumeMounts"]):
        content = next(item for item in items if item["name"] == "content")
        items[items.index(content)] = When(f"not {BUCKET}", content)
    variable(container, "TIDINGS_FILES_BUCKET")["value"] = Expr(f"{bucket}.url")
    variable(container, "AWS_REGION")["value"] = Expr(f"{bucket}.region")
    conditions = {"TIDINGS_FILES_FOLDER": f"not {BUCKET}", "TIDINGS_FILES_BUCKET": BUCKET, "AWS_REGION": BUCKET}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        reference = variable(container, key)["valueFrom"]["secretKeyRef"]
        value = SECRET_KEYS[reference["key"]]
        reference.update(name=Expr(f"{V}.secrets.bucket.name"), key=Expr(f"{V}.secrets.bucket.{value}"))
        conditions[key] = f"and {BUCKET} {KEYS}"
    for name, condition in conditions.items():
        found = variable(container, name)
        env[env.index(found)] = When(condition, found)
    endpoint = {"name": "AWS_ENDPOINT_URL", "value": Expr(f"{bucket}.endpoint")}
    env.append(When(f"and {BUCKET} {bucket}.endpoint", endpoint))


def account(one: dict) -> None:
    """The service account of the files, to which a platform may give the rights to the bucket."""
    if one["metadata"]["name"] == "tidings-files":
        annotations = f"{V}.files.serviceAccountAnnotations"
        one["metadata"]["annotations"] = When(annotations, Expr(annotations))


def claim(one: dict) -> None:
    """The folder of the files. It stays when the release is removed."""
    values = f"{V}.files.storage"
    put(one, ["spec", "resources", "requests", "storage"], f"{values}.size")
    one["spec"]["storageClassName"] = When(f"{values}.className", Expr(f"{values}.className"))
    one["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}


def route(one: dict) -> None:
    """The route of the Gateway API, with the limits of Traefik if they are on."""
    put(one, ["spec", "hostnames"], f"{V}.hosts")
    put(one, ["spec", "parentRefs"], f"{V}.gatewayApi.parentRefs")
    for number, rule in enumerate(one["spec"]["rules"]):
        # The component traefik has set them; they become conditional here.
        if not rule.get("filters"):
            raise KeyError(f"rule {number} of the HTTPRoute has no filters")
        rule["filters"] = When(TRAEFIK, rule["filters"])


ROUTER = "traefik.ingress.kubernetes.io/router"


def ingress(one: dict) -> None:
    """An Ingress: with the limits of Traefik, or with the annotations of another controller."""
    spec, limits = one["spec"], "tidings-tidings-connections@kubernetescrd"
    handshakes = one["metadata"]["name"] == "tidings"
    names = ["connections", "handshakes"] if handshakes else ["connections"]
    if one["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.middlewares"].split(",")[0] != limits:
        raise KeyError("the middlewares of the Ingress changed: change deploy/tools/helm/table.py")
    text = ",".join(f"%s-tidings-{name}@kubernetescrd" for name in names)
    spaces = " $.Release.Namespace" * len(names)
    given = one["metadata"]["annotations"]
    words = {name: When(TRAEFIK, given[name]) for name in (f"{ROUTER}.entrypoints", f"{ROUTER}.pathmatcher") if name in given}
    one["metadata"]["annotations"] = When(f"or {TRAEFIK} {V}.ingress.annotations", {
        **words,
        "traefik.ingress.kubernetes.io/router.middlewares": When(TRAEFIK, Expr(f'printf "{text}"{spaces}')),
        "*": Each(f"{V}.ingress.annotations"),
    })  # fmt: skip
    put(one, ["spec", "ingressClassName"], f"{V}.ingress.className")
    spec["tls"] = [{"hosts": Expr(f"{V}.hosts"), "secretName": Expr(f"{V}.ingress.tlsSecret")}]
    spec["rules"] = [Loop(f"{V}.hosts", {**spec["rules"][0], "host": Expr(".")})]


def middleware(one: dict) -> None:
    """A limit of Traefik."""
    for limit in one["spec"].values():
        limit["sourceCriterion"]["ipStrategy"]["ipv6Subnet"] = Expr(f"{V}.traefik.ipv6Subnet")
    if one["metadata"]["name"] == "tidings-connections":
        put(one, ["spec", "inFlightReq", "amount"], f"{V}.traefik.connections")
    else:
        for key in ("average", "burst"):
            put(one, ["spec", "rateLimit", key], f"{V}.traefik.handshakes")


def gateways_scaled(one: dict) -> None:
    """The autoscaler of gateways."""
    values = f"{V}.autoscaling.gateway"
    put(one, ["spec", "minReplicas"], f"{values}.minReplicas")
    put(one, ["spec", "maxReplicas"], f"{values}.maxReplicas")
    put(one, ["spec", "metrics", 0, "pods", "target", "averageValue"], f"{values}.connections | int | toString")
    put(one, ["spec", "metrics", 1, "resource", "target", "averageUtilization"], f"{values}.cpuPercent")


def persistence_scaled(one: dict) -> None:
    """The autoscaler of persistence."""
    values, triggers = f"{V}.autoscaling.persistence", one["spec"]["triggers"]
    put(one, ["spec", "minReplicaCount"], f"{values}.minReplicas")
    put(one, ["spec", "maxReplicaCount"], f"{values}.maxReplicas")
    put(one, ["spec", "fallback", "replicas"], f"{values}.fallbackReplicas")
    query = triggers[0]["metadata"]["query"].replace('namespace="tidings"', 'namespace=\\"%s\\"')
    if "%s" not in query:
        raise KeyError("the query of the ScaledObject names no namespace")
    triggers[0]["metadata"].update(
        serverAddress=Expr(f"{V}.autoscaling.prometheus"),
        query=Expr(f'printf "{query}" $.Release.Namespace'),
        threshold=Expr(f"{values}.records | int | toString"),
    )
    put(one, ["spec", "triggers", 1, "metadata", "value"], f"{values}.cpuPercent | int | toString")


def monitor(one: dict) -> None:
    """A PodMonitor: all carry the labels by which Prometheus selects."""
    for endpoint in one["spec"]["podMetricsEndpoints"]:
        endpoint["interval"] = Expr(f"{V}.monitoring.interval")
    one["metadata"]["labels"].pop("release", None)
    one["metadata"]["labels"]["*"] = Each(f"{V}.monitoring.labels")
    if one["metadata"]["name"] == "redis":
        # An endpoint for each server.
        put(one, ["spec", "podMetricsEndpoints", 0, "params", "target"], [Expr(".")])
        one["spec"]["podMetricsEndpoints"] = [Loop(f"{V}.exporters.redis.targets", one["spec"]["podMetricsEndpoints"][0])]


def policy(one: dict) -> None:
    """Takes the addresses of the stores and the allowed callers of a network policy from values."""
    values, name = f"{V}.networkPolicies", one["metadata"]["name"]
    for rule in one["spec"].get("ingress", []):
        label = rule["from"][0].get("namespaceSelector", {}).get("matchLabels", {}).get("tidings.example/access")
        if label:
            rule["from"] = Expr(f"{values}.{label}")
    ports = {6379: "redis", 5432: "postgresql"}
    egress = one["spec"].get("egress", [])
    rules: list[dict] = []
    for rule in egress:
        rules.append(rule)
        stores = [ports[port["port"]] for port in rule["ports"] if port["port"] in ports]
        if stores:
            if len(stores) != len(rule["ports"]) or rule["to"] != [{"ipBlock": {"cidr": "10.0.0.0/8"}}]:
                raise KeyError(f"NetworkPolicy/{name} changed: change deploy/tools/helm/table.py")
            # A rule for each store, because their addresses may differ.
            rules[-1:] = [
                {"to": Expr(f"{values}.{store}.to"), "ports": [{"port": Expr(f"{values}.{store}.port"), "protocol": "TCP"}]}
                for store in stores
            ]
        elif any(port["port"] == 53 for port in rule["ports"]):
            rule["to"] = Expr(f"{values}.dns")
        elif name == "tidings-files":
            ports_of = [{"port": Expr(f"{V}.files.bucket.port"), "protocol": "TCP"}]
            rules[-1] = When(BUCKET, {"to": Expr(f"{V}.files.bucket.to"), "ports": ports_of})
        elif name in ("tidings-probe", "tidings-webhooks", "tidings-push"):
            rule["to"] = Expr(f"{V}.{name.removeprefix('tidings-')}.to")
        elif name == "traces":
            rule["to"] = Expr(f"{values}.traces.to")
            rule["ports"] = [{"port": Expr(f"{values}.traces.port"), "protocol": "TCP"}]
    if egress:
        one["spec"]["egress"] = rules


def external(one: dict) -> None:
    """A secret that the External Secrets Operator makes, under the name that the pods use."""
    name = one["metadata"]["name"]
    values, secret = f"{V}.externalSecrets", f"{V}.secrets.{SECRETS[name]}"
    one["metadata"]["name"] = Expr(f"{secret}.name")
    one["spec"]["refreshInterval"] = Expr(f"{values}.refreshInterval")
    one["spec"]["secretStoreRef"] = Expr(f"{values}.store")
    for reference in one["spec"]["data"]:
        key = reference["remoteRef"]["key"].removeprefix("tidings/")
        value = SECRET_KEYS[reference["secretKey"]] if name == "tidings-bucket" else "key"
        reference.update(secretKey=Expr(f"{secret}.{value}"))
        reference["remoteRef"]["key"] = Expr(f'print {values}.prefix "{key}"')


FIELDS = {
    "HTTPRoute": route, "Ingress": ingress, "Middleware": middleware, "HorizontalPodAutoscaler": gateways_scaled,
    "ScaledObject": persistence_scaled, "PodMonitor": monitor, "NetworkPolicy": policy, "ExternalSecret": external,
    "CronJob": retention, "Job": job, "PersistentVolumeClaim": claim,
    "ServiceAccount": account,
}  # fmt: skip


# The programs beside the two services.
EXTRAS = {"tidings-probe": probe} | {f"tidings-{name}": companion for name in COMPANIONS}


def convert(one: dict) -> None:
    """Puts the values into an object."""
    kind, name = one["kind"], one["metadata"]["name"]
    one["metadata"].pop("namespace", None)
    one["metadata"].setdefault("labels", {}).setdefault("app.kubernetes.io/part-of", "tidings")
    if kind == "ConfigMap":
        put(one, ["data"], f"{V}.settings")
    elif kind == "Deployment":
        (exporter if "exporter" in name else EXTRAS.get(name, service))(one)
    elif kind in FIELDS:
        FIELDS[kind](one)
    # What the migrations need exists before them.
    if name == "tidings-migrations" and kind != "Job":
        hook(one, -10)
    elif kind == "ExternalSecret" and one["metadata"]["name"] == Expr(f"{V}.secrets.databaseOwner.name"):
        hook(one, -20, "before-hook-creation")
