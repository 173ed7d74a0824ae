#!/usr/bin/env python3
"""Makes the backups of PostgreSQL on a schedule, and serves their age as metrics: backups.py [run | once | health]

run      creates and checks the repository, then makes a full backup in each week and a differential one on each other
         day, for ever. Serves /metrics and /healthz. A backup that was missed or failed is made as soon as possible
once     creates and checks the repository, and makes the backup that is due now, if one is
health   exits with 0 if `run` answers

BACKUP_HOUR: the hour of UTC, 2 by default. BACKUP_WEEKDAY: the day of full backups, 0 is Monday, 6 by default.
BACKUP_LISTEN: 0.0.0.0:9854 by default. BACKUP_STATE: the folder with the results of rehearsals.
The settings of pgbackrest and of libpq are in their own variables, the password in the file PGPASSWORD_FILE.
"""

import os
import signal
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import plan
import repository

REFRESH_S = 30
RETRY_S = 300
BACKUP_TIMEOUT_S = 20 * 3600
LISTEN = os.environ.get("BACKUP_LISTEN", "0.0.0.0:9854")
STATE = Path(os.environ.get("BACKUP_STATE", "/var/lib/backup-state"))
SCHEDULE = plan.Schedule(int(os.environ.get("BACKUP_HOUR", "2")), int(os.environ.get("BACKUP_WEEKDAY", "6")))


def log(text: str) -> None:
    """Writes a line to the log."""
    print(f"{time.strftime('%FT%TZ', time.gmtime())} {text}", file=sys.stderr, flush=True)


class Ages:
    """The times that the metrics show. 0 means never, so that an alert on the age fires."""

    def __init__(self) -> None:
        self.success = self.full = self.archived = 0.0

    def refresh(self) -> None:
        """Reads the times again. A time that cannot be read stays, and so gets old."""
        try:
            # The archiver is read before the repository, which then has every segment that the archiver reported.
            archiver = repository.archiver()
            info = repository.info()
        except (repository.CommandError, ValueError, KeyError) as error:
            log(f"the state of the backups is unknown: {error}")
            return
        self.success, self.full = plan.newest(info), plan.newest(info, ("full",))
        self.archived = plan.archived_until(archiver, info, self.archived, time.time())

    def text(self) -> str:
        """The metrics in Prometheus' format."""
        rehearsal = STATE / "rehearsal"
        rehearsed = float(rehearsal.read_text()) if rehearsal.exists() else 0
        values = [
            ("last_success", "When the newest backup ended; 0 if there is none.", self.success),
            ("last_full", "When the newest full backup ended; 0 if there is none.", self.full),
            ("wal_archived", "Until when the write-ahead log is archived; 0 if that is unknown.", self.archived),
            ("rehearsal_last_success", "When a backup was last restored and checked; 0 if never.", rehearsed),
        ]
        return "".join(
            f"# HELP tidings_backup_{name}_timestamp_seconds {help}\n# TYPE tidings_backup_{name}_timestamp_seconds gauge\n"
            f"tidings_backup_{name}_timestamp_seconds {value:.0f}\n"
            for name, help, value in values
        )


def prepare() -> None:
    """Creates the repository if it is missing, and proves that the server archives into it."""
    repository.pgbackrest("stanza-create")
    repository.pgbackrest("check")


def back_up() -> None:
    """Makes the backup that is due, if one is. pgbackrest then removes what the retention does not keep."""
    kind = plan.due(repository.info(), SCHEDULE, time.time())
    if kind is not None:
        log(f"a {kind} backup begins")
        repository.pgbackrest(f"--type={kind}", "backup", timeout_s=BACKUP_TIMEOUT_S)
        log(f"the {kind} backup is complete")


def back_up_for_ever() -> None:
    """Makes all backups, and repeats what fails."""
    prepared = False
    while True:
        try:
            if not prepared:
                prepare()
                prepared = True
                log("the repository is ready, and the server archives into it")
            back_up()
            time.sleep(REFRESH_S)
        except Exception as error:  # noqa: BLE001: whatever fails, the next backup must be tried
            log(f"NO BACKUP: {error}; next try in {RETRY_S} s")
            time.sleep(RETRY_S)


def server(ages: Ages) -> ThreadingHTTPServer:
    """Listens for requests for /metrics and /healthz."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            found = self.path in ("/metrics", "/healthz")
            body = (ages.text() if self.path == "/metrics" else "ok\n" if found else "").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    host, _, port = LISTEN.rpartition(":")
    return ThreadingHTTPServer((host, int(port)), Handler)


def stop(*_: object) -> None:
    """Ends a backup in progress. The next one continues with the files that are complete."""
    repository.stop_all()
    os._exit(0)


def main() -> int:
    """See the head."""
    what = (sys.argv[1:] or ["run"])[0]
    if what == "health":
        urllib.request.urlopen(f"http://127.0.0.1:{LISTEN.rpartition(':')[2]}/healthz", timeout=5).close()
        return 0
    if what not in ("run", "once"):
        print(__doc__, file=sys.stderr)
        return 2
    repository.use_password_file()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if what == "once":
        try:
            prepare()
            back_up()
        except repository.CommandError as error:
            log(f"NO BACKUP: {error}")
            return 1
        return 0
    ages = Ages()
    # A port in use ends the process.
    metrics = server(ages)
    threading.Thread(target=back_up_for_ever, daemon=True).start()
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    while True:
        ages.refresh()
        time.sleep(REFRESH_S)


if __name__ == "__main__":
    sys.exit(main())
