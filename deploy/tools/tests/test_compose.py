"""compose.yaml has no findings, and the check finds each fault in it."""

import copy
import unittest
from collections.abc import Callable
from pathlib import Path

import dockerfile
import jsonschema
from checks import compose
from checks.model import Findings
from tests.broken import PROGRAMS, refused

import check

FILE = check.ROOT / "deploy" / "compose.yaml"
WHOLE = compose.load(FILE)
CLUSTER, BUCKET = (compose.merge(WHOLE, compose.load(FILE.parent / "compose" / name)) for name in check.OVERLAYS)


def findings(whole: dict, folder: Path = FILE.parent) -> Findings:
    found = Findings()
    compose.check(whole, folder, PROGRAMS, dockerfile.read(check.DOCKERFILE), found)
    return found


def broken(how: Callable[[dict], object], whole: dict = WHOLE) -> Findings:
    whole = copy.deepcopy(whole)
    how(whole["services"])
    return findings(whole)


def with_bucket(how: Callable[[dict], object]) -> Findings:
    return broken(how, BUCKET)


def of(service: str, **changes: object) -> Callable[[dict], object]:
    return lambda services: services[service].update(changes)


def without(service: str, key: str) -> Callable[[dict], object]:
    return lambda services: services[service].pop(key)


def told(service: str, **variables: str | None) -> Callable[[dict], object]:
    return lambda services: services[service]["environment"].update(variables)


def replace(words: list[str], old: str, new: str) -> None:
    words[words.index(old)] = new


BROKEN: list[tuple[str, str, Callable[[dict], object]]] = [
    ("schema", "a field that Compose does not know", of("redis", depend_on=["x"])),
    ("schema", "a field of another type", of("redis", read_only=["x"])),
    ("restricted", "root", of("redis", user="0:0")),
    ("restricted", "whoever the image says", without("grafana", "user")),
    ("restricted", "files that can be written to", without("gateway-1", "read_only")),
    ("restricted", "capabilities", of("haproxy", cap_add=["NET_BIND_SERVICE"])),
    ("restricted", "privileges to be gained", without("persistence", "security_opt")),
    ("restricted", "no limits", without("prometheus", "deploy")),
    ("image", "an image that moves", of("redis", image="redis:latest")),
    ("image", "another stage", lambda services: services["gateway-2"]["build"].update(target="persistence")),
    ("secret", "a secret in the environment", told("postgresql", POSTGRES_PASSWORD="x")),
    ("secret", "an address with a password in the environment", told("gateway-1", REDIS_URL="redis://:x@redis/")),
    ("secret", "a secret that it is not given", without("gateway-1", "secrets")),
    ("secret", "a secret that is not declared", of("gateway-1", secrets=["else"])),
    ("health", "no health", without("postgresql", "healthcheck")),
    ("health", "the health of another program", of("gateway-1", healthcheck={"test": ["CMD", "curl", "localhost"]})),
    ("order", "persistence before the schema", lambda services: services["persistence"]["depends_on"].pop("migrations")),
    ("order", "only started, not done",
     lambda services: services["persistence"]["depends_on"]["migrations"].update(condition="service_started")),
    ("order", "waits for nobody",
     lambda services: services["gateway-1"]["depends_on"].update({"else": {"condition": "service_healthy"}})),
    ("stopping", "the grace of Compose", without("gateway-1", "stop_grace_period")),
    ("stopping", "a drain that outlasts the grace", told("gateway-1", TIDINGS_DRAIN_MS="60000")),
    ("stopping", "persistence that is cut off", of("persistence", stop_grace_period="20s")),
    ("files", "a file that is not there", of("postgresql", volumes=["./compose/else:/x:ro"])),
    ("files", "a file that can be written to", of("postgresql", volumes=["./compose/postgresql:/x"])),
    ("files", "a volume that is not there", of("redis", volumes=["else:/data"])),
    ("ports", "Grafana for everybody", of("grafana", ports=["3000:3000"])),
    ("ports", "an internal listener that is not there", told("gateway-1", TIDINGS_PERSISTENCE_URLS="http://persistence:28080")),
    ("environment", "a variable that haproxy.cfg does not read", told("haproxy", GATEWAY_9="gateway-1:8080")),
    ("ports", "a gateway that is not there", told("haproxy", GATEWAY_1="gateway-9:8080")),
    ("ports", "a port that HAProxy does not listen at", of("haproxy", ports=["8000:80"])),
    ("ports", "a port that Prometheus cannot ask", lambda services: services.pop("gateway-2")),
    ("network", "out of reach of the load balancer", of("gateway-1", networks=["back"])),
    ("network", "a load balancer that Prometheus cannot reach", of("prometheus", networks=["telemetry", "outside"])),
    ("ports", "an exporter that is not there", lambda services: services.pop("postgres-exporter")),
    ("ports", "a Redis that is not there", lambda services: services["redis"].update(command=["valkey-server"])),
    ("network", "an exporter that cannot reach Redis", of("redis-exporter", networks=["telemetry"])),
    ("network", "a gateway that Prometheus cannot reach", of("gateway-1", networks=["back"])),
    ("limits", "Redis that throws keys away", lambda services: replace(services["redis"]["command"], "noeviction", "allkeys-lru")),
    ("limits", "a Prometheus that forgets the objectives",
     lambda services: replace(services["prometheus"]["command"], "--storage.tsdb.retention.time=35d", "--storage.tsdb.retention.time=2d")),
    ("limits", "another memory limit than the rule states",
     lambda services: services["gateway-1"]["deploy"]["resources"]["limits"].update(memory="512M")),
    ("limits", "traces for another port", told("gateway-1", TIDINGS_OTLP_ENDPOINT="http://otel-collector:4318")),
    ("limits", "traces for a store that is not there", told("otel-collector", OTLP_BACKEND="tempo:4317")),
    ("limits", "traces for another port of the store", told("otel-collector", OTLP_BACKEND="jaeger:4318")),
    ("limits", "traces that cannot be searched", told("grafana", JAEGER_URL="http://jaeger:16685")),
    ("limits", "a data source that leads nowhere", told("grafana", PROMETHEUS_URL="http://else:9090")),
]  # fmt: skip

