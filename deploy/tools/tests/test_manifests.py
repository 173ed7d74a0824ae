"""The manifests have no findings, and the right rule finds each fault in them."""

import unittest
from collections.abc import Callable

import yaml

from tests.broken import (
    PROGRAMS, RENDERED, Break, broken, container, drop, findings, gateway, one_by_one, refused, rendered, setting,
)  # fmt: skip
from checks.edge import MIDDLEWARES
from checks.model import Manifest, Rendered

import check
import rules


def add(document: dict) -> Break:
    """Adds an object."""
    return lambda what: what.manifests.append(Manifest(document))


def meta(name: str) -> dict:
    return {"name": name, "namespace": "tidings"}


def pod(**changes: object) -> Break:
    """Changes fields of the gateways' pods."""
    return lambda what: gateway(what).pod.update(changes)


def inside(**changes: object) -> Break:
    """Changes fields of the gateways' container."""
    return lambda what: container(what).update(changes)


def secured(**changes: object) -> Break:
    """Changes the security context of the gateways' container."""
    return lambda what: container(what)["securityContext"].update(changes)


def probe(kind: str, **changes: object) -> Break:
    return lambda what: container(what)[kind].update(changes)


def port_of(policy: str, rule: int, direction: str, port: object) -> Break:
    def change(what: Rendered) -> None:
        what.named("NetworkPolicy", policy).spec[direction][rule]["ports"][0]["port"] = port

    return change


def route_to(index: int, **back: object) -> Break:
    return lambda what: what.named("HTTPRoute", "tidings").spec["rules"][index]["backendRefs"][0].update(back)


def by_address() -> dict:
    """The policy in the comment of production's network.yaml."""
    text = (check.ROOT / "k8s/overlays/production/network.yaml").read_text()
    lines = text.split("# ---\n")[1].splitlines()
    return yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines))


def endpoint_of(what: Rendered, monitor: str) -> dict:
    """The endpoint of a PodMonitor."""
    return what.named("PodMonitor", monitor).spec["podMetricsEndpoints"][0]


def from_anywhere(what: Rendered) -> None:
    policy = by_address()
    policy["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"] = "0.0.0.0/0"
    what.manifests.append(Manifest(policy))


