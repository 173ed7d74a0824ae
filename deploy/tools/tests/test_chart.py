"""The Helm chart renders the same objects as kustomize does for the matching overlay, and refuses wrong values."""

import copy
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import yaml

from chart import without_digest
from checks.model import Rendered
from tests.broken import RENDERED, one_by_one

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[1] / "helm" / "tidings"
HELM = os.environ.get("TIDINGS_HELM", "")
# Each file of values, and the overlays that it matches.
CASES = {
    "production": ["production", "production-migrations"],
    "production-ingress": ["production-ingress", "production-migrations"],
    "production-traefik": ["production-traefik", "production-migrations"],
    "production-redis-cluster": ["production-redis-cluster", "production-migrations"],
    "production-external-secrets": ["production-external-secrets", "production-migrations"],
    "production-internal-tls": ["production-internal-tls", "production-migrations"],
    "production-alertmanager": ["production-alertmanager", "production-migrations"],
    "production-webhooks": ["production-webhooks", "production-migrations"],
    "production-files": ["production-files", "production-migrations"],
    "production-files-bucket": ["production-files-bucket", "production-migrations"],
    "production-push": ["production-push", "production-migrations"],
    "plain": ["plain"],
    "private": ["private"],
}
Objects = dict[str, Any]


def comparable(one: dict, from_kustomize: bool) -> dict:
    """An object without the marks that only kustomize, Helm or Argo CD need."""
    one = copy.deepcopy(without_digest(one))
    assert isinstance(one, dict)
    one["metadata"].pop("namespace", None)
    template = one.get("spec", {}).get("template", {})
    for metadata in (one["metadata"], template.get("metadata", {}) if isinstance(template, dict) else {}):
        kept = {
            key: value
            for key, value in (metadata.pop("annotations", None) or {}).items()
            if not key.startswith(("argocd.argoproj.io/", "helm.sh/", "checksum/"))
        }
        if kept:
            metadata["annotations"] = kept
    # Kustomize gives this label to some objects only when a component with labels is used.
    if from_kustomize:
        one["metadata"].setdefault("labels", {}).setdefault("app.kubernetes.io/part-of", "tidings")
    if one["kind"] == "NetworkPolicy":
        # A rule with two ports means the same as two rules.
        one["spec"]["egress"] = [
            {**rule, "ports": [port]} for rule in one["spec"].get("egress", []) for port in rule["ports"]
        ]
    for found in (template.get("spec", {}), one.get("spec", {})):
        if isinstance(found, dict) and "containers" in found:
            for container in found["containers"]:
                container["env"] = sorted(container.get("env", []), key=lambda env: env["name"])
    return one


def objects(*files: str) -> Objects:
    """The objects of rendered files by kind and name. The chart leaves the namespace to its release."""
    found: Objects = {}
    for file in files:
        for manifest in Rendered.read((RENDERED / f"{file}.yaml").read_text()).manifests:
            one = comparable(manifest.data, not file.startswith("chart-"))
            if one["kind"] != "Namespace" and not one["metadata"]["name"].startswith("tidings-test"):
                found[f"{one['kind']}/{one['metadata']['name']}"] = one
    return found


@unittest.skipUnless(HELM and RENDERED.is_dir(), "Helm is not installed, or nothing was rendered")
class Comparison(unittest.TestCase):
    """See the head."""

    maxDiff = 4000

    def test_migrations_and_what_they_need_are_hooks_in_order(self) -> None:
        rendered = Rendered.read((RENDERED / "chart-production-external-secrets.yaml").read_text())
        weights = {}
        for one in rendered.manifests:
            marks = one.data["metadata"].get("annotations", {})
            if marks.get("helm.sh/hook") == "pre-install,pre-upgrade":
                weights[one.where] = int(marks["helm.sh/hook-weight"])
                self.assertIn("before-hook-creation", marks["helm.sh/hook-delete-policy"])
        job = weights.pop("Job/tidings-migrations")
        needed = {"ServiceAccount/tidings-migrations", "NetworkPolicy/tidings-migrations"}
        self.assertEqual(set(weights), needed | {"ExternalSecret/tidings-database-owner"})
        self.assertTrue(all(weight < job for weight in weights.values()), weights)
        # A job whose pods are deleted at once would leave no logs.
        job_marks = rendered.named("Job", "tidings-migrations").data["metadata"]["annotations"]  # type: ignore[union-attr]
        self.assertNotIn("hook-succeeded", job_marks["helm.sh/hook-delete-policy"])


