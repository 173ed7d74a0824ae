"""The schedule, and the ages that the metrics show. Needs neither PostgreSQL nor pgbackrest."""

import sys
import unittest
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pgbackrest"))

import plan  # noqa: E402

SCHEDULE = plan.Schedule()
SEGMENT = "000000010000000000000007"


def at(text: str) -> float:
    """The time of a text in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def info(*backups: tuple[str, str], segment: str = SEGMENT) -> list:
    """The output of `pgbackrest info` with backups by type and time."""
    made = [
        {"type": kind, "error": False, "database": {"id": 1}, "timestamp": {"start": at(when), "stop": at(when) + 60}}
        for kind, when in backups
    ]
    return [{"db": [{"id": 1}], "backup": made, "archive": [{"max": segment}]}]


def archiver(**changed: object) -> dict:
    """An archiver that has archived everything."""
    return {"mode": "on", "timeout_s": 60, "last_segment": SEGMENT, "oldest_waiting": None} | changed


class ScheduleTest(unittest.TestCase):
    # 2026-03-01 is a Sunday.
    def test_first_backup_is_full_at_once(self) -> None:
        self.assertEqual(plan.due([], SCHEDULE, at("2026-03-04T12:00")), "full")
        self.assertEqual(plan.due(info(), SCHEDULE, at("2026-03-04T12:00")), "full")

    def test_each_day_gets_one_differential_backup(self) -> None:
        made = [("full", "2026-03-01T02:00")]
        self.assertIsNone(plan.due(info(*made), SCHEDULE, at("2026-03-02T01:59")))
        self.assertEqual(plan.due(info(*made), SCHEDULE, at("2026-03-02T02:00")), "diff")
        made.append(("diff", "2026-03-02T02:01"))
        self.assertIsNone(plan.due(info(*made), SCHEDULE, at("2026-03-03T01:59")))
        self.assertEqual(plan.due(info(*made), SCHEDULE, at("2026-03-03T02:00")), "diff")

    def test_each_week_gets_one_full_backup(self) -> None:
        made = [("full", "2026-03-01T02:00"), ("diff", "2026-03-07T02:00")]
        self.assertIsNone(plan.due(info(*made), SCHEDULE, at("2026-03-08T01:59")))
        self.assertEqual(plan.due(info(*made), SCHEDULE, at("2026-03-08T02:00")), "full")
        made.append(("full", "2026-03-08T02:00"))
        self.assertIsNone(plan.due(info(*made), SCHEDULE, at("2026-03-08T23:00")))

    def test_missed_full_backup_is_made_on_another_day(self) -> None:
        made = [("full", "2026-03-01T02:00"), ("diff", "2026-03-08T02:00")]
        self.assertEqual(plan.due(info(*made), SCHEDULE, at("2026-03-11T12:00")), "full")

    def test_backup_with_error_does_not_count(self) -> None:
        damaged = info(("full", "2026-03-01T02:00"))
        damaged[0]["backup"][0]["error"] = True
        self.assertEqual(plan.due(damaged, SCHEDULE, at("2026-03-01T03:00")), "full")
        self.assertEqual(plan.newest(damaged), 0)

    def test_backup_of_an_earlier_server_does_not_count(self) -> None:
        earlier = info(("full", "2026-03-01T02:00"))
        earlier[0]["db"].append({"id": 2})
        self.assertEqual(plan.due(earlier, SCHEDULE, at("2026-03-01T03:00")), "full")

    def test_newest_is_the_end_of_the_last_backup(self) -> None:
        made = info(("full", "2026-03-01T02:00"), ("diff", "2026-03-02T02:00"))
        self.assertEqual(plan.newest(made), at("2026-03-02T02:01"))
        self.assertEqual(plan.newest(made, ("full",)), at("2026-03-01T02:01"))


class ArchiveTest(unittest.TestCase):
    def test_archived_log_is_safe_until_now(self) -> None:
        self.assertEqual(plan.archived_until(archiver(), info(), 5, 100), 100)

    def test_waiting_segment_is_not_safe(self) -> None:
        self.assertEqual(plan.archived_until(archiver(oldest_waiting=40), info(), 5, 100), 40)

    def test_segment_that_only_the_server_calls_archived_is_not_safe(self) -> None:
        lost = archiver(last_segment="000000010000000000000008")
        self.assertEqual(plan.archived_until(lost, info(), 5, 100), 5)
        self.assertEqual(plan.archived_until(lost, [], 5, 100), 5)

    def test_names_that_are_no_segments_are_ignored(self) -> None:
        self.assertEqual(plan.archived_until(archiver(last_segment="00000002.history"), info(), 5, 100), 100)
        backup = archiver(last_segment=f"{SEGMENT}.00000028.backup")
        self.assertEqual(plan.archived_until(backup, info(), 5, 100), 100)

    def test_server_without_archive_is_never_safe(self) -> None:
        self.assertEqual(plan.archived_until(archiver(mode="off"), info(), 5, 100), 0)
        self.assertEqual(plan.archived_until(archiver(timeout_s=0), info(), 5, 100), 0)


if __name__ == "__main__":
    unittest.main()