# Each line has the rule that must find the fault, the name of the fault, and the change that makes it.
PRODUCTION: list[tuple[str, str, Break]] = [
    ("schema", "a field that Kubernetes does not know", pod(restartPolcy="Always")),
    ("schema", "a field of another type", inside(image=7)),
    ("schema", "an object twice", lambda what: what.manifests.append(gateway(what))),
    ("kind", "a kind without a schema", add({"apiVersion": "example.com/v1", "kind": "Unheard", "metadata": meta("x")})),
    ("kind", "a version that is not served any more",
     add({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": meta("x"), "spec": {}})),
    ("schema", "a field that HTTPRoute does not have", lambda what: what.named("HTTPRoute", "tidings").spec.update(host="x")),
    ("schema", "a time that HTTPRoute cannot read",
     lambda what: what.named("HTTPRoute", "tidings").spec["rules"][0].update(timeouts={"request": "1.5s"})),
    ("schema", "a trigger that KEDA does not have",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec["triggers"][0].update(type="prometeus")),
    ("schema", "a field that PodMonitor does not have",
     lambda what: what.named("PodMonitor", "tidings").spec["podMetricsEndpoints"][0].update(intervall="15s")),
    ("restricted", "root", lambda what: gateway(what).pod["securityContext"].update(runAsUser=0)),
    ("restricted", "root, allowed", lambda what: gateway(what).pod["securityContext"].pop("runAsNonRoot")),
    ("restricted", "no seccomp profile", lambda what: gateway(what).pod["securityContext"].pop("seccompProfile")),
    ("restricted", "a container as root", secured(runAsUser=0)),
    ("restricted", "privileges to be gained", secured(allowPrivilegeEscalation=True)),
    ("restricted", "a root file system that can be written to", secured(readOnlyRootFilesystem=False)),
    ("restricted", "capabilities", secured(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]})),
    ("restricted", "the network of the machine", pod(hostNetwork=True)),
    ("restricted", "files of the machine",
     lambda what: gateway(what).pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("restricted", "a namespace for anything",
     lambda what: what.named("Namespace", "tidings").data["metadata"].pop("labels")),
    ("token", "a token of the cluster", pod(automountServiceAccountToken=True)),
    ("token", "an account with a token",
     lambda what: what.named("ServiceAccount", "tidings-gateway").data.update(automountServiceAccountToken=True)),
    ("token", "rights in the cluster",
     add({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("x"), "rules": []})),
    ("resources", "no requests", inside(resources={"limits": {"memory": "1Gi"}})),
    ("resources", "no bound on memory", lambda what: container(what)["resources"]["limits"].pop("memory")),
    ("image", "an image that moves", inside(image="registry.example.com/tidings/gateway:latest")),
    ("image", "an image without a version", inside(image="registry.example.com/tidings/gateway")),
    ("image", "another user than the image's", lambda what: gateway(what).pod["securityContext"].update(runAsUser=1000)),
    ("command", "another program", inside(command=["/bin/sh"])),
    ("probes", "no startup probe", lambda what: container(what).pop("startupProbe")),
    ("probes", "no readiness probe", lambda what: container(what).pop("readinessProbe")),
    ("probes", "liveness that asks for Redis", probe("livenessProbe", httpGet={"path": "/readyz", "port": "admin"})),
    ("probes", "readiness that asks for nothing", probe("readinessProbe", httpGet={"path": "/healthz", "port": "admin"})),
    ("probes", "a public port that is asked", probe("readinessProbe", httpGet={"path": "/readyz", "port": "http"})),
    ("probes", "a start that waits for Redis", probe("startupProbe", httpGet={"path": "/readyz", "port": "admin"})),
    ("probes", "a start that is given up early", probe("startupProbe", failureThreshold=10)),
    ("probes", "a restart at the first silence", probe("livenessProbe", failureThreshold=1)),
    ("stopping", "a grace that is too short", pod(terminationGracePeriodSeconds=60)),
    ("stopping", "the grace of Kubernetes", lambda what: gateway(what).pod.pop("terminationGracePeriodSeconds")),
    ("stopping", "a drain that outlasts the grace", lambda what: setting(what, "TIDINGS_DRAIN_MS", "90000")),
    ("stopping", "preStop by a shell",
     inside(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}})),
    ("stopping", "nobody hears of the end",
     lambda what: (container(what).pop("lifecycle"), setting(what, "TIDINGS_UNREADY_MS", "0"))),
    ("rollout", "all at once", lambda what: gateway(what).spec.pop("strategy")),
    ("rollout", "the next before the one before has gone", lambda what: gateway(what).spec.update(minReadySeconds=10)),
    ("disruption", "no budget", lambda what: drop(what, "PodDisruptionBudget", "tidings-gateway")),
    ("spread", "all on one machine", pod(topologySpreadConstraints=[])),
    ("spread", "perhaps all on one machine",
     lambda what: gateway(what).pod["topologySpreadConstraints"][1].update(whenUnsatisfiable="ScheduleAnyway")),
    ("spread", "a cordoned node that counts",
     lambda what: gateway(what).pod["topologySpreadConstraints"][1].pop("nodeTaintsPolicy")),
    ("spread", "nodes that are not chosen and count",
     lambda what: gateway(what).pod["topologySpreadConstraints"][0].update(nodeAffinityPolicy="Ignore")),
    ("scale", "no autoscaler", lambda what: drop(what, "HorizontalPodAutoscaler", "tidings-gateway")),
    ("scale", "one gateway alone",
     lambda what: what.named("HorizontalPodAutoscaler", "tidings-gateway").spec.update(minReplicas=1)),
    ("scale", "all replicas at once",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec["advanced"]["horizontalPodAutoscalerConfig"][
         "behavior"].pop("scaleUp")),
    ("scale", "more replicas for what waits for PostgreSQL",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec["triggers"][0]["metadata"].update(
         query="max(tidings_persistence_oldest_unwritten_seconds)")),
    ("scale", "replicas beside an autoscaler", lambda what: gateway(what).spec.update(replicas=3)),
    ("secret", "a secret in the open",
     add({"apiVersion": "v1", "kind": "Secret", "metadata": meta("x"), "stringData": {"a": "b"}})),
    ("secret", "a secret that nobody knows of",
     lambda what: gateway(what).pod["volumes"][0]["projected"]["sources"][0]["secret"].update(name="tidings-else")),
    ("secret", "a key that nobody knows of",
     lambda what: gateway(what).pod["volumes"][0]["projected"]["sources"][0]["secret"]["items"][0].update(key="uri")),
    ("secret", "a file that is not mounted", lambda what: setting(what, "REDIS_URL_FILE", "/run/secrets/tidings/redis")),
    ("ports", "another port than it listens at", lambda what: setting(what, "TIDINGS_LISTEN", "0.0.0.0:8090")),
    ("ports", "listens to itself alone", lambda what: setting(what, "TIDINGS_ADMIN_LISTEN", "127.0.0.1:18080")),
    ("ports", "a port that the image does not have",
     lambda what: (container(what)["ports"][0].update(containerPort=80), setting(what, "TIDINGS_LISTEN", "0.0.0.0:80"))),
    ("reference", "a service that leads nowhere",
     lambda what: what.named("Service", "tidings-gateway").spec.update(selector={"app.kubernetes.io/name": "gateway"})),
    ("reference", "a service with a port that is not there",
     lambda what: what.named("Service", "tidings-gateway").spec["ports"][0].update(targetPort="https")),
    ("failover", "gateways that ask one replica and no other",
     lambda what: what.named("Service", "tidings-persistence-internal").spec.pop("clusterIP")),
    ("failover", "gateways that find no replica without keys",
     lambda what: what.named("Service", "tidings-persistence-internal").spec.pop("publishNotReadyAddresses")),
    ("failover", "clients of a gateway that is not ready",
     lambda what: what.named("Service", "tidings-gateway").spec.update(publishNotReadyAddresses=True)),
    ("metric", "a backlog that nobody counts",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec["triggers"][0]["metadata"].update(
         query="sum(tidings_persistence_backlog)")),
    ("metric", "connections that nobody counts",
     lambda what: what.named("HorizontalPodAutoscaler", "tidings-gateway").spec["metrics"][0]["pods"]["metric"].update(
         name="tidings_gateway_connections_open")),
    ("reference", "an autoscaler of nothing",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec["scaleTargetRef"].update(name="else")),
    ("reference", "a monitor that asks the public port",
     lambda what: what.named("PodMonitor", "tidings").spec["podMetricsEndpoints"][0].update(port="http")),
    ("limits", "more replicas than PostgreSQL has connections for",
     lambda what: what.named("ScaledObject", "tidings-persistence").spec.update(maxReplicaCount=50)),
    ("limits", "another memory limit than the rule states",
     lambda what: container(what)["resources"]["limits"].update(memory="512Mi")),
    ("limits", "a route that ends WebSockets",
     lambda what: what.named("HTTPRoute", "tidings").spec["rules"][0].update(timeouts={"request": "15s"})),
    ("reference", "a monitor that calls pods by their addresses",
     lambda what: what.named("PodMonitor", "tidings").spec["podMetricsEndpoints"][0].pop("relabelings")),
    ("reference", "a node without the name of its pod",
     lambda what: container(what).update(env=[one for one in container(what)["env"] if one["name"] != "TIDINGS_NODE"])),
    ("reference", "a monitor that leaves one out",
     lambda what: what.named("PodMonitor", "tidings").spec["selector"]["matchExpressions"][0].update(values=["tidings-gateway"])),
    ("reference", "rules that Prometheus does not look for",
     lambda what: what.named("PrometheusRule", "tidings").data["metadata"]["labels"].pop("release")),
    ("reference", "settings that are not there", lambda what: container(what)["envFrom"][0]["configMapRef"].update(name="x")),
    ("route", "polls that go to persistence", route_to(1, name="tidings-persistence", port=8081)),
    ("route", "a route to the internal listener",
     route_to(2, name="tidings-persistence-internal", port=28081)),
    ("reference", "a route to a port that is not there", route_to(0, port=80)),
    ("route", "no route for WebSockets", lambda what: what.named("HTTPRoute", "tidings").spec["rules"].pop(0)),
    ("network", "no policy denies", lambda what: drop(what, "NetworkPolicy", "default-deny")),
    ("network", "gateways that cannot ask persistence", lambda what: drop(what, "NetworkPolicy", "tidings-persistence")),
    ("network", "the internal listener for clients", port_of("tidings-persistence", 0, "ingress", "internal")),
    ("network", "the admin port for clients", port_of("tidings-gateway", 0, "ingress", "admin")),
    ("network", "anybody",
     lambda what: what.named("NetworkPolicy", "tidings-gateway").spec["ingress"].append({"ports": [{"port": "http"}]})),
    ("network", "any namespace",
     lambda what: what.named("NetworkPolicy", "tidings-gateway").spec["ingress"][0].update({"from": [{"namespaceSelector": {}}]})),
    ("network", "anybody, by address", from_anywhere),
    ("network", "the internet",
     lambda what: what.named("NetworkPolicy", "redis").spec["egress"][0].update(to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}])),
    ("network", "PostgreSQL for gateways", port_of("redis", 0, "egress", 5432)),
    ("network", "no names where a node keeps them",
     lambda what: what.named("NetworkPolicy", "dns").spec["egress"][0]["to"].pop()),
    ("network", "long names, which go by TCP",
     lambda what: what.named("NetworkPolicy", "dns").spec["egress"][0]["ports"].pop()),
    ("network", "no names", lambda what: drop(what, "NetworkPolicy", "dns")),
]  # fmt: skip

