"""Reads deploy/Dockerfile for build-in-folder.sh and for the checks.

dockerfile.py perform FILE STAGE CONTEXT FOLDER   carries out COPY, ENV and RUN of a build stage in FOLDER
dockerfile.py assemble FILE STAGE FOLDER          creates the final stage in FOLDER/STAGE, and a file of its settings

It supports the instructions that the file uses, and refuses all others.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {
    "FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
    "ENTRYPOINT", "CMD",
}  # fmt: skip


@dataclass
class Stage:
    """One build stage: a FROM and the instructions after it."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def last(self, keyword: str) -> str | None:
        """The arguments of the last instruction of this kind."""
        said = [rest for found, rest in self.instructions if found == keyword]
        return said[-1] if said else None

    def environment(self) -> dict[str, str]:
        """The variables that ENV sets, with their values as written."""
        words = [word for found, rest in self.instructions if found == "ENV" for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)

    def command(self, keyword: str) -> list[str]:
        """ENTRYPOINT or CMD in its exec form."""
        said = self.last(keyword)
        return json.loads(said) if said else []

    def health(self) -> list[str]:
        """The command of HEALTHCHECK; empty for NONE."""
        said = self.last("HEALTHCHECK") or "NONE"
        return json.loads(said.split("CMD", 1)[1]) if "CMD" in said else []

    def ports(self) -> set[int]:
        """The ports that EXPOSE names."""
        return {int(port) for port in (self.last("EXPOSE") or "").split()}


def read(path: Path) -> dict[str, Stage]:
    """Reads the stages of a Dockerfile, by name."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: dict[str, Stage] = {}
    stage = None
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, _, rest = line.partition(" ")
        rest = rest.strip()
        if keyword not in KNOWN:
            sys.exit(f"{path}: {keyword} is not understood")
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name.strip()] = Stage(base.strip(), name.strip())
        elif stage is None:
            sys.exit(f"{path}: {keyword} stands before the first FROM")
        else:
            stage.instructions.append((keyword, rest))
    return stages


def ignored(patterns: list[str], path: str) -> bool:
    """Whether a .dockerignore excludes a path. The last pattern that matches the path or a folder above it decides."""
    answer = False
    for pattern in patterns:
        take = pattern.startswith("!")
        expression = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{expression}(?:/.*)?", path):
            answer = not take
    return answer


def context(folder: Path, dockerfile: Path) -> list[str]:
    """The files of the build context, relative to its folder."""
    lines = dockerfile.with_name(dockerfile.name + ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    taken = {pattern[1:].split("/")[0] for pattern in patterns if pattern.startswith("!")}
    found = []
    for top in sorted(taken):
        place = folder / top
        files = [place] if place.is_file() else (path for path in place.rglob("*") if path.is_file())
        found.extend(str(path.relative_to(folder)) for path in files)
    return [path for path in found if not ignored(patterns, path)]


def perform(dockerfile: Path, name: str, source: Path, folder: Path) -> None:
    """Carries out COPY, ARG, ENV and RUN of a stage, with FOLDER as its root."""
    environment, here = dict(os.environ), folder
    for keyword, rest in read(dockerfile)[name].instructions:
        if keyword == "WORKDIR":
            here = folder / rest.lstrip("/")
            here.mkdir(parents=True, exist_ok=True)
        elif keyword == "COPY":
            if rest != ". .":
                sys.exit(f"{dockerfile}: COPY {rest} is not understood in a build stage")
            for path in context(source, dockerfile):
                (here / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / path, here / path)
        elif keyword == "ARG":
            key, _, default = rest.partition("=")
            environment.setdefault(key, default)
        elif keyword == "ENV":
            for word in shlex.split(rest):
                key, _, value = word.partition("=")
                environment[key] = re.sub(r"\$\{(\w+)\}", lambda one: environment.get(one[1], ""), value)
        elif keyword == "RUN":
            command = re.sub(r"--mount=\S+\s+", "", rest)
            print(f"RUN {' '.join(command.split())}", file=sys.stderr, flush=True)
            done = subprocess.run(["/bin/sh", "-c", command], cwd=here, env=environment)
            if done.returncode:
                sys.exit(f"the command ended with {done.returncode}")
        else:
            sys.exit(f"{dockerfile}: {keyword} is not understood in a build stage")


def assemble(dockerfile: Path, name: str, folder: Path) -> None:
    """Creates the root file system of a final stage, and a file with the settings of the image."""
    stage = read(dockerfile)[name]
    if stage.base != "scratch":
        sys.exit(f"{name} stands on {stage.base}, which is not here")
    root = folder / "images" / name
    shutil.rmtree(root, ignore_errors=True)
    for keyword, rest in stage.instructions:
        if keyword == "COPY":
            words = re.fullmatch(r"--from=\w+ /(\S+) /(\S*)", rest)
            if words is None:
                sys.exit(f"{dockerfile}: COPY {rest} is not understood in a last stage")
            shutil.copytree(folder / words[1], root / words[2], dirs_exist_ok=True, symlinks=True)
    lines = [
        f"user={shlex.quote(stage.last('USER') or '0:0')}",
        f"entrypoint=({shlex.join(stage.command('ENTRYPOINT'))})",
        f"command=({shlex.join(stage.command('CMD'))})",
        f"health=({shlex.join(stage.health())})",
        f"environment=({shlex.join(f'{key}={value}' for key, value in stage.environment().items())})",
    ]
    (folder / "images" / f"{name}.sh").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["perform", file, stage, source, folder]:
            perform(Path(file), stage, Path(source), Path(folder))
        case ["assemble", file, stage, folder]:
            assemble(Path(file), stage, Path(folder))
        case _:
            sys.exit(__doc__)
