"""Breaks one shipped value at a time in a copy of the repository, and demands that the checks of deploy.sh and watch.sh
notice it: mutations.py. Prints a line for each mutation, and exits with 1 if one is not noticed. Needs kustomize in PATH
and the Python packages of deploy.sh. Nothing is started."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The folders that the checks read.
COPIED = ["deploy", "docs", "k8s", "gateway/src", "jobs/src", "persistence/src", "shared/src"]
COMPOSE, DEV, HAPROXY = "deploy/compose.yaml", "k8s/overlays/dev/redis.yaml", "deploy/haproxy/haproxy.cfg"
GATEWAY, PERSISTENCE = "k8s/base/gateway/deployment.yaml", "k8s/base/persistence/deployment.yaml"
PROMETHEUS, COLLECTOR = "deploy/prometheus/prometheus.yml", "deploy/otel/collector.yaml"
INGRESS, ROUTE = "k8s/components/ingress/ingress.yaml", "k8s/components/gateway-api/route.yaml"
TRAEFIK, DOCKERFILE = "k8s/components/traefik/limits.yaml", "deploy/Dockerfile"

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
    (COMPOSE, "postgres:16.15-alpine3.23@sha256:621a", "postgres:16.15-alpine3.23@sha256:621b"),
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
    ("deploy/prometheus/rules/capacity.yml", "severity: page", "severity: pager"),
    ("k8s/components/monitoring/rules.yaml", "14.4 * 0.001", "1.44 * 0.001"),
    ("k8s/components/monitoring/pods.yaml", "port: admin", "port: http"),
    ("k8s/components/autoscaling/persistence.yaml", "maxReplicaCount: 8", "maxReplicaCount: 50"),
    ("docs/DEPLOY.md", "which is 371", "which is 300"),
    ("docs/RUNBOOK.md", "### TidingsNoGateway", "### TidingsNoGateways"),
    (DEV, "- noeviction", "- volatile-lru"),
    (ROUTE, "request: 0s", "request: 15s"),
    (ROUTE, "request: 45s", "request: 20s"),
    (INGRESS, "ingressClassName: traefik", "ingressClassName: nginx"),
    (INGRESS, "tidings-tidings-connections@kubernetescrd,", ""),
    (TRAEFIK, "amount: 1000", "amount: 10"),
    (TRAEFIK, "ipv6Subnet: 64", "ipv6Subnet: 128"),
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
]


def commands(copy: Path, rendered: Path) -> list[list[str]]:
    """The checks, each of which reads only files."""
    python, tools = sys.executable, copy / "deploy" / "tools"
    overlays = {"dev": "k8s/overlays/dev", "production": "k8s/overlays/production",
                "production-ingress": "deploy/tools/tests/ingress",
                "production-traefik": "deploy/tools/tests/traefik"}  # fmt: skip
    renders = [
        ["kustomize", "build", str(copy / folder), "--output", str(rendered / f"{name}.yaml")]
        for name, folder in overlays.items()
    ]
    files = [str(rendered / f"{name}.yaml") for name in overlays]
    watch = [["rules.py"], ["dashboards.py", "check"], ["collector.py"], ["scraping.py"]]
    return [
        [python, str(tools / "check.py"), "compose"],
        [python, str(tools / "check.py"), "dockerfile"],
        [python, str(tools / "check.py"), "pins"],
        [python, str(tools / "rules.py"), "--check"],
        *([python, str(tools / "watch" / words[0]), *words[1:]] for words in watch),
        *renders,
        [python, str(tools / "check.py"), "manifests", *files],
    ]


def first_finding(copy: Path) -> str | None:
    """The last line of the first check that fails; `None` if all pass."""
    with tempfile.TemporaryDirectory() as rendered:
        for command in commands(copy, Path(rendered)):
            done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return (done.stdout + done.stderr).strip().splitlines()[-1]
    return None


def change(copy: Path, name: str, text: str) -> None:
    """Writes a file, and the manifest that is generated from it, so that another check than that of the copy must notice
    the change."""
    (copy / name).write_text(text)
    if name.startswith("deploy/prometheus/rules/"):
        subprocess.run([sys.executable, str(copy / "deploy" / "tools" / "rules.py")], cwd=copy, check=True)


def main() -> int:
    """See the head."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("secrets"))
        finding = first_finding(copy)
        if finding is not None:
            print(f"without a mutation: {finding}")
            return 1
        missed = 0
        for name, old, new in MUTATIONS:
            text = (copy / name).read_text()
            if old not in text:
                finding, missed = None, missed + 1
                print(f"OUTDATED {name}: there is no {old!r}", flush=True)
                continue
            change(copy, name, text.replace(old, new, 1))
            finding = first_finding(copy)
            change(copy, name, text)
            missed += finding is None
            mark = "MISSED" if finding is None else "noticed"
            print(f"{mark} {name}: {old!r} becomes {new!r}: {finding or 'all checks pass'}", flush=True)
    print(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} mutations noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