# Faults that only the programs can find.
PROGRAM_FAULTS: list[tuple[str, str, Break]] = [
    ("environment", "a variable that nobody reads", lambda what: setting(what, "TIDINGS_DRAINN_MS", "1000")),
    ("environment", "a variable of the other service", lambda what: setting(what, "TIDINGS_LEASE_MS", "5000")),
    ("environment", "a setting in common that nobody reads",
     lambda what: next(one for one in what.of("ConfigMap") if one.name.startswith("tidings-settings-"))
     .data["data"].update(TIDINGS_LOGG="info")),
    ("command", "a flag that is not there", inside(args=["--listen-on", "0.0.0.0:8080"])),
    ("command", "a command that is not there", inside(args=["serve"])),
]  # fmt: skip

# Faults that only the option --check-config of a program can find.
CHECK_CONFIG_FAULTS: list[tuple[str, str, Break]] = [
    ("environment", "a value that makes no sense", lambda what: setting(what, "TIDINGS_WORKERS", "two")),
    ("environment", "a value out of bounds", lambda what: setting(what, "TIDINGS_UNREADY_MS", "600001")),
]


KNOWS_CHECK_CONFIG = bool(PROGRAMS and "--check-config" in PROGRAMS.ask("tidings-gateway", "--help").stdout)


