"""What the programs take, asked of the programs themselves: variables, subcommands, and whether settings make sense."""

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .model import Findings

# Variables that are not settings of ours, but of what the programs are made with.
OTHERS = {"MIMALLOC_PURGE_DELAY"}
# What stands in for a secret's file when settings are tried.
STAND_INS = {
    "REDIS_URL_FILE": "redis://:secret@redis:6379/",
    "DATABASE_URL_FILE": "postgres://tidings:secret@postgresql:5432/tidings",
}
STAND_IN = "0123456789abcdef0123456789abcdef"


class Programs:
    """The programs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where one lies."""
        return self.folder / name

    @cache
    def ask(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Runs one with nothing in its environment."""
        return subprocess.run(
            [self.path(name), *arguments], env={}, capture_output=True, text=True, timeout=30, check=False
        )

    def variables(self, name: str, *arguments: str) -> set[str]:
        """The variables that it reads."""
        return set(re.findall(r"\[env: (\w+)", self.ask(name, *arguments, "--help").stdout))

    def takes(self, name: str, *arguments: str) -> bool:
        """Whether these words are a command of it."""
        return self.ask(name, *arguments, "--help").returncode == 0

    def check_arguments(self, name: str, words: list[str], where: str, findings: Findings) -> None:
        """Subcommands and flags of a container."""
        named = []
        for word in words:
            if word.startswith("-"):
                break
            named.append(word)
        if not self.takes(name, *named):
            findings.add("command", where, f"{name} does not take {' '.join(named)}")
            return
        text = self.ask(name, *named, "--help").stdout
        for word in words:
            flag = word.split("=")[0]
            if flag.startswith("--") and not re.search(rf"{re.escape(flag)}[\s,=]", text):
                findings.add("command", where, f"{name} has no {flag}")

    def check_environment(self, name: str, environment: dict[str, str | None], where: str, findings: Findings) -> None:
        """Variables of a container: all known, and together what the program can work with."""
        known = self.variables(name)
        for variable in sorted(environment.keys() - known - OTHERS):
            findings.add("environment", where, f"{name} reads no {variable}")
        if "--check-config" not in self.ask(name, "--help").stdout:
            return
        why = self._tried(name, tuple(sorted(environment.items())))
        if why:
            findings.add("environment", where, f"{name} --check-config: {why}")

    @cache
    def _tried(self, name: str, environment: tuple[tuple[str, str | None], ...]) -> str:
        """What --check-config has against these settings; nothing: they are well."""
        with tempfile.TemporaryDirectory() as folder:
            given = {}
            for variable, value in environment:
                if variable.endswith("_FILE"):
                    file = Path(folder) / variable
                    file.write_text(STAND_INS.get(variable, STAND_IN))
                    value = str(file)
                given[variable] = "a-pod" if value is None else value
            asked = subprocess.run(
                [self.path(name), "--check-config"],
                env={"PATH": os.environ.get("PATH", "")} | given,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            return " ".join((asked.stderr or asked.stdout or "it failed").split()) if asked.returncode else ""
