"""`watch.sh build` takes PyYAML also from the folder that its caller names, so that it needs no other installation."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import rules

# Writes where it searches for packages, and what it would run.
PYTHON = '#!/bin/sh\necho "$PYTHONPATH $*" >>"$CALLS"\n'


class Build(unittest.TestCase):
    """See the head."""

    def test_every_step_searches_the_folder_of_the_caller(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            python, calls = Path(folder) / "python3", Path(folder) / "calls"
            python.write_text(PYTHON)
            python.chmod(0o755)
            variables = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": "/of/caller"}
            variables |= {"CALLS": str(calls), "TIDINGS_TOOLS": folder}
            watch = rules.ROOT / "deploy/tools/watch.sh"
            subprocess.run(["bash", str(watch), "build"], env=os.environ | variables, check=True)
            steps = [line.split(" ") for line in calls.read_text().splitlines()]
        self.assertEqual([Path(words[1]).name for words in steps], ["-c", "dashboards.py", "rules.py", "routes.py"])
        for words in steps:
            self.assertIn("/of/caller", words[0].split(":"))
