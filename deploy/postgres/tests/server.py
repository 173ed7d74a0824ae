"""A private PostgreSQL with the schema of Tidings, and a repository with the shipped settings of pgbackrest. The
processes end with the test."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

POSTGRES = Path(__file__).resolve().parent.parent
ROOT = POSTGRES.parent.parent
PROGRAMS = Path(os.environ.get("TIDINGS_BIN_DIR", ROOT / "target" / "debug"))
READY_TIMEOUT_S = 60


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One PostgreSQL with its archive."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidings-backup-"))
        self.data, self.port = self.folder / "data", free_port()
        for name in ("socket", "repository", "secrets", "state", "rehearsal", "work"):
            (self.folder / name).mkdir(mode=0o700)
        (self.folder / "secrets" / "cipher.conf").write_text(
            "[global]\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=for-tests\n"
        )
        text = (POSTGRES / "pgbackrest" / "pgbackrest.conf").read_text()
        for shipped, ours in (
            ("/var/lib/postgresql/data/pgdata", self.data),
            ("/var/lib/pgbackrest", self.folder / "repository"),
            ("/var/run/postgresql", self.folder / "socket"),
            ("/tmp/pgbackrest", self.folder / "work"),
        ):
            assert shipped in text, shipped
            text = text.replace(shipped, str(ours))
        (self.folder / "pgbackrest.conf").write_text(text)
        self.process: subprocess.Popen | None = None
        self.environment = os.environ | {
            "PGBACKREST_CONFIG": str(self.folder / "pgbackrest.conf"),
            "PGBACKREST_CONFIG_INCLUDE_PATH": str(self.folder / "secrets"),
            "PGBACKREST_STANZA": "tidings",
            "PGBACKREST_PG1_PORT": str(self.port),
            "PGHOST": str(self.folder / "socket"),
            "PGPORT": str(self.port),
            "PGUSER": "tidings_backup",
            "PGDATABASE": "tidings",
            "BACKUP_STATE": str(self.folder / "state"),
            "REHEARSAL_FOLDER": str(self.folder / "rehearsal"),
            "REHEARSAL_TIMEOUT_S": "60",
        }

    @property
    def url(self) -> str:
        """The address for the owner of the schema."""
        return f"postgres://postgres@127.0.0.1:{self.port}/tidings"

    def run(self, *words: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Runs a command with the settings of this server."""
        done = subprocess.run(
            [str(word) for word in words], env=self.environment | environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{words[0]}: {done.stdout}{done.stderr}")
        return done

    def program(self, name: str, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a shipped program of the backups."""
        return self.run("python3", POSTGRES / "pgbackrest" / name, *words, check=check)

    def sql(self, statements: str) -> str:
        """Runs statements as the superuser."""
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements, self.url).stdout.strip()

    def create(self) -> None:
        """Creates the server with the schema, the role of backups, and the archive command of compose.yaml."""
        self.run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", self.data)
        compose = (ROOT / "deploy" / "compose.yaml").read_text()
        archive = re.findall(r"^\s+- (archive_\w+)=(.*)$", compose, re.MULTILINE)
        assert len(archive) == 3, f"compose.yaml has {archive}"
        lines = [f"{name} = '{value.strip()}'" for name, value in archive]
        lines += [f"unix_socket_directories = '{self.folder}/socket'", f"port = {self.port}", "fsync = off"]
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines, ""]))
        self.start()
        self.run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "tidings")
        self.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", POSTGRES / "pgbackrest" / "role.sql", self.url)
        self.run(PROGRAMS / "tidings-migrations", "up", DATABASE_URL=self.url)

    def start(self) -> None:
        """Starts the server and waits until it is writable.

        Raises AssertionError with the log if it ends."""
        with open(self.folder / "server.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["postgres", "-D", str(self.data)], env=self.environment, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "server.log").read_text())
            address = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
            done = self.run("psql", "-XAtc", "SELECT pg_is_in_recovery()", address, check=False)
            if done.stdout.strip() == "f":
                return
            time.sleep(0.1)
        raise AssertionError(f"not ready after {READY_TIMEOUT_S} s")

    def stop(self) -> None:
        """Stops the server; it archives what is left."""
        if self.process and self.process.poll() is None:
            # A fast shutdown, which ends sessions.
            self.process.send_signal(2)
            self.process.wait(60)

    def archive_all(self) -> None:
        """Switches to a new segment and waits until the old one is in the repository."""
        segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + 30
        while not list((self.folder / "repository").rglob(f"{segment}-*")):
            assert time.monotonic() < deadline, f"{segment} is not archived"
            time.sleep(0.1)

    def close(self) -> None:
        """Ends the server and removes everything."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(3)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def messages(room: str, seqs: range) -> str:
    """Statements that store these messages as the writer does: the rows, and the head of the room."""
    return (
        f"INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) "
        f"SELECT '{room}', s, gen_random_uuid(), 'ann', s::text, 'text', 'message ' || s, now(), s "
        f"FROM generate_series({seqs.start}, {seqs.stop - 1}) s; "
        f"UPDATE rooms SET head_seq = {seqs.stop - 1} WHERE id = '{room}'"
    )