def nothing(what: Rendered) -> None:
    """Changes nothing."""


def misrouted(what: Rendered) -> None:
    paths = what.named("Ingress", "tidings").spec["rules"][0]["http"]["paths"]
    paths[0]["backend"]["service"]["name"] = "tidings-persistence"


def ingress_of(change: Callable[[Manifest], object]) -> Break:
    """Changes the Ingress with the handshakes."""
    return lambda what: change(what.named("Ingress", "tidings"))


def annotated(one: Manifest, middleware: str) -> None:
    one.data["metadata"]["annotations"][MIDDLEWARES] = f"{middleware}@kubernetescrd"


def middleware(name: str, **fields: object) -> Break:
    """Changes fields of a limit of Traefik."""
    return lambda what: next(iter(what.named("Middleware", name).spec.values())).update(fields)


RETENTION = "tidings-retention"


def job(what: Rendered) -> dict:
    """Changes the container of the retention job."""
    return container(what, "CronJob", RETENTION)


def retention(**variables: str) -> Break:
    """Adds variables to the retention job."""
    more = [{"name": name, "value": value} for name, value in variables.items()]
    return lambda what: job(what)["env"].extend(more)


def retention_of(secret: str) -> Break:
    def change(what: Rendered) -> None:
        what.named("CronJob", RETENTION).pod["volumes"][0]["projected"]["sources"][0]["secret"]["name"] = secret

    return change


