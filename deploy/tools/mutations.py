"""Breaks one shipped value at a time in a copy of the repository, and demands that the checks of deploy.sh and watch.sh
notice it: mutations.py [TEXT]. With TEXT only values of files whose path contains it. Prints a line for each mutation, and
exits with 1 if one is not noticed. Each core of the machine works on a copy of its own. Needs kustomize in PATH, promtool,
and the Python packages of deploy.sh.
TIDINGS_PROGRAMS: the folder of the built programs, which list their variables. No service is started."""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
# The folders that the checks read.
CRATES = ["gateway", "persistence", "probe", "shared", "webhooks", "files", "push"]
COPIED = ["deploy", "docs", "k8s", *(f"{crate}/src" for crate in CRATES)]
COMPOSE, DEV, HAPROXY = "deploy/compose.yaml", "k8s/overlays/dev/redis.yaml", "deploy/haproxy/haproxy.cfg"
GATEWAY, PERSISTENCE = "k8s/base/gateway/deployment.yaml", "k8s/base/persistence/deployment.yaml"
PROMETHEUS, COLLECTOR = "deploy/prometheus/prometheus.yml", "deploy/otel/collector.yaml"
INGRESS, ROUTE = "k8s/components/ingress/ingress.yaml", "k8s/components/gateway-api/route.yaml"
TRAEFIK, DOCKERFILE = "k8s/components/traefik/limits.yaml", "deploy/Dockerfile"
ROUTES, CAUSES = "deploy/alertmanager/routes.yml", "deploy/prometheus/rules/causes.yml"
RESOURCES, DOWN = "deploy/prometheus/rules/resources.yml", "deploy/prometheus/rules/down.yml"
RULE_TESTS = [f"deploy/prometheus/tests/{name}.yml" for name in ("slo_edge", "webhooks", "files", "push")]

CHART, GENERATOR = "deploy/helm/tidings", "deploy/tools/helm/table.py"
# What watch.sh build reads.
SOURCES = ("deploy/prometheus/rules/", "deploy/alertmanager/", "deploy/grafana/source/")
SOURCES += ("deploy/tools/rules.py", "deploy/tools/routes.py")

# The components that no overlay of k8s/ uses, as in deploy.sh.
OVERLAYS = ["ingress", "traefik", "redis-cluster", "external-secrets", "internal-tls", "alertmanager", "probe", "webhooks"]
OVERLAYS += ["files", "files-bucket", "push"]

FILES, PUSH = "k8s/components/files", "k8s/components/push"
BUCKET, COMPOSE_BUCKET = f"{FILES}/bucket", "deploy/compose/files-bucket.yaml"

