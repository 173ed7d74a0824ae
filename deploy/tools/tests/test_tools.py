"""deploy.sh without its tools: it reports `not checked` when a download fails, and fails for all other faults."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
PIP = subprocess.run(["python3", "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def check(**environment: str) -> tuple[int, str]:
    """Runs a copy without tools and with a pin that does not exist. Returns the exit code and the output."""
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder) / "deploy" / "tools"
        tools.mkdir(parents=True)
        shutil.copy(HERE / "deploy.sh", tools)
        (tools / "requirements.txt").write_text("tidings-is-nowhere==1.0.0\n")
        told = os.environ | {"TIDINGS_TOOLS": f"{folder}/kept"} | environment
        command = [str(tools / "deploy.sh"), "check"]
        done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@unittest.skipUnless(PIP, "there is no pip")
class Tools(unittest.TestCase):
    """See the head."""

    def test_an_index_out_of_reach_is_not_checked(self) -> None:
        code, said = check(PIP_INDEX_URL="http://127.0.0.1:9/", PIP_EXTRA_INDEX_URL="", PIP_RETRIES="1")
        self.assertEqual((code, "NOT CHECKED" in said, "0 passed, 0 failed" in said), (3, True, True), said)

    def test_a_pin_that_is_not_there_is_one(self) -> None:
        code, said = check(PIP_NO_INDEX="1")
        self.assertEqual((code, "NOT CHECKED" in said, "0 passed, 1 failed" in said), (1, False, True), said)