@unittest.skipUnless(RENDERED.is_dir(), "nothing was rendered")
class Manifests(unittest.TestCase):
    """See the head. Tests of what is broken are added below, one for each line of the lists."""

    def test_keys_that_stand_twice_are_refused(self) -> None:
        with self.assertRaisesRegex(Exception, "stand twice"):
            Rendered.read("kind: A\nspec: {}\nspec: {}\n")

    def test_clients_may_come_by_their_addresses(self) -> None:
        def instead(what: Rendered) -> None:
            for service in ("tidings-gateway", "tidings-persistence"):
                what.named("NetworkPolicy", service).spec["ingress"].pop(0)
            what.manifests.append(Manifest(by_address()))

        self.assertEqual(broken("production", instead).lines(), [])


def unknown_field_of(kind: str) -> Break:
    """Gives an object of this kind a field that the schema does not have."""
    return lambda what: what.of(kind)[0].spec.update(vault={})


def external(what: Rendered, name: str) -> list:
    """The keys that an ExternalSecret makes."""
    return what.named("ExternalSecret", name).spec["data"]


def files_egress(what: Rendered) -> list:
    return what.named("NetworkPolicy", "tidings-files").spec["egress"]


def bucket_variable(what: Rendered, name: str) -> dict:
    """A variable of tidings-files."""
    return next(one for one in container(what, name="tidings-files")["env"] if one["name"] == name)


def bucket_key(**changed: object) -> Break:
    """Replaces the content of the key of the bucket."""
    def change(what: Rendered) -> None:
        env = container(what, name="tidings-files")["env"]
        env.remove(bucket_variable(what, "AWS_SECRET_ACCESS_KEY"))
        env.append({"name": "AWS_SECRET_ACCESS_KEY", **changed})

    return change


def add_clean_test(name: str, production: bool) -> None:
    """Makes a test that an unchanged overlay has no findings."""
    one_by_one(
        Manifests, f"{name} is well", lambda test: test.assertEqual(findings(rendered(name), production).lines(), [])
    )


