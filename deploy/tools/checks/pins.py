"""Checks the third-party images in compose.yaml with its overlays, in k8s/ and in the Dockerfiles: each has an exact
version, all places name the same, those that hold data, face clients or compile have a digest, and none has a known
hole. Renovate (renovate.json) changes versions and digests in all places at once."""

import re
from collections import defaultdict
from pathlib import Path

from .images import program_of
from .model import Findings

# These need a digest, because a tag can be moved to another content.
WITH_DIGEST = {"grafana/grafana", "haproxy", "postgres", "prom/alertmanager", "prom/prometheus", "redis", "rust"}
# PostgreSQL has two numbers since version 10. All other versions have three.
TWO_NUMBERS = {"postgres"}
# The first version of the series in use that is safe. Redis: scripts that execute code (CVE-2025-49844 until 7.4.6) and
# a use after free that a client can reach (CVE-2026-23479 until 7.4.9).
LEAST = {"redis": (7, 4, 9)}
REFERENCE = re.compile(r"^(?P<name>[a-z0-9.\-_/]+):v?(?P<version>\d+(\.\d+)*)(-[\w.-]+)?(?P<digest>@sha256:[0-9a-f]{64})?$")


def places(root: Path) -> dict[str, list[str]]:
    """The images in the files of the repository, each with its files."""
    found = defaultdict(list)
    files = [*(root / "deploy").glob("compose.yaml"), *(root / "deploy/compose").glob("*.yaml"), *(root / "k8s").rglob("*.yaml")]
    for path in sorted(files):
        for image in re.findall(r"^[\s-]*image: *['\"]?([^\s'\"#]+)", path.read_text(), re.MULTILINE):
            found[re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image)].append(str(path.relative_to(root)))
    for path in sorted((root / "deploy").rglob("Dockerfile")):
        stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?", path.read_text(), re.MULTILINE)
        for base, _ in stages:
            if base != "scratch" and base not in {name for _, name in stages}:
                found[base].append(str(path.relative_to(root)))
    return found


def check(root: Path, findings: Findings) -> None:
    """Checks all images, except those that are built here."""
    by_name = defaultdict(set)
    for image, files in places(root).items():
        if program_of(image) or program_of(f"{image}:x"):
            continue
        where = f"{image} ({', '.join(sorted(set(files)))})"
        found = REFERENCE.match(image)
        if found is None:
            findings.add("pin", where, "has no exact version")
            continue
        name, numbers = found["name"], tuple(map(int, found["version"].split(".")))
        by_name[name].add(image)
        if len(numbers) < (2 if name in TWO_NUMBERS else 3):
            findings.add("pin", where, "has no exact version")
        if name in WITH_DIGEST and not found["digest"]:
            findings.add("pin", where, "has no digest")
        if numbers < LEAST.get(name, ()):
            findings.add("pin", where, f"has known holes, which {'.'.join(map(str, LEAST[name]))} closes")
    for name, images in by_name.items():
        if len(images) > 1:
            findings.add("pin", name, f"has several versions: {sorted(images)}")
