"""Plays outages, ten times faster than real time, with a real Prometheus, a real Alertmanager, the shipped rules and the
shipped routes: played.py. The metrics are simulated: those that services and exporters have during such an outage. It shows
that rules and routes make one page of each, not that the services report it. Prints a table. Exits with 1 if an outage is
not one page, begins late, or ends late. Needs Debian's prometheus and prometheus-alertmanager."""

import http.server
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

from expressions import PROMETHEUS, ROOT

FASTER = 10
# Limits in seconds of real time. A page of symptoms waits until a quarter of the events of two minutes are bad.
BEGINS_S, SYMPTOMS_BEGIN_S, ENDS_S = 60, 105, 180
WARM_UP_S, OUTAGE_S, REST_S = 20, 16, 50
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def faster(text):
    """Divides every duration by ten: windows, `for`, intervals, waits, and the time that a sample stands for."""
    short = lambda found: f"{found[1]}{max(1, int(int(found[2]) * UNITS[found[3]] * 1000 / FASTER))}ms"  # noqa: E731
    text = re.sub(r"(\[|: |offset )(\d+)([smhd])\b", short, text)
    return text.replace("30 * sum_over_time(", "3 * sum_over_time(")


# Each outage with the alerts that may page.
OUTAGES = {
    "PostgreSQL is away": {"TidingsPostgresDown"},
    "Redis is away": {"TidingsRedisDown"},
    "Redis is away, the exporter of PostgreSQL wrong": {"TidingsRedisDown"},
    "persistence is away": {"TidingsNoPersistence"},
    "a zone is away": {"TidingsGatewaysDown"},
    "all gateways are away": {"TidingsNoGateway"},
    "the certificate ended": {"TidingsCertificateEnded"},
    "no known cause": None,
    "one wrong exporter": set(),
}
# Outages in which sends and requests go on.
HARMLESS = {"none", "one wrong exporter", "a zone is away", "the certificate ended"}


class World:
    """What the services and exporters report. Counters follow from the time since the start and from the outages, so
    that scrapes in parallel see the same values."""

    def __init__(self):
        self.changes = [(time.time(), "none")]

    @property
    def outage(self):
        return self.changes[-1][1]

    @outage.setter
    def outage(self, outage):
        self.changes.append((time.time(), outage))

    def seconds(self, now, counts):
        """How long the outages that `counts` accepts have lasted together."""
        changes = [*self.changes, (now, "none")]
        return sum(max(0, end - begin) for (begin, outage), (end, _) in zip(changes, changes[1:]) if counts(outage))

    def oldest_unwritten(self, now):
        """In seconds of real time: grows while nothing is stored, and drains four times as fast afterwards."""
        begin, outage = self.changes[-1]
        if outage not in HARMLESS:
            return (now - begin) * FASTER
        if len(self.changes) < 2 or self.changes[-2][1] in HARMLESS:
            return 0
        return max(0, (begin - self.changes[-2][0]) - 4 * (now - begin)) * FASTER

    def metrics(self, job):
        now, away = time.time(), self.outage
        good = self.seconds(now, HARMLESS.__contains__)
        bad = self.seconds(now, lambda outage: outage not in HARMLESS)
        failures = self.seconds(now, lambda outage: outage == "PostgreSQL is away")
        redis, postgres = not away.startswith("Redis is away"), away != "PostgreSQL is away"
        ended = -60 if away == "the certificate ended" else 9e6
        lines = {
            "gateway": [
                f"tidings_gateway_ready {int(redis)}",
                'tidings_gateway_build_info{version="1"} 1',
                'tidings_gateway_shard_partitions{shard="redis:6379",state="open"} ' + str(64 * redis),
                'tidings_gateway_sends_total{result="accepted"} ' + str(50 * good),
                'tidings_gateway_sends_total{result="unavailable"} ' + str(50 * bad),
            ],
            "persistence": [
                f"tidings_persistence_ready {int(redis and postgres)}",
                "tidings_persistence_leases 64",
                'tidings_persistence_build_info{version="1"} 1',
                'tidings_persistence_http_requests_total{status="200"} ' + str(20 * good),
                'tidings_persistence_http_requests_total{status="503"} ' + str(20 * bad),
                'tidings_persistence_database_failures_total{cause="refused"} ' + str(5 * failures),
                'tidings_persistence_oldest_unwritten_seconds{shard="redis:6379"} ' + str(self.oldest_unwritten(now)),
            ],
            "redis": [f"redis_up {int(redis)}"],
            "postgresql": [f"pg_up {int(postgres and 'wrong' not in away)}"],
            "tidings-probe": [
                f"tidings_probe_certificate_expiry_timestamp_seconds {now + ended}",
                f"tidings_probe_success {int(away in HARMLESS and ended > 0)}",
            ],
        }[job]
        return "\n".join(lines) + "\n"

    def down(self, path):
        if path.startswith("/persistence/"):
            return self.outage == "persistence is away"
        return path.startswith("/gateway/") and (
            self.outage == "all gateways are away"
            or self.outage == "a zone is away" and path[-1] in "34"
        )


