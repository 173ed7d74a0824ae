"""Checks the final stages of the Dockerfile: their content, user, health check and stop signal. Checks that containers
match their images."""

import re
from pathlib import Path

from .model import Findings, Rendered, ports, settings
from .programs import Programs

# Image to program.
PROGRAMS = {
    "gateway": "tidings-gateway",
    "persistence": "tidings-persistence",
    "migrations": "tidings-migrations",
    "probe": "tidings-probe",
    "webhooks": "tidings-webhooks",
    "files": "tidings-files",
    "push": "tidings-push",
}


def program_of(image: str) -> str | None:
    """The program in an image of Tidings; `None` for any other image."""
    name = re.search(r"(?:^|/)tidings/([a-z]+)(?::|$)", image)
    return PROGRAMS.get(name[1]) if name else None


def check(stages: dict, text: str, programs: Programs | None, findings: Findings) -> None:
    """Checks the Dockerfile."""
    for name, program in PROGRAMS.items():
        stage = stages.get(name)
        if stage is None:
            findings.add("image", name, "there is no such stage")
            continue
        if stage.base != "scratch":
            findings.add("image", name, f"stands on {stage.base}, and holds more than the program")
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.last("USER") or ""):
            findings.add("image", name, "USER is no number, or root")
        if stage.last("STOPSIGNAL") != "SIGTERM":
            findings.add("image", name, "STOPSIGNAL is not SIGTERM")
        if any(keyword == "RUN" for keyword, _ in stage.instructions):
            findings.add("image", name, "runs something, where there is no shell")
        if stage.command("ENTRYPOINT") != [f"/{program}"]:
            findings.add("image", name, f"ENTRYPOINT is not /{program}")
        health = stage.health()
        if name == "migrations":
            if health or not stage.last("HEALTHCHECK"):
                findings.add("image", name, "a job has HEALTHCHECK NONE")
        elif health != [f"/{program}", "health"]:
            findings.add("image", name, "HEALTHCHECK is not the program's own")
        if programs is None:
            continue
        for words in [health[1:], stage.command("CMD")]:
            if words:
                programs.check_arguments(program, words, name, findings)
        for variable in stage.environment().keys() - programs.variables(program) - {"MIMALLOC_PURGE_DELAY"}:
            findings.add("image", name, f"{program} reads no {variable}")
    if not re.search(r"^FROM rust:\d+\.\d+\.\d+-", text, re.MULTILINE):
        findings.add("image", "tools", "the version of Rust is not exact")
    builds = re.findall(r"cargo (?:auditable )?build[^&|]*", re.sub(r"\\\n", " ", text))
    if not builds or any("--locked" not in build or "--release" not in build for build in builds):
        findings.add("image", "build", "cargo build is not --locked --release")
    if not all(build.startswith("cargo auditable") for build in builds) or not re.search(r"cargo-auditable@\d+\.\d+\.\d", text):
        findings.add("image", "build", "the programs do not list their crates (cargo auditable, of an exact version)")
    if "type=cache" not in text:
        findings.add("image", "build", "what cargo has fetched and built is not kept")




def check_containers(rendered: Rendered, stages: dict, programs: Programs | None, findings: Findings) -> None:
    """Containers of our images use the user, ports, variables and arguments of the image and its program."""
    for one in rendered.workloads():
        for container in one.containers():
            program = program_of(container.get("image", ""))
            if program is None:
                continue
            stage = stages[program.removeprefix("tidings-")]
            user = (stage.last("USER") or "").split(":")[0]
            if str(one.pod.get("securityContext", {}).get("runAsUser")) != user:
                findings.add("image", one.where, f"runs as another user than its image ({user})")
            if container.get("command"):
                findings.add("command", one.where, "the image's own program is what runs")
            environment = settings(rendered, one, container)
            _ports(one.where, environment, ports(container), stage.ports(), findings)
            if programs is not None:
                programs.check_arguments(program, container.get("args", []), one.where, findings)
                # A job gets only the variables that its subcommand reads.
                if not container.get("args") or container["args"][0].startswith("-"):
                    programs.check_environment(program, environment, one.where, findings)
                else:
                    unknown = environment.keys() - programs.variables(program, *container.get("args", []))
                    for variable in sorted(unknown):
                        findings.add("environment", one.where, f"{program} reads no {variable}")


# The programs beside the services, whose variables have names of their own.
BESIDE = ("WEBHOOKS", "FILES", "PUSH")
# The variables of each named port.
LISTENERS = {
    "http": ["TIDINGS_LISTEN", *(f"TIDINGS_{name}_LISTEN" for name in BESIDE)],
    "admin": ["TIDINGS_ADMIN_LISTEN", *(f"TIDINGS_{name}_ADMIN_LISTEN" for name in BESIDE)],
    "internal": ["TIDINGS_INTERNAL_LISTEN"],
    "metrics": ["TIDINGS_PROBE_LISTEN"],
}


def _ports(where: str, environment: dict, named: dict[str, int], exposed: set[int], findings: Findings) -> None:
    for name, port in named.items():
        address = next((environment[one] for one in LISTENERS.get(name, []) if one in environment), None)
        if address is None:
            findings.add("ports", where, f"{name}: no variable says where it listens")
        elif address not in (f"0.0.0.0:{port}", f"[::]:{port}"):
            findings.add("ports", where, f"{name} is {port}, and the program listens at {address}")
        if port not in exposed:
            findings.add("ports", where, f"{port} is not among the ports of the image")


def read(dockerfile: Path) -> str:
    """The text of the Dockerfile without comments."""
    return "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
