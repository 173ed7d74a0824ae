"""Checks the backups of compose.yaml: the server archives its write-ahead log with the settings that the other services
read, the archive is encrypted and kept long enough, and both the schedule and the rehearsal use the same repository."""

import configparser
import re
from pathlib import Path

from .model import Findings

SERVICES = ("postgresql", "backup", "rehearsal")
REPOSITORY, SECRETS = "/var/lib/pgbackrest", "./compose/secrets/pgbackrest:/etc/pgbackrest/conf.d:ro"
STATE = "/var/lib/backup-state"
# What OPERATIONS promises: any moment of the last four weeks, and the loss of at most a minute and a segment.
LEAST_FULL, MOST_ARCHIVE_S = 4, 60


def check(compose: dict, folder: Path, findings: Findings) -> None:
    """Checks the services of a compose file. Its paths are relative to `folder`."""
    services = compose["services"]
    for name in SERVICES:
        if name not in services:
            findings.add("backup", name, "is not there")
            return
    config = folder / "postgres" / "pgbackrest" / "pgbackrest.conf"
    settings = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    settings.read(config)
    _archive(services["postgresql"], settings, findings)
    _retention(settings, findings)
    for name in SERVICES:
        _repository(name, services[name], services["postgresql"], settings, findings)
    if services["backup"].get("command") != ["run"] or services["backup"].get("profiles"):
        findings.add("backup", "backup", "does not run the schedule")
    written, read = _mount(services["rehearsal"], STATE), _mount(services["backup"], STATE)
    if not written or written[:1] != read[:1] or "ro" in written:
        findings.add("backup", "rehearsal", "backup does not read the time that it writes")
    if _mount(services["rehearsal"], "/var/lib/postgresql/data"):
        findings.add("backup", "rehearsal", "could touch the data of the server")
    scripts = {Path(one).name for one in re.findall(r"/opt/backup/(\w+\.py)", str([services[name] for name in SERVICES]))}
    copied = (config.parent / "Dockerfile").read_text()
    for script in sorted(scripts):
        if f"pgbackrest/{script}" not in copied or not (config.parent / script).exists():
            findings.add("backup", script, "is not in the image")


def _mount(service: dict, path: str) -> list[str]:
    """The parts of the volume at a path."""
    parts = [one.split(":") for one in service.get("volumes", [])]
    return next((one for one in parts if one[1] == path), [])


def _archive(server: dict, settings: configparser.ConfigParser, findings: Findings) -> None:
    words = [str(word) for word in server.get("command", [])]
    server_settings = dict(word.split("=", 1) for word in words if "=" in word)
    stanza = server.get("environment", {}).get("PGBACKREST_STANZA", "")
    if server_settings.get("archive_mode") != "on":
        findings.add("backup", "postgresql", f"archive_mode is {server_settings.get('archive_mode')}")
    if server_settings.get("archive_command") != f"pgbackrest --stanza={stanza} archive-push %p" or stanza not in settings:
        findings.add("backup", "postgresql", f"archive_command is {server_settings.get('archive_command')}")
    timeout = server_settings.get("archive_timeout", "0")
    if not timeout.isdigit() or not 0 < int(timeout) <= MOST_ARCHIVE_S:
        findings.add("backup", "postgresql", f"archive_timeout is {timeout}, and not 1 to {MOST_ARCHIVE_S}")


def _retention(settings: configparser.ConfigParser, findings: Findings) -> None:
    options = settings["global"]
    if options.get("repo1-retention-full-type") != "count" or int(options.get("repo1-retention-full", "0")) < LEAST_FULL:
        findings.add("backup", "pgbackrest.conf", f"keeps fewer than {LEAST_FULL} full backups")
    for name in ("repo1-retention-archive", "archive-push-queue-max"):
        if name in options:
            findings.add("backup", "pgbackrest.conf", f"{name} makes holes in the archive")


def _repository(name: str, service: dict, server: dict, settings: configparser.ConfigParser, findings: Findings) -> None:
    if _mount(service, REPOSITORY)[:1] != _mount(server, REPOSITORY)[:1] or not _mount(service, REPOSITORY):
        findings.add("backup", name, "has another repository than the server")
    if settings["global"].get("repo1-path") != REPOSITORY:
        findings.add("backup", "pgbackrest.conf", f"the repository is not in {REPOSITORY}")
    if SECRETS not in service.get("volumes", []):
        findings.add("backup", name, "does not read the password of the repository")
    for variable, value in server.get("environment", {}).items():
        if variable.startswith("PGBACKREST_") and service.get("environment", {}).get(variable) != value:
            findings.add("backup", name, f"{variable} is not {value}")
    if service.get("image") != server.get("image"):
        findings.add("backup", name, "has another image than the server")