def add_case(name: str, overlays: list[str]) -> None:
    """A test that compares object by object."""

    def body(test: unittest.TestCase) -> None:
        chart, kustomize = objects(f"chart-{name}"), objects(*overlays)
        test.assertEqual(sorted(chart), sorted(kustomize))
        for where, one in kustomize.items():
            with test.subTest(where):
                test.assertEqual(chart[where], one)

    one_by_one(Comparison, f"chart renders {name} as kustomize", body)


for case, overlays in CASES.items():
    add_case(case, overlays)


# A wrong value, and what the message must name.
REFUSED: list[tuple[str, str]] = [
    ("gatway: {replicas: 2}", "gatway"),
    ("gateway: {replica: 2}", "replica"),
    ("gateway: {replicas: 0}", "replicas"),
    ("gateway: {replicas: two}", "replicas"),
    ("gateway: {workers: 0}", "workers"),
    ("gateway: {drainMs: 500}", "drainMs"),
    ("gateway: {drainMs: 0}", "drainMs"),
    ("gateway: {drainMs: 1500}", "drainMs"),
    ("gateway: {unreadyMs: 600001}", "unreadyMs"),
    ("gateway: {env: {tidings-workers: '2'}}", "tidings-workers"),
    ("gateway: {env: [{name: A, value: b}]}", "env"),
    ("gateway: {env: {TIDINGS_WORKERS: '4'}}", "TIDINGS_WORKERS"),
    ("gateway: {resources: {limits: {memory: 768MB}}}", "memory"),
    ("gateway: {resources: {limit: {memory: 768Mi}}}", "limit"),
    ("gateway: {image: 'registry.example.com/tidings/gateway:latest'}", "image"),
    ("image: {tag: latest}", "tag"),
    ("image: {tag: 1.5}", "tag"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    ("image: {registry: 'https://registry.example.com/'}", "registry"),
    ("hosts: []", "hosts"),
    ("hosts: ['https://chat.example.com']", "hosts"),
    ("settings: {TIDINGS_TRACE_RATIO: 0.01}", "TIDINGS_TRACE_RATIO"),
    ("settings: {log: info}", "log"),
    ("settings: {TIDINGS_INTERNAL_SECRET: abc}", "TIDINGS_INTERNAL_SECRET"),
    ("settings: {REDIS_URL: 'redis://a:b@c:6379/'}", "REDIS_URL"),
    ("spread: Never", "spread"),
    ("secrets: {database: {name: Tidings_Database}}", "name"),
    ("secrets: {database: {value: 'postgres://'}}", "value"),
    ("secrets: {tokens: {enabled: false}}\ntests: {enabled: false}", "TIDINGS_JWKS_URL"),
    ("secrets: {tokens: {enabled: false}}\nsettings: {TIDINGS_JWKS_URL: 'https://id.example.com/keys'}\ntests: {enabled: true}", "tokenSecret"),
    ("internalTls: {enabled: always}", "internalTls"),
    ("alertmanager: {receivers: []}", "receivers"),
    ("gateway: {env: {TIDINGS_INTERNAL_TLS_CA: /ca.crt}}", "TIDINGS_INTERNAL_TLS_CA"),
    ("ca: {redisKey: redis.crt}", "ca"),
    ("ingress: {enabled: true}", "gatewayApi.enabled"),
    ("gatewayApi: {parentRefs: []}", "parentRefs"),
    ("traefik: {enabled: true, connections: 0}", "connections"),
    ("traefik: {ipv6Subnet: 129}", "ipv6Subnet"),
    ("autoscaling: {gateway: {minReplicas: 1}}", "minReplicas"),
    ("autoscaling: {persistence: {maxReplicas: 65}}", "maxReplicas"),
    ("autoscaling: {gateway: {minReplicas: 9, maxReplicas: 5}}", "minReplicas"),
    ("autoscaling: {prometheus: prometheus.monitoring:9090}", "prometheus"),
    ("externalSecrets: {store: {kind: Store}}", "store"),
    ("monitoring: {interval: 15}", "interval"),
    ("exporters: {redis: {targets: []}}", "targets"),
    ("exporters: {redis: {image: 'oliver006/redis_exporter'}}", "image"),
    ("retention: {mode: delete}", "mode"),
    ("retention: {olderThan: 365}", "olderThan"),
    ("retention: {schedule: daily at three}", "schedule"),
    ("networkPolicies: {redis: {to: []}}", "to"),
    ("networkPolicies: {postgresql: {port: 99999}}", "port"),
    ("networkPolicies: {clients: []}", "clients"),
    ("migrations: {deadlineSeconds: 5}", "deadlineSeconds"),
    ("files: {storage: {size: plenty}}", "size"),
    ("files: {env: {TIDINGS_FILES_FOLDER: /srv}}", "TIDINGS_FILES_FOLDER"),
    ("files: {bucket: {url: 'https://files.example.com'}}", "url"),
    ("files: {bucket: {url: 's3://files/a?b'}}", "url"),
    ("files: {bucket: {url: 's3://files'}, storage: {claim: contents}}", "files.storage.claim"),
    ("files: {bucket: {url: 'az://files'}}", "files.bucket.keys"),
    ("files: {bucket: {url: 'gs://files'}}", "files.bucket.keys"),
    ("files: {bucket: {region: ''}}", "region"),
    ("files: {bucket: {endpoint: 's3.example.com:9000'}}", "endpoint"),
    ("files: {bucket: {url: 's3://files', endpoint: 'http://s3.example.com:9000'}}", "files.bucket.port"),
    ("files: {env: {AWS_SESSION_TOKEN: abc}}", "AWS_SESSION_TOKEN"),
    ("files: {bucket: {keys: {id: abc}}}", "keys"),
    ("files: {bucket: {secret: abc}}", "secret"),
    ("files: {bucket: {to: []}}", "to"),
    ("files: {bucket: {port: 0}}", "port"),
    ("files: {env: {TIDINGS_FILES_BUCKET: 's3://files'}}", "TIDINGS_FILES_BUCKET"),
    ("files: {env: {AWS_SECRET_ACCESS_KEY: abc}}", "AWS_SECRET_ACCESS_KEY"),
    ("push: {vapidSubject: ops@example.com}", "vapidSubject"),
    ("push: {to: []}", "to"),
]  # fmt: skip


def helm_template(values: str) -> subprocess.CompletedProcess:
    """Renders the chart with these values."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        file.write_text(values)
        command = [*HELM.split(), "template", "tidings", str(CHART), "--kube-version", "1.34.0", "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@unittest.skipUnless(HELM, "Helm is not installed")
class Checksums(unittest.TestCase):
    """Without another pod template a Deployment keeps its pods, and these keep the old settings."""

    def test_changed_setting_changes_all_pod_templates(self) -> None:
        for name in ("tidings-gateway", "tidings-persistence", "tidings-files", "tidings-push"):
            specs = []
            for values in ("", "settings: {TIDINGS_LOG: debug}\n"):
                values += "files: {enabled: true}\npush: {enabled: true}\n"
                deployment = Rendered.read(helm_template(values).stdout).named("Deployment", name)
                assert deployment is not None
                specs.append(deployment.data["spec"]["template"])
            self.assertNotEqual(*specs)


@unittest.skipUnless(HELM, "Helm is not installed")
class Claims(unittest.TestCase):
    """The folder of the files outlives the release."""

    def test_claim_of_the_files_stays_or_is_one_that_exists(self) -> None:
        made = Rendered.read(helm_template("files: {enabled: true, storage: {className: nfs}}").stdout)
        claim = made.named("PersistentVolumeClaim", "tidings-files")
        assert claim is not None
        self.assertEqual(claim.data["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        self.assertEqual(claim.spec["storageClassName"], "nfs")
        given = Rendered.read(helm_template("files: {enabled: true, storage: {claim: else}}").stdout)
        self.assertEqual(given.of("PersistentVolumeClaim"), [])
        files = given.named("Deployment", "tidings-files")
        assert files is not None
        self.assertIn({"name": "content", "persistentVolumeClaim": {"claimName": "else"}}, files.pod["volumes"])


@unittest.skipUnless(HELM, "Helm is not installed")
class Buckets(unittest.TestCase):
    """The files in a bucket, with a key or with an identity of the platform."""

    def test_identity_of_the_platform_takes_the_place_of_keys(self) -> None:
        values = """
            externalSecrets: {enabled: true}
            files:
              enabled: true
              bucket: {url: "s3://files", keys: false}
              serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/files"}
              podLabels: {azure.workload.identity/use: "true"}
        """
        made = Rendered.read(helm_template(values).stdout)
        account, files = (made.named(kind, "tidings-files") for kind in ("ServiceAccount", "Deployment"))
        assert account is not None and files is not None
        role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/files"}
        self.assertEqual(account.data["metadata"]["annotations"], role)
        self.assertEqual(files.labels["azure.workload.identity/use"], "true")
        variables = {env["name"] for env in next(files.containers())["env"]}
        self.assertIn("TIDINGS_FILES_BUCKET", variables)
        self.assertFalse({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} & variables)
        self.assertIsNone(made.named("ExternalSecret", "tidings-bucket"))

    def test_external_secrets_are_only_those_of_enabled_parts(self) -> None:
        companions = {"tidings-files", "tidings-push", "tidings-bucket"}
        for values, wanted in (
            ("", set()),
            ("files: {enabled: true}", {"tidings-files"}),
            ("files: {enabled: true, bucket: {url: 's3://files'}}", {"tidings-files", "tidings-bucket"}),
            ("files: {bucket: {url: 's3://files'}}", set()),
            ("push: {enabled: true}", {"tidings-push"}),
        ):
            made = Rendered.read(helm_template(f"externalSecrets: {{enabled: true}}\n{values}\n").stdout)
            self.assertEqual({one.name for one in made.of("ExternalSecret")} & companions, wanted, values)


@unittest.skipUnless(HELM, "Helm is not installed")
class Refusals(unittest.TestCase):
    """Each wrong value alone stops an installation, with a message that names it."""

    def rendered(self, values: str) -> tuple[int, str]:
        done = helm_template(values)
        errors = [line for line in done.stderr.splitlines() if not line.startswith("walk.go")]
        return done.returncode, "\n".join(errors)

    def test_defaults_and_values_of_the_docs_pass(self) -> None:
        for values in ["{}", *(path.read_text() for path in sorted((HERE / "chart").glob("*.yaml")))]:
            code, said = self.rendered(values)
            self.assertEqual(code, 0, f"{values}: {said}")

    def test_every_value_is_in_the_schema(self) -> None:
        import json

        def missing(values: Any, schema: dict, where: str) -> list[str]:
            if "$ref" in schema:
                schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
            if not isinstance(values, dict):
                return []
            lacking = [f"{where}{key}" for key in values if key not in schema.get("properties", {})
                       and schema.get("additionalProperties") is False]  # fmt: skip
            for key, value in values.items():
                lacking += missing(value, schema.get("properties", {}).get(key, {}), f"{where}{key}.")
            return lacking

        schema = json.loads((CHART / "values.schema.json").read_text())
        definitions = schema["definitions"]
        self.assertEqual(schema.get("additionalProperties"), False)
        self.assertEqual(missing(yaml.safe_load((CHART / "values.yaml").read_text()), schema, ""), [])


for number, (values, named) in enumerate(REFUSED):

    def refuse(test: Any, values: str = values, named: str = named) -> None:
        code, said = test.rendered(values)
        test.assertNotEqual(code, 0, f"accepted: {values}")
        test.assertIn(named, said)

    one_by_one(Refusals, f"refused {number}: {values}", refuse)