def are_dashboards_there(test: unittest.TestCase) -> None:
    """Each dashboard is in a ConfigMap that Grafana's sidecar finds."""
    folder, held = check.ROOT / "deploy" / "grafana", {}
    for one in rendered("production").of("ConfigMap"):
        if one.data["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            held.update(one.data["data"])
    test.assertEqual(held, {path.name: path.read_text() for path in folder.glob("dashboards/*.json")})
    test.assertEqual(held.keys(), {f"{path.stem}.json" for path in folder.glob("source/*.yml")})


def are_rules_there(test: unittest.TestCase) -> None:
    """The PrometheusRule has the groups that Prometheus itself reads, and that promtool tests."""
    found = rendered("production").named("PrometheusRule", "tidings")
    assert found is not None
    groups = [
        group
        for path in sorted((check.ROOT / "deploy/prometheus/rules").glob("*.yml"))
        for group in yaml.safe_load(rules.with_base(path.read_text(), rules.base_of(rules.WRITTEN.read_text())))["groups"]
    ]
    test.assertEqual(found.spec["groups"], groups)


one_by_one(Manifests, "PrometheusRule has all rules", are_rules_there)
one_by_one(Manifests, "dashboards are in ConfigMaps with the label of the sidecar", are_dashboards_there)
add_clean_test("dev", False)
add_clean_test("production", True)
add_clean_test("production-migrations", False)
add_clean_test("production-after-restore", False)
add_clean_test("production-ingress", True)
add_clean_test("production-traefik", True)
add_clean_test("production-redis-cluster", True)
add_clean_test("production-external-secrets", True)
add_clean_test("production-internal-tls", True)
add_clean_test("production-probe", True)
add_clean_test("production-webhooks", True)
add_clean_test("production-files", True)
add_clean_test("production-files-bucket", True)
add_clean_test("production-push", True)
add_clean_test("production-own", True)
refused(
    Manifests,
    lambda how: broken("production-external-secrets", how),
    nothing,
    [
        ("schema", "an ExternalSecret with a field that is not there", unknown_field_of("ExternalSecret")),
        ("secret", "a secret that no ExternalSecret makes", lambda what: drop(what, "ExternalSecret", "tidings-push")),
        ("secret", "a key that no ExternalSecret makes", lambda what: external(what, "tidings-bucket").pop()),
        ("secret", "the entry of another secret",
         lambda what: external(what, "tidings-files")[0]["remoteRef"].update(key="tidings/push")),
        ("secret", "a secret that is not in the documentation",
         lambda what: what.named("ExternalSecret", "tidings-files").data["metadata"].update(name="tidings-else")),
        ("network", "egress to the instance metadata service (169.254.0.0/16)",
         lambda what: files_egress(what)[1]["to"][0]["ipBlock"]["except"].remove("169.254.0.0/16")),
    ],
)  # fmt: skip
refused(
    Manifests,
    lambda how: broken("production-files-bucket", how),
    nothing,
    [
        ("secret", "a key of the bucket in the open", bucket_key(value="abc")),
        ("secret", "another key of its secret", bucket_key(valueFrom={"secretKeyRef": {"name": "tidings-bucket", "key": "x"}})),
        ("secret", "a secret in a variable of another container",
         lambda what: container(what)["env"].append(bucket_variable(what, "AWS_SECRET_ACCESS_KEY"))),
        ("secret", "a secret in another variable",
         lambda what: bucket_variable(what, "AWS_SECRET_ACCESS_KEY").update(name="TIDINGS_FILES_SECRET")),
        ("secret", "a whole secret in variables",
         lambda what: container(what).update(envFrom=[{"secretRef": {"name": "tidings-bucket"}}])),
        ("network", "a bucket that cannot be reached", lambda what: files_egress(what).pop(1)),
        ("network", "a bucket at another port",
         lambda what: bucket_variable(what, "AWS_ENDPOINT_URL").update(value="https://s3.example.com")),
        ("reference", "a claim that no pod uses",
         add({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("tidings-files"),
              "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}})),
        ("reference", "a volume that no container mounts",
         lambda what: what.named("Deployment", "tidings-files").pod["volumes"].append({"name": "content", "emptyDir": {}})),
    ],
)  # fmt: skip
refused(
    Manifests,
    lambda how: broken("production-files-bucket", how),
    nothing,
    [
        ("environment", "a folder together with a bucket",
         lambda what: container(what, name="tidings-files")["env"].append({"name": "TIDINGS_FILES_FOLDER", "value": "/tmp"})),
        ("environment", "a bucket that is not of S3",
         lambda what: bucket_variable(what, "TIDINGS_FILES_BUCKET").update(value="https://files.example.com")),
        ("environment", "a variable of the bucket that nobody reads",
         lambda what: bucket_variable(what, "AWS_ENDPOINT_URL").update(name="AWS_ENDPOINTS_URL")),
        ("environment", "a region for a program without a bucket",
         lambda what: container(what)["env"].append({"name": "AWS_REGION", "value": "eu-central-1"})),
    ],
    PROGRAMS is not None,
)  # fmt: skip
refused(
    Manifests,
    lambda how: broken("production-internal-tls", how),
    nothing,
    [
        ("internal-tls", "gateways that ask persistence without TLS",
         lambda what: setting(what, "TIDINGS_PERSISTENCE_URLS", "http://tidings-persistence-internal:28081")),
        ("internal-tls", "gateways without a certificate",
         lambda what: setting(what, "TIDINGS_INTERNAL_TLS_CLIENT_CERT", "")),
        ("internal-tls", "gateways that trust no authority", lambda what: setting(what, "TIDINGS_INTERNAL_TLS_CA", "")),
        ("internal-tls", "a certificate with another name",
         lambda what: what.named("Certificate", "tidings-internal-tls-persistence").spec.update(dnsNames=["else"])),
        ("internal-tls", "a certificate that cannot serve",
         lambda what: what.named("Certificate", "tidings-internal-tls-persistence").spec.update(usages=["client auth"])),
        ("internal-tls", "an authority that is not there", lambda what: drop(what, "Issuer", "tidings-internal-authority")),
        ("internal-tls", "a certificate that nobody makes",
         lambda what: drop(what, "Certificate", "tidings-internal-tls-gateway")),
        ("secret", "a certificate that is not mounted",
         lambda what: setting(what, "TIDINGS_INTERNAL_TLS_CLIENT_CERT", "/run/secrets/tidings/else.crt")),
        ("schema", "a Certificate with a field that is not there", unknown_field_of("Certificate")),
    ],
)  # fmt: skip
refused(Manifests, lambda how: broken("production", how), nothing, PRODUCTION)
refused(
    Manifests,
    lambda how: broken("production-ingress", how),
    nothing,
    [
        ("route", "an Ingress that leads astray", misrouted),
        ("edge", "the controller that is retired", ingress_of(lambda one: one.spec.update(ingressClassName="nginx"))),
        ("edge", "an Ingress without TLS", ingress_of(lambda one: one.spec.pop("tls"))),
        ("edge", "handshakes without a limit", ingress_of(lambda one: annotated(one, "tidings-tidings-connections"))),
        ("edge", "a limit in another namespace", ingress_of(lambda one: annotated(one, "else-tidings-connections"))),
        ("edge", "a limit that is not there", lambda what: drop(what, "Middleware", "tidings-handshakes")),
        ("edge", "another limit than that of HAProxy", middleware("tidings-connections", amount=10)),
        ("edge", "a limit for each IPv6 address",
         middleware("tidings-handshakes", sourceCriterion={"ipStrategy": {"ipv6Subnet": 128}})),
        ("schema", "a limit with another field", middleware("tidings-connections", amounts=10)),
        ("network", "retention that may go to gateways' port", port_of("tidings-retention", 0, "egress", 8080)),
        ("network", "retention that nothing allows to go out", lambda what: drop(what, "NetworkPolicy", RETENTION)),
        ("secret", "retention with a secret that nobody knows of", retention_of("tidings-else")),
        ("network", "an exporter that Prometheus may not read",
         lambda what: what.named("NetworkPolicy", "redis-exporter").spec["ingress"].pop(0)),
        ("network", "an exporter that may reach the other server", port_of("postgres-exporter", 0, "egress", 6379)),
        ("reference", "an exporter of another job",
         lambda what: endpoint_of(what, "postgresql")["relabelings"][0].update(replacement="postgres")),
        ("reference", "an exporter without a server", lambda what: endpoint_of(what, "redis").pop("params")),
        ("reference", "a port that the exporter does not have", lambda what: endpoint_of(what, "redis").update(port="http")),
    ],
)
refused(
    Manifests,
    lambda how: broken("production-traefik", how),
    nothing,
    [
        ("edge", "a route of Traefik without limits",
         lambda what: what.named("HTTPRoute", "tidings").spec["rules"][0].pop("filters")),
        ("schema", "a filter of another kind",
         lambda what: what.named("HTTPRoute", "tidings").spec["rules"][0]["filters"][0].update(type="URLRewrite")),
    ],
)  # fmt: skip
refused(
    Manifests,
    lambda how: broken("production-redis-cluster", how),
    nothing,
    [
        ("network", "the bus between the nodes of a Redis Cluster",
         lambda what: what.named("NetworkPolicy", "redis").spec["egress"][0]["ports"].append({"port": 16379})),
    ],
)  # fmt: skip
refused(
    Manifests,
    lambda how: broken("production-ingress", how),
    nothing,
    [
        ("environment", "retention with a variable that its job does not read", retention(TIDINGS_LEASE_MS="5000")),
        ("command", "retention with a flag that is not there", lambda what: job(what).update(args=["retain", "--all"])),
    ],
    PROGRAMS is not None,
)
refused(Manifests, lambda how: broken("production", how), nothing, PROGRAM_FAULTS, PROGRAMS is not None)
refused(Manifests, lambda how: broken("production", how), nothing, CHECK_CONFIG_FAULTS, KNOWS_CHECK_CONFIG)