# File, text, and what replaces its first occurrence.
MUTATIONS = [
    (COMPOSE, "- noeviction", "- allkeys-lru"),
    (COMPOSE, '- --appendonly\n      - "yes"', '- --appendonly\n      - "no"'),
    (COMPOSE, "- everysec", '- "no"'),
    (COMPOSE, "- 400mb", "- 600mb"),
    (COMPOSE, "retention.time=35d", "retention.time=2d"),
    (COMPOSE, "otel-collector:4317", "otel-collector:4318"),
    (COMPOSE, "memory: 768M", "memory: 512M"),
    (COMPOSE, "PROMETHEUS_URL: http://prometheus:9090", "PROMETHEUS_URI: http://prometheus:9090"),
    (COMPOSE, "http://prometheus:9090", "http://prometeus:9090"),
    (COMPOSE, "stop_grace_period: 50s", "stop_grace_period: 20s"),
    (COMPOSE, "stop_grace_period: 45s", "stop_grace_period: 10s"),
    (COMPOSE, "read_only: true", "read_only: false"),
    (COMPOSE, "cap_drop: [ALL]", "cap_drop: []"),
    (COMPOSE, 'user: "999:1000"', 'user: "0:0"'),
    (COMPOSE, "redis:7.4.11-alpine3.21", "redis:latest"),
    (COMPOSE, "redis:7.4.11-alpine3.21", "redis:7.4.1-alpine3.20"),
    (
        "deploy/postgres/pgbackrest/Dockerfile",
        "postgres:16.15-alpine3.23@sha256:621a",
        "postgres:16.15-alpine3.23@sha256:621b",
    ),
    ("deploy/grafana/Dockerfile", "grafana/grafana:13.2.3@", "grafana/grafana:latest@"),
    (COMPOSE, "@sha256:beffc7b55d4fcd3207629513b9fe2c9d278505366300f872fe117efce73997f6", ""),
    (COMPOSE, "prom/prometheus:v3.13.3", "prom/prometheus:v3"),
    (COMPOSE, "HTTPS_PORT: ", "HTTP_PORT: "),
    (COMPOSE, "TIDINGS_UNREADY_MS", "TIDINGS_HEARTBEAT_MS: 90000\n  TIDINGS_UNREADY_MS"),
    (DOCKERFILE, "cargo auditable build", "cargo build"),
    (DOCKERFILE, "cargo-auditable@0.7.7", "cargo-auditable"),
    (COMPOSE, "127.0.0.1:9090:9090", "9090:9090"),
    (COMPOSE, "http://persistence:28081", "http://persistence:8081"),
    (COMPOSE, "service_completed_successfully", "service_started"),
    (COMPOSE, "[CMD, /tidings-gateway, health]", "[CMD, /tidings-gateway, --version]"),
    (COMPOSE, "./haproxy:/usr/local/etc/haproxy:ro", "./haproxy:/usr/local/etc/haproxy"),
    (COMPOSE, "GATEWAY_2: gateway-2:8080", "GATEWAY_TWO: gateway-2:8080"),
    (COMPOSE, "networks: [telemetry, front, outside]", "networks: [telemetry, outside]"),
    (COMPOSE, "OTLP_BACKEND: jaeger:4317", "OTLP_BACKEND: jaeger:4318"),
    (COMPOSE, "JAEGER_URL: http://jaeger:16686", "JAEGER_URL: http://jaeger:16685"),
    (COMPOSE, "DATA_SOURCE_PASS_FILE: /run/secrets/postgresql_m", "DATA_SOURCE_PASS_FILE: /run/secrets/else_m"),
    (HAPROXY, "timeout tunnel 120s", "timeout tunnel 20s"),
    (HAPROXY, "timeout server 75s", "timeout server 30s"),
    (HAPROXY, "METRICS_BIND-:8405", "METRICS_BIND-:8406"),
    (HAPROXY, "track-sc0 src,ipmask(32,64)", "track-sc0 src"),
    (HAPROXY, "http-request track-sc1", "# http-request track-sc1"),
    (HAPROXY, "query -m reg '^([^#]*&)?sid='", "url_param(sid) -m found"),
    (HAPROXY, " || engine upgrade", ""),
    (HAPROXY, "CONNECTIONS_PER_ADDRESS-1000", "CONNECTIONS_PER_ADDRESS-100000"),
    (HAPROXY, "may have (1000)", "may have (2000)"),
    (HAPROXY, "deny status 429 default-errorfiles if too_many_handshakes", "allow if too_many_handshakes"),
    (HAPROXY, "code 308 if !{ ssl_fc }", "code 302 if !{ ssl_fc }"),
    (PROMETHEUS, "rules/*.yml", "rule/*.yml"),
    (PROMETHEUS, "rules/*.yml", "rules/slo*.yml"),
    (PROMETHEUS, "job_name: tidings-gateway", "job_name: gateway"),
    (PROMETHEUS, "job_name: haproxy", "job_name: balancer"),
    (PROMETHEUS, "gateway-2:18080", "gateway-2:18081"),
    (PROMETHEUS, "job_name: postgresql", "job_name: postgres"),
    (PROMETHEUS, "postgres-exporter:9187", "postgres-exporter:9188"),
    (PROMETHEUS, "replacement: redis-exporter:9121", "replacement: redis-exporter:9122"),
    ("deploy/prometheus/targets/redis.yml", "redis:6379", "redis:6380"),
    ("deploy/prometheus/rules/cloudnativepg.yml", "record: pg_up", "record: pg_is_up"),
    ("deploy/grafana/dashboards/kustomization.yaml", "[stores.json]", "[gateway.json]"),
    ("k8s/components/exporters/redis/pods.yaml", "replacement: redis", "replacement: redis-exporter"),
    ("k8s/components/exporters/postgresql/network.yaml", "port: 5432", "port: 6379"),
    ("deploy/grafana/provisioning/datasources/jaeger.yml", "uid: jaeger", "uid: traces"),
    (COLLECTOR, "0.0.0.0:4317", "0.0.0.0:4319"),
    (COLLECTOR, "[memory_limiter, batch]", "[batch, memory_limiter]"),
    (COLLECTOR, "spike_limit_mib: 50", "spike_limit_mib: 500"),
    ("deploy/grafana/provisioning/datasources/prometheus.yml", "$PROMETHEUS_URL", "$PROMETHEUS_ADDRESS"),
    ("deploy/grafana/source/gateway.yml", "tidings_gateway_connections{", "tidings_gateway_connection{"),
    ("deploy/prometheus/rules/recording.yml", "768 * 1024 * 1024", "1024 * 1024 * 1024"),
    ("deploy/prometheus/rules/slo.yml", "unavailable|overloaded", "unavaliable|overloaded"),
    ("deploy/grafana/source/overview.yml", 'ratio_rate5m{slo="connects"}', 'ratio_rate5m{slo="sends"}'),
    ("deploy/prometheus/rules/slo.yml", 'sum(edge:tidings_requests:rate2m{slo="http"})\n          or ', ""),
    ("deploy/prometheus/rules/slo.yml", 'proxy="gateways", code="5xx"', 'proxy="gateways", code="4xx"'),
    ("deploy/prometheus/rules/slo.yml", 'haproxy_backend_sessions_total', 'haproxy_backend_session_total'),
    ("deploy/prometheus/rules/capacity.yml", "severity: page", "severity: pager"),
    ("deploy/tools/rules.py", '"kind": "PrometheusRule"', '"kind": "PrometheusRules"'),
    ("k8s/components/monitoring/pods.yaml", "port: admin", "port: http"),
    ("k8s/components/autoscaling/persistence.yaml", "maxReplicaCount: 8", "maxReplicaCount: 50"),
    ("docs/DEPLOY.md", "which is 371", "which is 300"),
    ("docs/RUNBOOK.md", "### TidingsNoGateway", "### TidingsNoGateways"),
    (COMPOSE, "/etc/alertmanager/start.sh", "/etc/alertmanager/begin.sh"),
    (COMPOSE, ":/etc/receivers.yml:ro", ":/etc/receiver.yml:ro"),
    (COMPOSE, "127.0.0.1:9093:9093", "9093:9093"),
    (COMPOSE, "prom/alertmanager:v0.28.1", "prom/alertmanager:latest"),
    (COMPOSE, 'TIDINGS_WORKERS: "2"', 'TIDINGS_WORKERS: "4"'),
    (PROMETHEUS, "            - alertmanager:9093", "            - alertmanager:9094"),
    (PROMETHEUS, "job_name: alertmanager", "job_name: alerts"),
    (PROMETHEUS, "job_name: redis", "job_name: valkey"),
    (ROUTES, "receiver: watchdog", "receiver: nobody"),
    (ROUTES, "repeat_interval: 50s", "repeat_interval: 1h"),
    (ROUTES, 'matchers: [severity="page"]\n      receiver: page', 'matchers: [severity="page"]\n      receiver: ticket'),
    (ROUTES, 'kind="symptom"]\n      receiver: page\n      group_by: [installation]',
     'kind="symptom"]\n      receiver: page\n      group_by: [installation, alertname]'),
    (ROUTES, "group_wait: 30s", "group_wait: 2s"),
    (ROUTES, "group_wait: 30s", "group_wait: 2m"),
    (ROUTES, 'kind="cause", explains="all"]', 'kind="cause"]'),
    (ROUTES, 'kind="cause", explains="gateways"]', 'kind="cause", explains="gateway"]'),
    (ROUTES, "TidingsSendsFailing|TidingsDeliveryLate", "TidingsSendsFailing|TidingsBacklogOld|TidingsDeliveryLate"),
    (CAUSES, "explains: all", "explains: most"),
    (ROUTES, 'target_matchers: [severity="page", kind="symptom"]', 'target_matchers: [severity="page"]'),
    (ROUTES, 'source_matchers: [alertname="TidingsCauseKnown"]', 'source_matchers: [alertname="TidingsCause"]'),
    (ROUTES, "equal: [installation]", "equal: [instance]"),
    ("deploy/alertmanager/receivers/webhook.yml", "send_resolved: true", "send_resolved: false"),
    ("deploy/alertmanager/receivers/email.yml", "name: ticket", "name: tickets"),
    ("deploy/tools/routes.py", '"group_wait": "groupWait"', '"group_wait": "groupWaits"'),
    (CAUSES, "alert: TidingsWatchdog", "alert: TidingsWatchDog"),
    (CAUSES, "kind: cause", "kind: symptom"),
    (CAUSES, "for: 15s", "for: 2m"),
    (CAUSES, "severity: none", "severity: ticket"),
    (DOWN, "kind: symptom", "kind: symptoms"),
    (DOWN, 'result="unavailable"}[2m]', 'result="unavailable"}[30m]'),
    (DOWN, "haproxy|redis|postgresql", "haproxy|redis|postgres"),
    ("deploy/prometheus/rules/slo.yml", "and slo:tidings_bad_events:ratio_rate2m", "and slo:tidings_bad_events:ratio_rate5m"),
    (RESOURCES, "> 0.7", "> 0.9"),
    (RESOURCES, "redis_cpu_user_main_thread", "redis_cpu_users_main_thread"),
    ("docs/OPERATIONS.md", "80 % of `maxmemory`", "75 % of `maxmemory`"),
    ("docs/RUNBOOK.md", "below 70 % of a core", "below 80 % of a core"),
    (DEV, "- noeviction", "- volatile-lru"),
    (ROUTE, "request: 0s", "request: 15s"),
    (ROUTE, "request: 45s", "request: 20s"),
    (INGRESS, "ingressClassName: traefik", "ingressClassName: nginx"),
    (INGRESS, "tidings-tidings-connections@kubernetescrd,", ""),
    (TRAEFIK, "amount: 1000", "amount: 10"),
    (TRAEFIK, "ipv6Subnet: 64", "ipv6Subnet: 128"),
    (COMPOSE, "- archive_mode=on", "- archive_mode=off"),
    (COMPOSE, "- archive_timeout=60", "- archive_timeout=3600"),
    (COMPOSE, "--stanza=tidings archive-push", "--stanza=other archive-push"),
    (COMPOSE, "command: [run]", "command: [once]"),
    (COMPOSE, "- backup-state:/var/lib/backup-state:ro", "- rehearsal-data:/var/lib/backup-state:ro"),
    ("deploy/postgres/pgbackrest/pgbackrest.conf", "repo1-retention-full=4", "repo1-retention-full=1"),
    ("deploy/prometheus/rules/backup.yml", "last_success_timestamp_seconds > 108000", "success_timestamp_seconds > 108000"),
    ("deploy/prometheus/prometheus.yml", "- backup:9854", "- backup:9855"),
    ("k8s/components/probe/network.yaml", "port: 443", "port: 80"),
    ("k8s/components/probe/deployment.yaml", "value: 0.0.0.0:8090", "value: 127.0.0.1:8090"),
    ("k8s/components/probe/pods.yaml", "replacement: tidings-probe", "replacement: probe"),
    ("deploy/prometheus/rules/probe.yml", "max(tidings_probe_success)", "max(tidings_probe_succeeded)"),
    ("deploy/prometheus/prometheus.yml", "- probe:8090", "- probe:8091"),
    ("k8s/components/webhooks/network.yaml", "              - 169.254.0.0/16\n", ""),
    ("k8s/components/webhooks/network.yaml", "port: 5432", "port: 6379"),
    ("k8s/components/webhooks/deployment.yaml", "value: 0.0.0.0:18083", "value: 127.0.0.1:18083"),
    ("k8s/components/webhooks/deployment.yaml", "terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 20"),
    ("k8s/components/webhooks/deployment.yaml", "replicas: 2", "replicas: 1"),
    ("k8s/components/webhooks/pods.yaml", "replacement: tidings-webhooks", "replacement: webhooks"),
    ("k8s/components/webhooks/gateway-api/route.yaml", "value: /v1/webhooks", "value: /v1/webhook"),
    ("k8s/components/webhooks/ingress/ingress.yaml", "name: tidings-webhooks\n                port", "name: tidings-gateway\n                port"),
    ("deploy/prometheus/rules/webhooks.yml", "max(tidings_webhooks_feed_lag_seconds)", "max(tidings_webhooks_lag_seconds)"),
    ("deploy/prometheus/rules/webhooks.yml", 'state=~"gone|dead_letters"', 'state=~"gone|dead"'),
    (PROMETHEUS, "port: 18083", "port: 8084"),
    (COMPOSE, "TIDINGS_WEBHOOKS:-}", "TIDINGS_WEBHOOKS:-webhooks:8082}"),
    (COMPOSE, "[CMD, /tidings-webhooks, health]", "[CMD, /tidings-webhooks, --version]"),
    (f"{FILES}/claim.yaml", "[ReadWriteMany]", "[ReadWriteOnce]"),
    (f"{FILES}/deployment.yaml", "claimName: tidings-files", "claimName: files"),
    (f"{FILES}/deployment.yaml", "mountPath: /var/lib/tidings-files", "mountPath: /var/lib/files"),
    (f"{FILES}/deployment.yaml", "value: 0.0.0.0:18084", "value: 127.0.0.1:18084"),
    (f"{FILES}/deployment.yaml", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20"),
    (f"{FILES}/network.yaml", "port: 5432", "port: 6379"),
    (f"{FILES}/pods.yaml", "replacement: tidings-files", "replacement: files"),
    (f"{FILES}/gateway-api/route.yaml", "(messages/[^/]+/)?", ""),
    (f"{FILES}/gateway-api/route.yaml", "request: 3660s", "request: 30s"),
    (f"{FILES}/ingress/ingress.yaml", "/v1/files", "/v1/file"),
    (f"{FILES}/ingress/ingress.yaml", "router.pathmatcher: PathRegexp", "router.pathmatcher: PathPrefix"),
    (f"{FILES}/external-secrets/secret.yaml", "key: tidings/files", "key: tidings/file"),
    (f"{BUCKET}/deployment.yaml", "name: TIDINGS_FILES_FOLDER", "name: TIDINGS_FILES_FOLDERS"),
    (f"{BUCKET}/deployment.yaml", "- name: content\n", "- name: contents\n"),
    (f"{BUCKET}/kustomization.yaml", "  - path: claim.yaml\n", ""),
    (f"{BUCKET}/settings/deployment.yaml", "value: s3://", "value: https://"),
    (f"{BUCKET}/settings/deployment.yaml", "name: AWS_REGION", "name: AWS_REGIONS"),
    (f"{BUCKET}/settings/kustomization.yaml", "port: 443", "port: 80"),
    (f"{BUCKET}/settings/kustomization.yaml", "                  - 169.254.0.0/16\n", ""),
    (f"{BUCKET}/keys/deployment.yaml", "key: access-key-id", "key: access-key"),
    (f"{BUCKET}/keys/deployment.yaml", "- name: AWS_SECRET_ACCESS_KEY", "- name: TIDINGS_FILES_SECRET"),
    (f"{BUCKET}/external-secrets/secret.yaml", "property: secret-access-key", "property: secret"),
    (COMPOSE_BUCKET, "TIDINGS_FILES_FOLDER: !reset null", "TIDINGS_FILES_FOLDER: /var/lib/tidings-files"),
    (COMPOSE_BUCKET, "volumes: !reset []", "volumes: [content:/var/lib/tidings-files]"),
    (COMPOSE_BUCKET, "AWS_ENDPOINT_URL: null", "AWS_ENDPOINTS_URL: null"),
    (COMPOSE_BUCKET, "AWS_SECRET_ACCESS_KEY: null", "AWS_SECRET_ACCESS_KEY: abc"),
    (f"{PUSH}/external-secrets/secret.yaml", "secretKey: vapid-key", "secretKey: vapid"),
    (f"{PUSH}/network.yaml", "              - 169.254.0.0/16\n", ""),
    (f"{PUSH}/network.yaml", "port: 6379", "port: 6380"),
    (f"{PUSH}/deployment.yaml", "replicas: 2", "replicas: 1"),
    (f"{PUSH}/deployment.yaml", "value: mailto:ops@example.com", "value: ops@example.com"),
    (f"{PUSH}/deployment.yaml", "key: vapid-key", "key: vapid"),
    (f"{PUSH}/deployment.yaml", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20"),
    (f"{PUSH}/pods.yaml", "replacement: tidings-push", "replacement: push"),
    (f"{PUSH}/gateway-api/route.yaml", "value: /v1/me/mutes", "value: /v1/me/mute"),
    (f"{PUSH}/ingress/ingress.yaml", "path: /v1/me/devices", "path: /v1/me"),
    ("deploy/prometheus/rules/files.yml", "storage_failures_total[10m]", "storage_failure_total[10m]"),
    ("deploy/prometheus/rules/files.yml", "> 0.8\n", "> 0.9\n"),
    ("deploy/prometheus/rules/push.yml", "status|timeout|failed|rejected", "status|timeout|failed|refused_key"),
    ("deploy/prometheus/rules/push.yml", "overdue_seconds) > 300", "overdue_seconds) > 30000"),
    (PROMETHEUS, "port: 18084", "port: 18083"),
    (PROMETHEUS, "names: [push]", "names: [pushes]"),
    (COMPOSE, "TIDINGS_FILES:-}", "TIDINGS_FILES:-files:8083}"),
    (COMPOSE, "TIDINGS_PUSH:-}", "TIDINGS_PUSH:-push:8084}"),
    (COMPOSE, "files-data:/var/lib/tidings-files", "files-data:/var/lib/files"),
    (COMPOSE, "VAPID_KEY_FILE: /run/secrets/vapid_key", "VAPID_KEY_FILE: /run/secrets/vapid"),
    (COMPOSE, "[CMD, /tidings-push, health]", "[CMD, /tidings-push, --version]"),
    (DOCKERFILE, "TIDINGS_FILES_LISTEN=0.0.0.0:8084", "TIDINGS_FILES_LISTENS=0.0.0.0:8084"),
    (COMPOSE, "TIDINGS_PROBE_CONNECT_TO: haproxy", "TIDINGS_PROBE_CONNECT: haproxy"),
    ("k8s/components/internal-tls/gateway.yaml", "value: https://", "value: http://"),
    ("k8s/components/internal-tls/certificates.yaml", "dnsNames: [tidings-persistence-internal]", "dnsNames: [else]"),
    ("k8s/components/internal-tls/certificates.yaml", "[digital signature, server auth]", "[digital signature]"),
    ("k8s/components/internal-tls/persistence.yaml", "tidings/internal.crt", "tidings/internal.pem"),
    ("k8s/components/internal-tls/kustomization.yaml", "path: internal-ca.crt", "path: ca.crt"),
    ("k8s/components/traefik/kustomization.yaml", "name: tidings-handshakes", "name: tidings-handshake"),
    (INGRESS, "path: /v1/poll", "path: /v1/polls"),
    (GATEWAY, "memory: 768Mi", "memory: 512Mi"),
    (GATEWAY, "path: /readyz", "path: /healthz"),
    (GATEWAY, "terminationGracePeriodSeconds: 100", "terminationGracePeriodSeconds: 60"),
    (GATEWAY, "runAsNonRoot: true", "runAsNonRoot: false"),
    (GATEWAY, "fieldPath: metadata.name", "fieldPath: status.podIP"),
    (PERSISTENCE, "memory: 512Mi", "memory: 384Mi"),
    ("k8s/base/network/gateway.yaml", "port: admin", "port: metrics"),
    ("k8s/base/gateway/disruption.yaml", "maxUnavailable: 1", "maxUnavailable: 0"),
    ("k8s/after-restore/job.yaml", "args: [after-restore]", "args: [after-recovery]"),
    ("k8s/after-restore/job.yaml", "name: tidings-database-owner", "name: tidings-database-owners"),
    ("k8s/after-restore/job.yaml", "mountPath: /run/secrets/tidings", "mountPath: /run/secrets"),
    ("k8s/overlays/production/after-restore/network.yaml", "port: 6379", "port: 6380"),
    (GENERATOR, 'hook(one, 0, "before-hook-creation")', "pass"),
    (GENERATOR, "hook(one, -10)", "hook(one, 10)"),
    (GENERATOR, '{"helm.sh/resource-policy": "keep"}', "{}"),
    (GENERATOR, 'LEFT_OUT = {"Namespace", ', 'LEFT_OUT = {"PodDisruptionBudget", "Namespace", '),
    (GENERATOR, '{"checksum/settings": digest, ', "{"),
    (GENERATOR, 'When(f"not {BUCKET}", content)', "content"),
    (GENERATOR, 'claim) (not {BUCKET})"', 'claim)"'),
    (GENERATOR, '{EXTERNAL} {BUCKET} {KEYS}"', '{EXTERNAL} {BUCKET}"'),
    (GENERATOR, 'conditions[key] = f"and {BUCKET} {KEYS}"', "conditions[key] = BUCKET"),
    (f"{CHART}/templates/refusals.yaml", '(not (hasPrefix "s3:" .url))', "false"),
    (f"{CHART}/templates/refusals.yaml", "if and .Values.files.bucket.url", "if and false .Values.files.bucket.url"),
    (f"{CHART}/values.schema.json", "^$|^(s3|az|gs)://", "^$|^[a-z0-9]+://"),
    (f"{CHART}/templates/gateway.yaml", "path: /readyz", "path: /healthz"),
    (f"{CHART}/templates/_helpers.tpl", "add 35 (div", "add 15 (div"),
    (f"{CHART}/values.yaml", "drainMs: 60000", "drainMs: 30000"),
    (f"{CHART}/values.schema.json", '"drainMs": {"type": "integer", "minimum": 1000', '"drainMs": {"type": "integer", "minimum": 0'),
]


def commands(copy: Path, rendered: Path, manifests_first: bool) -> list[list[str]]:
    """The checks, each of which reads only files. The order changes only how soon the first one fails."""
    python, tools = sys.executable, copy / "deploy" / "tools"
    overlays = {"dev": "k8s/overlays/dev", "production": "k8s/overlays/production"}
    overlays |= {f"production-{name}": f"k8s/overlays/production/{name}" for name in ("migrations", "after-restore")}
    overlays |= {f"production-{name}": f"deploy/tools/tests/{name}" for name in OVERLAYS}
    renders = [
        ["kustomize", "build", str(copy / folder), "--output", str(rendered / f"{name}.yaml")]
        for name, folder in overlays.items()
    ]
    files = [str(rendered / f"{name}.yaml") for name in overlays]
    watch = [["rules.py"], ["dashboards.py", "check"], ["collector.py"], ["scraping.py"], ["bounds.py"], ["routes.py"]]
    programs = ["--programs", os.environ["TIDINGS_PROGRAMS"]]
    of_manifests = [*renders, [python, str(tools / "check.py"), "manifests", *files, *programs]]
    others = [
        [python, str(tools / "check.py"), "compose", *programs],
        [python, str(tools / "check.py"), "dockerfile", *programs],
        [python, str(tools / "check.py"), "pins"],
        *([python, str(tools / "watch" / words[0]), *words[1:]] for words in watch),
        *([["promtool", "test", "rules", *(str(copy / one) for one in RULE_TESTS)]] if shutil.which("promtool") else []),
    ]
    return [*of_manifests, *others] if manifests_first else [*others, *of_manifests]


def is_of_chart(name: str) -> bool:
    """Whether only the checks of the chart read a file."""
    return name == GENERATOR or name.startswith(f"{CHART}/")


def first_finding(copy: Path, name: str) -> str | None:
    """The last line of the first check that fails, of those that read a file; `None` if all pass."""
    of_chart = [["bash", str(copy / "deploy" / "tools" / "deploy.sh"), "check-chart"]]
    with tempfile.TemporaryDirectory() as rendered:
        for command in of_chart if is_of_chart(name) else commands(copy, Path(rendered), name.startswith("k8s/")):
            done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
            # A check that was killed has found nothing.
            if done.returncode < 0 or done.returncode >= 126:
                raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
            if done.returncode != 0:
                return (done.stdout + done.stderr).strip().splitlines()[-1]
    return None


def build(copy: Path) -> None:
    """Builds the dashboards, rules and routes of alerts of a copy."""
    subprocess.run(["bash", str(copy / "deploy" / "tools" / "watch.sh"), "build"], cwd=copy, check=True)


def change(copy: Path, name: str, text: str) -> None:
    """Writes a file, and builds what is made from it."""
    (copy / name).write_text(text)
    if name.startswith(SOURCES):
        build(copy)
    if name == GENERATOR:
        subprocess.run(["bash", str(copy / "deploy" / "tools" / "deploy.sh"), "chart"], cwd=copy, check=True)


def mutate(copies: SimpleQueue[Path], mutation: tuple[str, str, str]) -> bool:
    """Makes one mutation in the next free copy, and tells whether it was noticed."""
    name, old, new = mutation
    copy = copies.get()
    try:
        text = (copy / name).read_text()
        if old not in text:
            print(f"OUTDATED {name}: there is no {old!r}", flush=True)
            return False
        change(copy, name, text.replace(old, new, 1))
        finding = first_finding(copy, name)
        change(copy, name, text)
    finally:
        copies.put(copy)
    mark = "MISSED" if finding is None else "noticed"
    print(f"{mark} {name}: {old!r} becomes {new!r}: {finding or 'all checks pass'}", flush=True)
    return finding is not None


def main() -> int:
    """See the head."""
    chosen = [one for one in MUTATIONS if all(text in one[0] for text in sys.argv[1:])]
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            copy = Path(folder) / str(number)
            for name in COPIED:
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("secrets"), symlinks=True)
            build(copy)
            copies.put(copy)
        for name in {is_of_chart(name): name for name, _, _ in chosen}.values():
            finding = first_finding(copy, name)
            if finding is not None:
                print(f"without a mutation: {finding}")
                return 1
        with ThreadPoolExecutor(workers) as pool:
            noticed = sum(pool.map(lambda one: mutate(copies, one), chosen))
    print(f"{noticed} of {len(chosen)} mutations noticed")
    return 1 if noticed < len(chosen) or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