PROGRAM_FAULTS: list[tuple[str, str, Callable[[dict], object]]] = [
    ("environment", "a variable that nobody reads", told("gateway-1", TIDINGS_DRAIN="1")),
    ("environment", "a variable of the other service", told("persistence", TIDINGS_DRAIN_MS="1")),
    ("command", "a command that is not there", of("migrations", command=["upp"])),
]

BUCKET_FAULTS: list[tuple[str, str, Callable[[dict], object]]] = [
    ("secret", "a key of the bucket in the file", told("files", AWS_SECRET_ACCESS_KEY="x")),
    ("secret", "the id of a key in the file", told("files", AWS_ACCESS_KEY_ID="x")),
    ("secret", "a key of the bucket that another service is given", told("push", AWS_SECRET_ACCESS_KEY=None)),
    ("secret", "another secret that is passed on", told("files", TIDINGS_FILES_SECRET=None)),
    ("files", "a folder that is no volume", told("files", TIDINGS_FILES_FOLDER="/var/lib/tidings-files")),
]
BUCKET_PROGRAM_FAULTS: list[tuple[str, str, Callable[[dict], object]]] = [
    ("environment", "a folder together with a bucket",
     lambda services: services["files"].update(
         volumes=["files-data:/data"], environment=services["files"]["environment"] | {"TIDINGS_FILES_FOLDER": "/data"})),
    ("environment", "a bucket that is not of S3", told("files", TIDINGS_FILES_BUCKET="https://files.example.com")),
    ("environment", "an endpoint without a scheme", told("files", AWS_ENDPOINT_URL="s3.example.com:9000")),
    ("environment", "a variable of the bucket that nobody reads", told("files", AWS_ENDPOINTS_URL=None)),
    ("environment", "a bucket for a program that has none", told("push", AWS_REGION="eu-central-1")),
]  # fmt: skip


