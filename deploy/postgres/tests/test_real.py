"""The backups with a real PostgreSQL and a real pgbackrest: a moment is restored exactly, a broken archive shows in the
metrics, and a rehearsal finds damage."""

import re
import subprocess
import time
import unittest
import urllib.request

from server import POSTGRES, Server, free_port, messages

ROOMS = (
    "INSERT INTO users (id) VALUES ('ann'); "
    "INSERT INTO rooms (id, partition, kind, created_by) VALUES ('kitchen', 1, 'private', 'ann'), ('hall', 2, 'private', 'ann')"
)


class RealTest(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.create()
        self.server.sql(ROOMS)

    def seqs(self, room: str) -> list[int]:
        """The stored positions of a room."""
        return [int(one) for one in self.server.sql(f"SELECT seq FROM messages WHERE room_id = '{room}' ORDER BY seq").split()]

    def backup_labels(self) -> list[str]:
        """The names of all backups; F is full, D is differential."""
        return re.findall(r"(?:full|diff) backup: (\S+)", self.server.run("pgbackrest", "info").stdout)

    def rehearse(self, succeeds: bool) -> str:
        """Runs a rehearsal, checks its outcome and what it left behind, and returns its output."""
        done = self.server.program("rehearse.py", check=False)
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode == 0, succeeds, output)
        self.assertFalse((self.server.folder / "rehearsal" / "data").exists(), "the scratch data is left behind")
        return output


