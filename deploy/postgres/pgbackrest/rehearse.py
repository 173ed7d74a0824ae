#!/usr/bin/env python3
"""Restores the newest backup and all archived changes into a scratch server, and checks them: rehearse.py

Exits with 0 only if the restored server started, has every change up to the newest archived segment, and satisfies
invariants.sql. Then it writes the time into BACKUP_STATE, from where backups.py serves it. The scratch server has no
network, archives nothing, and is removed at the end.

REHEARSAL_FOLDER: an own folder with as much space as the data of the server. REHEARSAL_DATABASE: `tidings` by default.
REHEARSAL_USER: a superuser of the backed-up server, `postgres` by default. REHEARSAL_TIMEOUT_S: for the recovery, 4 h by
default. The settings of pgbackrest are in its own variables. PostgreSQL must have the version of the backup.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import plan
import repository

FOLDER = Path(os.environ.get("REHEARSAL_FOLDER", "/var/lib/rehearsal"))
STATE = Path(os.environ.get("BACKUP_STATE", "/var/lib/backup-state"))
TIMEOUT_S = float(os.environ.get("REHEARSAL_TIMEOUT_S", "14400"))
HERE = Path(__file__).resolve().parent
INVARIANTS = next(path for path in (HERE / "invariants.sql", HERE.parent / "invariants.sql") if path.exists())
# These override the settings in the backup: no network, no archive, no libraries or files that only the real server has.
OVERRIDES = {
    "listen_addresses": "",
    "archive_mode": "off",
    "shared_preload_libraries": "",
    "ssl": "off",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "autovacuum": "off",
    "logging_collector": "off",
    "primary_conninfo": "",
    "synchronous_standby_names": "",
}


def restore(data: Path) -> None:
    """Restores the newest backup. pgbackrest compares each file with its checksum."""
    data.mkdir(mode=0o700)
    repository.pgbackrest(f"--pg1-path={data}", "--archive-mode=off", "restore")


def command(data: Path) -> list[str]:
    """The command of the scratch server. Only connections through a socket in the scratch folder are possible."""
    hba, ident = FOLDER / "pg_hba.conf", FOLDER / "pg_ident.conf"
    hba.write_text("local all all trust\n")
    ident.write_text("")
    settings = OVERRIDES | {"unix_socket_directories": str(FOLDER), "hba_file": str(hba), "ident_file": str(ident)}
    return ["postgres", "-D", str(data), *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]


def sql(statement: str, *options: str, timeout_s: float = 60) -> str:
    """Runs a statement on the scratch server."""
    user = os.environ.get("REHEARSAL_USER", "postgres")
    own = (f"--host={FOLDER}", f"--username={user}", f"--dbname={os.environ.get('REHEARSAL_DATABASE', 'tidings')}")
    return repository.sql(statement, *own, *options, timeout_s=timeout_s)


def wait_for_recovery(server: subprocess.Popen) -> None:
    """Waits until all archived changes are applied."""
    deadline = time.monotonic() + TIMEOUT_S
    problem = "it did not answer"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise repository.CommandError(f"the restored server ended with {server.returncode}; see its log above")
        try:
            if sql("SELECT pg_is_in_recovery()") == "f":
                return
            problem = "it still applies changes"
        except repository.CommandError as error:
            problem = str(error)
        time.sleep(0.5)
    raise repository.CommandError(f"the restored server was not ready after {TIMEOUT_S:.0f} s: {problem}")


def check(archived: str) -> str:
    """Checks the restored server. `archived` is the newest segment that was in the archive before. Recovery ends without
    an error where a segment is missing, so the position that it reached is compared."""
    reached = sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    if reached[8:] < archived[8:]:
        places = f"recovery stopped in segment {reached[8:]}, the newest archived one is {archived[8:]}"
        raise repository.CommandError(f"the archive has a hole: {places}")
    sql("SET client_min_messages = warning", f"--file={INVARIANTS}", timeout_s=TIMEOUT_S)
    return sql("SELECT count(*) || ' rooms, ' || coalesce(sum(head_seq), 0) || ' events' FROM rooms", timeout_s=TIMEOUT_S)


def rehearse() -> str:
    """Restores and checks; returns what was found."""
    info = repository.info()
    if not plan.good_backups(info):
        raise repository.CommandError("there is no backup")
    data = FOLDER / "data"
    # What an interrupted rehearsal left behind.
    shutil.rmtree(data, ignore_errors=True)
    restore(data)
    with subprocess.Popen(command(data), stdout=sys.stderr, cwd=FOLDER) as server:
        try:
            wait_for_recovery(server)
            return check(plan.last_segment(info))
        finally:
            # PostgreSQL's immediate shutdown: the scratch data is not needed any more.
            server.send_signal(3)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
            shutil.rmtree(data, ignore_errors=True)


def main() -> int:
    """See the head."""
    begun = time.time()
    # As the first process of a container it would ignore the signal, and leave the copy behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        found = rehearse()
    except repository.CommandError as error:
        print(f"THE REHEARSAL FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(FOLDER / "data", ignore_errors=True)
    part = STATE / "rehearsal.part"
    part.write_text(f"{begun:.0f}\n")
    part.rename(STATE / "rehearsal")
    print(f"the newest backup was restored and is complete: {found}, in {time.time() - begun:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
