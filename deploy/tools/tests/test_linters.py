"""Each external linter finds its kind of fault with the settings that deploy.sh gives it."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.broken import RENDERED

TOOLS = Path(os.environ.get("TIDINGS_LINTERS", "/nonexistent"))
SCORE = os.environ.get("TIDINGS_SCORE", "").split()
HERE = Path(__file__).resolve().parents[1]


def outcome(command: list[str], name: str, text: str) -> tuple[int, str]:
    """The exit code and the output of a linter for a file with this name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(text)
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@unittest.skipUnless(TOOLS.is_dir(), "the linters are not installed")
class Linters(unittest.TestCase):
    """See the head."""

    def test_hadolint_refuses_packages_without_versions(self) -> None:
        code, said = outcome([str(TOOLS / "hadolint")], "Dockerfile", "FROM debian:12\nRUN apt-get install -y curl\n")
        self.assertEqual((code, "DL3008" in said), (1, True), said)

    def test_shellcheck_refuses_what_is_not_quoted(self) -> None:
        code, said = outcome([str(TOOLS / "shellcheck")], "a.sh", "#!/bin/sh\nrm -rf $1\n")
        self.assertEqual((code, "SC2086" in said), (1, True), said)

    def test_yamllint_refuses_a_key_that_stands_twice(self) -> None:
        command = [str(TOOLS / "yamllint"), "--strict", "--config-file", str(HERE / "yamllint.yaml")]
        code, said = outcome(command, "a.yaml", "a: 1\na: 2\n")
        self.assertEqual((code, "key-duplicates" in said), (1, True), said)


@unittest.skipUnless(RENDERED.is_dir() and SCORE, "kube-score is not installed, or nothing was rendered")
class KubeScore(unittest.TestCase):
    """kube-score finds faults that our own rules do not check."""

    def refused(self, old: str, new: str, by: str) -> None:
        text = (RENDERED / "production.yaml").read_text()
        self.assertTrue(old in text, f"{old!r} is not there")
        code, said = outcome(SCORE, "production.yaml", text.replace(old, new))
        lines = [line for line in said.splitlines() if not line.startswith(("[OK]", "[SKIPPED]"))]
        self.assertEqual((code, any(by in line for line in lines)), (1, True), lines)

    def test_it_refuses_a_disk_without_bounds(self) -> None:
        self.refused("            ephemeral-storage: 64Mi\n", "", "phemeral")

    def test_it_refuses_a_root_that_can_be_written_to(self) -> None:
        self.refused("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "writable root filesystem")