class MomentTest(RealTest):
    def test_restored_moment_has_exactly_the_messages_until_then(self) -> None:
        server = self.server
        server.sql(messages("kitchen", range(1, 6)))
        server.program("backups.py", "once")
        # pgbackrest knows the end of a backup by the second.
        time.sleep(1.1)
        server.sql(messages("kitchen", range(6, 9)) + "; " + messages("hall", range(1, 4)))
        moment = server.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")
        time.sleep(0.1)
        server.sql(messages("kitchen", range(9, 12)) + "; " + messages("hall", range(4, 6)))
        # A row after the moment, which an operator removed by mistake.
        server.sql("DELETE FROM messages WHERE room_id = 'hall' AND seq = 2")
        server.archive_all()
        script = POSTGRES / "restore.sh"

        refused = server.run(script, "--to", "2026-03-01 09:30:00", server.data, check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("is not a time with a zone", refused.stderr)
        refused = server.run(script, "--to", moment, server.data, check=False)
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("is not empty", refused.stderr)

        server.stop()
        server.data.rename(server.folder / "old-data")
        server.run(script, "--to", moment, server.data)
        server.start()
        self.assertEqual(self.seqs("kitchen"), list(range(1, 9)))
        self.assertEqual(self.seqs("hall"), [1, 2, 3])
        self.assertEqual(server.sql("SELECT string_agg(head_seq::text, ' ' ORDER BY id) FROM rooms"), "3 8")
        server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", POSTGRES / "invariants.sql", server.url)
        before = int(server.sql("SELECT last_value FROM epochs_opened_epoch_seq"))
        server.run(script, "--recovered", DATABASE_URL=server.url)
        self.assertGreater(int(server.sql("SELECT last_value FROM epochs_opened_epoch_seq")), before + 1_000_000)

        # The restored server archives on, and the next backup belongs to it.
        server.run("pgbackrest", "check")
        server.run("pgbackrest", "--type=full", "backup")
        self.assertEqual(len(self.backup_labels()), 2)

    def test_moment_after_the_archive_is_refused(self) -> None:
        server = self.server
        server.program("backups.py", "once")
        moment = server.sql("SELECT to_char((now() + '1 day') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || '+00'")
        server.stop()
        server.data.rename(server.folder / "old-data")
        server.run(POSTGRES / "restore.sh", "--to", moment, server.data)
        with self.assertRaisesRegex(AssertionError, "recovery ended before configured recovery target was reached"):
            server.start()


class ScheduleTest(RealTest):
    def test_due_backup_is_made_once(self) -> None:
        for _ in range(2):
            self.server.program("backups.py", "once")
        labels = self.backup_labels()
        self.assertEqual([label[-1] for label in labels], ["F"])
        # The repository is encrypted: no file has a name of a table or the text of a setting.
        manifest = self.server.folder / "repository" / "backup" / "tidings" / labels[0] / "backup.manifest"
        self.assertTrue(manifest.read_bytes().startswith(b"Salted__"))

    def test_retention_keeps_four_full_backups(self) -> None:
        self.server.program("backups.py", "once")
        for _ in range(4):
            self.server.run("pgbackrest", "--type=full", "backup")
        self.assertEqual(len(self.backup_labels()), 4)


class MetricsTest(RealTest):
    def metrics(self, port: int) -> dict[str, int]:
        """The times that the running program serves."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            text = answer.read().decode()
        return {name: int(value) for name, value in re.findall(r"^tidings_backup_(\w+)_timestamp_seconds (\d+)$", text, re.M)}

    def until(self, port: int, wanted: object, why: str) -> dict[str, int]:
        """Waits until the metrics satisfy a condition."""
        deadline = time.monotonic() + 40
        while True:
            try:
                found = self.metrics(port)
            except OSError:
                found = {}
            if found and wanted(found):
                return found
            self.assertLess(time.monotonic(), deadline, f"{why}: {found}")
            time.sleep(0.2)

    def test_broken_archive_stops_the_time_of_the_archive(self) -> None:
        server, port = self.server, free_port()
        # The schedule of the program runs each second here.
        code = "import sys, backups; backups.REFRESH_S = backups.RETRY_S = 1; sys.exit(backups.main())"
        environment = server.environment | {
            "BACKUP_LISTEN": f"127.0.0.1:{port}", "PYTHONPATH": str(POSTGRES / "pgbackrest"),
        }  # fmt: skip
        process = subprocess.Popen(["python3", "-c", code], env=environment, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        begun = time.time()
        found = self.until(port, lambda one: one["last_success"] and one["wal_archived"], "no backup is made")
        self.assertAlmostEqual(found["last_success"], time.time(), delta=60)
        self.assertEqual(found["last_full"], found["last_success"])
        self.assertEqual(found["rehearsal_last_success"], 0)
        self.assertGreaterEqual(found["wal_archived"], int(begun))

        for command in ("false", "true"):
            with self.subTest(archive_command=command):
                server.sql(f"ALTER SYSTEM SET archive_command = '{command}'")
                server.sql("SELECT pg_reload_conf()")
                time.sleep(1)
                server.sql(messages("kitchen", range(1, 3)) if command == "false" else messages("hall", range(1, 3)))
                server.sql("SELECT pg_switch_wal()")
                time.sleep(3)
                stopped = self.metrics(port)["wal_archived"]
                time.sleep(3)
                self.assertEqual(self.metrics(port)["wal_archived"], stopped)
                self.assertLess(stopped, time.time() - 2)
        process.terminate()
        self.assertEqual(process.wait(20), 0)


class RehearsalTest(RealTest):
    def test_rehearsal_passes_and_finds_what_is_broken(self) -> None:
        server, state = self.server, self.server.folder / "state" / "rehearsal"
        self.assertIn("there is no backup", self.rehearse(succeeds=False) if self.prepared() else "")
        server.sql(messages("kitchen", range(1, 6)))
        server.program("backups.py", "once")
        server.sql(messages("hall", range(1, 4)))
        server.archive_all()
        self.assertIn("2 rooms, 8 events", self.rehearse(succeeds=True))
        self.assertAlmostEqual(float(state.read_text()), time.time(), delta=60)
        state.write_text("7\n")

        with self.subTest("a segment of the log is missing"):
            server.sql("CREATE TABLE filler AS SELECT generate_series(1, 10)")
            server.archive_all()
            segments = sorted((server.folder / "repository" / "archive").rglob("0000*-*"))
            segment = segments[-2]
            hidden = segment.with_name("hidden")
            segment.rename(hidden)
            self.assertIn("the archive has a hole", self.rehearse(succeeds=False))
            hidden.rename(segment)

        with self.subTest("the backup is damaged"):
            backup = server.folder / "repository" / "backup" / "tidings" / self.backup_labels()[-1]
            largest = max((path for path in backup.rglob("*") if path.is_file() and "manifest" not in path.name),
                          key=lambda path: path.stat().st_size)  # fmt: skip
            good = largest.read_bytes()
            middle = len(good) // 2
            largest.write_bytes(good[:middle] + bytes(byte ^ 0xFF for byte in good[middle : middle + 64]) + good[middle + 64 :])
            self.assertIn("THE REHEARSAL FAILED", self.rehearse(succeeds=False))
            largest.write_bytes(good)

        with self.subTest("the data breaks an invariant"):
            server.sql("DELETE FROM messages WHERE room_id = 'kitchen' AND seq = 3")
            server.archive_all()
            self.assertIn("the log of a room has holes", self.rehearse(succeeds=False))
        self.assertEqual(state.read_text(), "7\n", "a failed rehearsal counts as a success")

    def prepared(self) -> bool:
        """Creates the repository without a backup."""
        self.server.run("pgbackrest", "stanza-create")
        return True


if __name__ == "__main__":
    unittest.main()
