"""Calls pgbackrest and psql. Their settings are in the environment: PGBACKREST_STANZA, PGBACKREST_CONFIG, PGHOST,
PGUSER, PGDATABASE and so on. Each call has a time limit, and its process ends with this one."""

import json
import os
import subprocess
import threading

INFO_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
# The state of the archiver. pg_monitor may list the waiting segments; the oldest tells since when nothing is archived.
ARCHIVER_SQL = """
SELECT json_build_object(
  'mode', current_setting('archive_mode'),
  'timeout_s', (SELECT setting::int FROM pg_settings WHERE name = 'archive_timeout'),
  'last_segment', last_archived_wal,
  'oldest_waiting', (SELECT extract(epoch FROM min(modification)) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'))
FROM pg_stat_archiver"""

_running: set[subprocess.Popen] = set()
# The signal handler runs in the main thread, which may hold the lock.
_lock = threading.RLock()


class CommandError(Exception):
    """A command failed; the text is its output."""


def use_password_file() -> None:
    """Gives libpq the password from the file that PGPASSWORD_FILE names."""
    if path := os.environ.get("PGPASSWORD_FILE"):
        with open(path, encoding="utf-8") as file:
            os.environ["PGPASSWORD"] = file.read().strip()


def run(*words: str, timeout_s: float | None = None) -> str:
    """Runs a command and returns its output.

    Raises CommandError when it fails, cannot start, or takes longer than the limit."""
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            with _lock:
                _running.add(process)
            try:
                output, errors = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise CommandError(f"{words[0]} took longer than {timeout_s} s") from None
            finally:
                with _lock:
                    _running.discard(process)
    except OSError as error:
        raise CommandError(f"{words[0]}: {error}") from error
    if process.returncode:
        raise CommandError(f"{words[0]} ended with {process.returncode}: {(errors + output).strip()}")
    return output


def stop_all() -> None:
    """Ends all commands that run, and waits for them."""
    with _lock:
        running = list(_running)
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def pgbackrest(*words: str, timeout_s: float | None = None) -> str:
    """Runs pgbackrest; see `run`."""
    return run("pgbackrest", *words, timeout_s=timeout_s)


def info() -> list:
    """The content of the repository."""
    found = json.loads(pgbackrest("info", "--output=json", timeout_s=INFO_TIMEOUT_S))
    for one in found:
        # 0 is good; 1 to 3 mean that there is no stanza or no backup yet. All others are errors, also of the storage.
        if one["status"]["code"] not in (0, 1, 2, 3):
            raise CommandError(f"pgbackrest info: {one['status']['message']}")
    return found


def sql(statement: str, *options: str, timeout_s: float = INFO_TIMEOUT_S) -> str:
    """The output of a statement."""
    words = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", *options)
    return run(*words, "--command", statement, timeout_s=timeout_s).strip()


def archiver() -> dict:
    """The state of the archiver of the server."""
    return json.loads(sql(ARCHIVER_SQL))
