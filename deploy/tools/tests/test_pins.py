"""All images have exact versions, and the check finds each fault in them."""

import shutil
import tempfile
import unittest
from pathlib import Path

from checks import pins
from checks.model import Findings
from tests.broken import refused

import check

PGBACKREST, GRAFANA = "postgres/pgbackrest/Dockerfile", "grafana/Dockerfile"
COMPOSE, DOCKERFILE, DEV = "deploy/compose.yaml", "deploy/Dockerfile", "k8s/overlays/dev/redis.yaml"
REDIS = next(image for image in pins.places(check.ROOT) if image.startswith("redis:"))
VERSION, DIGEST = REDIS.removeprefix("redis:").split("@")


def findings(change: tuple[str, str, str]) -> Findings:
    """The findings after a text was replaced in a file of a copy."""
    file, old, new = change
    found = Findings()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("compose.yaml", "Dockerfile", "compose/redis-cluster.yaml", PGBACKREST, GRAFANA):
            (root / "deploy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(check.ROOT / "deploy" / name, root / "deploy" / name)
        shutil.copytree(check.ROOT / "k8s", root / "k8s")
        text = (root / file).read_text()
        assert old in text, old
        (root / file).write_text(text.replace(old, new))
        pins.check(root, found)
    return found


UNCHANGED = (COMPOSE, REDIS, REDIS)
BROKEN = [
    ("pin", "a tag that moves", (COMPOSE, f"redis:{VERSION}@{DIGEST}", "redis:latest")),
    ("pin", "a version that is not exact", (COMPOSE, VERSION, "7.4-alpine3.21")),
    ("pin", "a store without a digest", (COMPOSE, f"@{DIGEST}", "")),
    ("pin", "a compiler without a digest", (DOCKERFILE, "@sha256:", "-sha256-")),
    ("pin", "a version with a known hole", (COMPOSE, VERSION, "7.4.1-alpine3.20")),
    ("pin", "Grafana without a digest", (f"deploy/{GRAFANA}", "13.2.3@sha256:", "13.2.3-sha256-")),
    ("pin", "another version on a cluster", (DEV, VERSION, "7.4.12-alpine3.21")),
    ("pin", "another digest on a cluster", (DEV, DIGEST[-8:], "00000000")),
]


class Pins(unittest.TestCase):
    """See the head."""

    def test_what_is_shipped_is_well(self) -> None:
        self.assertEqual(findings(UNCHANGED).lines(), [])

    def test_all_places_are_read(self) -> None:
        files = {file for files in pins.places(check.ROOT).values() for file in files}
        dockerfiles = {f"deploy/{name}" for name in (PGBACKREST, GRAFANA)}
        self.assertLessEqual({COMPOSE, DOCKERFILE, DEV, "deploy/compose/redis-cluster.yaml", *dockerfiles}, files)


refused(Pins, findings, UNCHANGED, BROKEN)