def serve(world, pages):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if world.down(self.path) else 200)
            self.end_headers()
            if not world.down(self.path):
                self.wfile.write(world.metrics(self.path.split("/")[1]).encode())

        def do_POST(self):
            pages.append((time.time(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def configure(folder, port, alertmanager):
    (folder / "rules").mkdir()
    for path in (PROMETHEUS / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(faster(path.read_text()))
    jobs = {"tidings-gateway": [f"gateway/{n}" for n in range(1, 5)], "tidings-persistence": ["persistence/1"],
            "redis": ["redis/1"], "postgresql": ["postgresql/1"], "tidings-probe": ["tidings-probe/1"]}  # fmt: skip
    scrapes = [
        {"job_name": job, "static_configs": [{"targets": targets}], "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "instance"},
            {"source_labels": ["__address__"], "target_label": "__metrics_path__", "replacement": "/$1"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"}]}
        for job, targets in jobs.items()
    ]  # fmt: skip
    told = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    times = {"scrape_interval": "1500ms", "scrape_timeout": "1s", "evaluation_interval": "1500ms"}
    whole = {"global": times, "rule_files": ["rules/*.yml"], "scrape_configs": scrapes, "alerting": {"alertmanagers": told}}
    (folder / "prometheus.yml").write_text(json.dumps(whole))
    receivers = "receivers:\n" + "".join(f"  - name: {name}\n" for name in ("ticket", "watchdog", "nobody"))
    receivers += f"  - name: page\n    webhook_configs:\n      - url: http://127.0.0.1:{port}/\n        send_resolved: true\n"
    (folder / "alertmanager.yml").write_text(faster((ROOT / "deploy/alertmanager/routes.yml").read_text()) + receivers)


def play(world, pages, outage):
    """Plays one outage. Returns the row of the table, and whether it is as demanded."""
    time.sleep(WARM_UP_S)
    # A start of Prometheus wakes nobody.
    early = sorted({page["groupKey"] for _, page in pages})
    pages.clear()
    world.outage, begun = outage, time.time()
    time.sleep(OUTAGE_S)
    world.outage, recovered = "none", time.time()
    time.sleep(REST_S)
    groups = {}
    for at, page in pages:
        groups.setdefault(page["groupKey"], []).append((at, page))
    names = sorted({alert["labels"]["alertname"] for _, page in pages for alert in page["alerts"]})
    allowed = OUTAGES[outage]
    wanted = 0 if allowed == set() else 1
    first = (pages[0][0] - begun) * FASTER if pages else 0
    ends = [at for at, page in pages if page["status"] == "resolved"]
    last = (ends[-1] - recovered) * FASTER if ends else 0
    limit = SYMPTOMS_BEGIN_S if outage == "no known cause" else BEGINS_S
    good = not early and len(groups) == wanted and (allowed is None or set(names) == allowed) and (not wanted or first <= limit and bool(ends) and last <= ENDS_S)
    return f"| {outage} | {len(groups)} | {first:.0f} s | {last:.0f} s | {', '.join(names + early)} | {'ok' if good else 'WRONG'} |", good


def alone(outage):
    """Plays one outage with processes of its own, because an outage uses up the budgets of the next one."""
    world, pages = World(), []
    with tempfile.TemporaryDirectory() as name:
        folder, port, alertmanager = pathlib.Path(name), serve(world, pages), free()
        configure(folder, port, alertmanager)
        log = (folder / "log").open("w")
        commands = [
            ["prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address=",
             f"--web.listen-address=127.0.0.1:{alertmanager}"],
            ["prometheus", "--rules.alert.resend-delay=6s", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{free()}"],
        ]  # fmt: skip
        # Alertmanager answers before Prometheus sends, because Prometheus repeats an alert only after a while.
        started = []
        try:
            for one in commands:
                started.append(subprocess.Popen(one, cwd=folder, stdout=log, stderr=log))
                time.sleep(2)
            row, good = play(world, pages, outage)
            if any(one.poll() is not None for one in started):
                print((folder / "log").read_text()[-2000:])
                good = False
        finally:
            for one in started:
                one.kill()
                one.wait()
    print(row, flush=True)
    return good


def main():
    print("| outage | pages | begins after | ends after | alerts | |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    return 0 if all([alone(outage) for outage in sys.argv[1:] or OUTAGES]) else 1


if __name__ == "__main__":
    sys.exit(main())