class Compose(unittest.TestCase):
    """See the head."""

    def test_what_is_shipped_is_well(self) -> None:
        self.assertEqual(findings(WHOLE).lines(), [])

    def test_traces_are_sent_on_by_files_that_are_there(self) -> None:
        override = compose.load(FILE.parent / "compose" / "otlp.yaml")
        jsonschema.validate(override, compose.schema())
        (service,) = override["services"]
        self.assertIn("OTLP_BACKEND", override["services"][service]["environment"])
        mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in WHOLE["services"][service]["volumes"]}
        for word in WHOLE["services"][service]["command"]:
            folder, name = word.removeprefix("--config=").rsplit("/", 1)
            self.assertTrue((FILE.parent / mounted[folder] / name).is_file(), word)
        networks = override["services"][service]["networks"]
        self.assertTrue(any(not (WHOLE["networks"][name] or {}).get("internal") for name in networks), networks)

    def test_cluster_overlay_has_no_findings(self) -> None:
        self.assertEqual(findings(CLUSTER).lines(), [])

    def test_bucket_overlay_has_no_findings_and_no_folder(self) -> None:
        self.assertEqual(findings(BUCKET).lines(), [])
        files = BUCKET["services"]["files"]
        self.assertNotIn("TIDINGS_FILES_FOLDER", files["environment"])
        self.assertNotIn("volumes", files)
        self.assertIsNone(files["environment"]["AWS_SECRET_ACCESS_KEY"])
        self.assertIn("TIDINGS_FILES_FOLDER", WHOLE["services"]["files"]["environment"])

    def test_the_cluster_is_formed_of_all_its_nodes(self) -> None:
        services = CLUSTER["services"]
        nodes = {name: one for name, one in services.items() if one["image"].startswith("redis:") and "healthcheck" in one}
        addresses = [f"{one['networks']['redis-cluster']['ipv4_address']}:6379" for one in nodes.values()]
        self.assertEqual(sorted(services["redis-cluster"]["command"][2:]), sorted(addresses))
        self.assertEqual((len(nodes), services["redis-cluster"]["depends_on"].keys()), (6, nodes.keys()))
        for node in nodes.values():
            self.assertEqual((node["image"], node["command"]), (services["redis"]["image"], services["redis"]["command"]))
        for name in ("gateway-1", "gateway-2", "persistence"):
            self.assertIn("cluster_url", services[name]["environment"]["REDIS_URL_FILE"])
            self.assertTrue({"redis-cluster"} <= set(services[name]["networks"]) & set(services[name]["depends_on"]))

    def test_overlay_merge_matches_compose(self) -> None:
        below = {"command": ["a"], "secrets": ["b"], "networks": ["c"], "volumes": ["d:/data", "e:/x"], "user": "1",
                 "environment": {"J": "1", "K": "2"}, "tmpfs": ["/tmp"]}  # fmt: skip
        above = {"command": ["f"], "secrets": ["b", "g"], "networks": {"h": {}}, "volumes": ["i:/data"], "user": "2",
                 "environment": {"J": compose.RESET}, "tmpfs": compose.RESET}  # fmt: skip
        merged = {
            "command": ["f"], "secrets": ["b", "g"], "networks": {"c": None, "h": {}}, "volumes": ["e:/x", "i:/data"],
            "user": "2", "environment": {"K": "2"},
        }
        self.assertEqual(compose.merge(below, above), merged)

    def test_times_are_read_as_compose_reads_them(self) -> None:
        self.assertEqual(compose.seconds("1m30s"), 90)
        self.assertEqual(compose.seconds("500ms"), 0.5)


refused(Compose, broken, dict, BROKEN)
refused(Compose, broken, dict, PROGRAM_FAULTS, PROGRAMS is not None)
refused(Compose, with_bucket, dict, BUCKET_FAULTS)
refused(Compose, with_bucket, dict, BUCKET_PROGRAM_FAULTS, PROGRAMS is not None)
