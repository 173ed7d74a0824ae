"""Runs the programs to find out which variables, subcommands and settings they accept."""

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .model import Findings

# Variables that libraries of the programs read.
LIBRARY_VARIABLES = {"MIMALLOC_PURGE_DELAY"}
# The same for a program that knows TIDINGS_FILES_BUCKET.
BUCKET_VARIABLES = {"AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
BUCKET_VARIABLES |= {"AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_BASE_URL"}
# The values of variables that are known only at run time, where `a-pod` is no valid value.
RUN_TIME_VALUES = {"TIDINGS_FILES_BUCKET": "s3://bucket/prefix", "AWS_ENDPOINT_URL": "https://s3.example.com"}
# The contents of secret files when settings are tested.
STAND_INS = {
    "REDIS_URL_FILE": "redis://:secret@redis:6379/",
    "DATABASE_URL_FILE": "postgres://tidings:secret@postgresql:5432/tidings",
    # The private key with the number 1.
    "TIDINGS_PUSH_VAPID_KEY_FILE": "A" * 41 + "AE",
}
STAND_IN = "0123456789abcdef0123456789abcdef"
# Variables that name a folder, which must exist.
FOLDERS = {"TIDINGS_FILES_FOLDER"}
# Variables that name the file of a certificate, and those that name the file of its key.
CERTIFICATES = re.compile(r"TIDINGS_(INTERNAL_TLS_(CERT|CA|CLIENT_CERT|CLIENT_CA)|PROBE_CA_FILE)$")
KEYS = re.compile(r"TIDINGS_INTERNAL_TLS_(KEY|CLIENT_KEY)$")


@cache
def certificate() -> tuple[str, str]:
    """A certificate and its key (PEM)."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test"]
        + ["-days", "2", "-keyout", "-", "-out", "-"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    key, separator, rest = made.partition("-----END PRIVATE KEY-----\n")
    return rest, key + separator


def stand_in(variable: str) -> str | None:
    """The content of the file that a variable names; None for other variables."""
    if CERTIFICATES.match(variable):
        return certificate()[0]
    if KEYS.match(variable):
        return certificate()[1]
    return STAND_INS.get(variable, STAND_IN) if variable.endswith("_FILE") else None


class Programs:
    """The programs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The path of a program."""
        return self.folder / name

    @cache
    def ask(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Runs a program with an empty environment."""
        return subprocess.run(
            [self.path(name), *arguments], env={}, capture_output=True, text=True, timeout=30, check=False
        )

    def variables(self, name: str, *arguments: str) -> set[str]:
        """The variables that a program reads."""
        return set(re.findall(r"\[env: (\w+)", self.ask(name, *arguments, "--help").stdout))

    def takes(self, name: str, *arguments: str) -> bool:
        """Whether a program has a command with these words."""
        return self.ask(name, *arguments, "--help").returncode == 0

    def check_arguments(self, name: str, words: list[str], where: str, findings: Findings) -> None:
        """Checks the subcommands and flags of a container."""
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
        """Checks the variables of a container: the program knows each one, and accepts all of them together."""
        known = self.variables(name) | LIBRARY_VARIABLES
        if "TIDINGS_FILES_BUCKET" in known:
            known |= BUCKET_VARIABLES
        for variable in sorted(environment.keys() - known):
            findings.add("environment", where, f"{name} reads no {variable}")
        if "--check-config" not in self.ask(name, "--help").stdout:
            return
        why = self._check_config(name, tuple(sorted(environment.items())))
        if why:
            findings.add("environment", where, f"{name} --check-config: {why}")

    @cache
    def _check_config(self, name: str, environment: tuple[tuple[str, str | None], ...]) -> str:
        """The error of --check-config for these settings; empty when they are valid."""
        with tempfile.TemporaryDirectory() as folder:
            given = {}
            for variable, value in environment:
                content = stand_in(variable) if value else None
                if content is not None:
                    file = Path(folder) / variable
                    file.write_text(content)
                    value = str(file)
                if variable in FOLDERS:
                    value = folder
                given[variable] = RUN_TIME_VALUES.get(variable, "a-pod") if value is None else value
            asked = subprocess.run(
                [self.path(name), "--check-config"],
                env={"PATH": os.environ.get("PATH", "")} | given,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            return " ".join((asked.stderr or asked.stdout or "it failed").split()) if asked.returncode else ""
