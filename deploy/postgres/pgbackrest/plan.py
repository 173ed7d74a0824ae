"""What the backups need next, and how old they are. Pure functions of the output of `pgbackrest info`, of the state of
PostgreSQL's archiver and of the time."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

SEGMENT = re.compile(r"[0-9A-F]{24}")


@dataclass(frozen=True)
class Schedule:
    """A full backup in each week, and a differential backup on each other day, at this hour of UTC."""

    hour: int = 2
    # Monday is 0.
    weekday: int = 6

    def last_daily(self, now: float) -> float:
        """The last time at which a backup was due."""
        today = datetime.fromtimestamp(now, timezone.utc).replace(hour=self.hour, minute=0, second=0, microsecond=0)
        return (today if today.timestamp() <= now else today - timedelta(days=1)).timestamp()

    def last_weekly(self, now: float) -> float:
        """The last time at which a full backup was due."""
        daily = datetime.fromtimestamp(self.last_daily(now), timezone.utc)
        return (daily - timedelta(days=(daily.weekday() - self.weekday) % 7)).timestamp()


def stanza(info: list) -> dict:
    """The only stanza in the output of `pgbackrest info`; empty if there is none yet."""
    return info[0] if info else {}


def good_backups(info: list) -> list[dict]:
    """The backups of the present server without a known error, the oldest first."""
    present = stanza(info).get("db", [])
    repository_ids = {one["id"] for one in present[-1:]}
    backups = stanza(info).get("backup", [])
    return [one for one in backups if not one.get("error") and one["database"]["id"] in repository_ids]


def newest(info: list, types: tuple[str, ...] = ("full", "diff", "incr")) -> float:
    """The time when the newest backup of these types ended; 0 if there is none."""
    return max((one["timestamp"]["stop"] for one in good_backups(info) if one["type"] in types), default=0)


def due(info: list, schedule: Schedule, now: float) -> str | None:
    """The type of the backup that must be made now, or `None`. A backup counts by its start, so that a long one does not
    count for the next day."""
    starts = [(one["type"], one["timestamp"]["start"]) for one in good_backups(info)]
    if not any(kind == "full" and start >= schedule.last_weekly(now) for kind, start in starts):
        return "full"
    if not any(start >= schedule.last_daily(now) for _, start in starts):
        return "diff"
    return None


def last_segment(info: list) -> str:
    """The newest segment of the write-ahead log in the archive; empty if there is none."""
    found = [one["max"] for one in stanza(info).get("archive", []) if one.get("max")]
    return max(found, default="")


def archived_until(archiver: dict, info: list, before: float, now: float) -> float:
    """The time until which the write-ahead log is in the archive. `before` is the last answer, which stays valid while
    the log does not get further.

    The server may not archive (`archive_mode`), may keep the current segment for ever (`archive_timeout`), or may use a
    command that succeeds without an effect. Then nothing proves that the log is safe."""
    if archiver["mode"] == "off" or archiver["timeout_s"] == 0:
        return 0
    last_archived = SEGMENT.match(archiver["last_segment"] or "")
    if last_archived and last_archived[0] > last_segment(info):
        return before
    return archiver["oldest_waiting"] or now
