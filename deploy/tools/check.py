#!/usr/bin/env python3
"""Checks the files that run Tidings: check.py WHAT [--programs FOLDER] [ARGUMENT...]

check.py manifests FILE...     rendered manifests; a file whose name begins with `production` must meet more rules
check.py dockerfile            deploy/Dockerfile
check.py compose               deploy/compose.yaml, alone and with each overlay of OVERLAYS
check.py pins                  the versions and digests of all images

--programs: the folder of the built programs, which list their variables and commands. Without it, neither is checked.
Prints a line for each finding. Exits with 1 if there is one.
"""

import argparse
import re
import sys
from pathlib import Path

import dockerfile
from checks import compose, edge, images, internal_tls, limits, network, pins, policy, references, schemas, stopping
from checks.model import Findings, Rendered
from checks.programs import Programs

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
# The overlays of Compose in deploy/compose/.
OVERLAYS = ("redis-cluster.yaml", "files-bucket.yaml")


def documented_secrets() -> set[tuple[str, str]]:
    """The pairs (secret, key) in the table in docs/DEPLOY.md."""
    rows = re.findall(r"^\| `(tidings-[a-z-]+)` \| `([a-z.-]+)` \|", (ROOT / "docs/DEPLOY.md").read_text(), re.MULTILINE)
    return set(rows)


def documented_metrics() -> set[str]:
    """The services' metrics, from the tables in docs/OPERATIONS.md. A test compares these tables with the programs."""
    return set(re.findall(r"^\| `(tidings_\w+)` \|", (ROOT / "docs/OPERATIONS.md").read_text(), re.MULTILINE))


def manifests(rendered: Rendered, production: bool, programs: Programs | None) -> Findings:
    """Returns the findings of one overlay."""
    findings = Findings()
    if not rendered.manifests:
        findings.add("schema", "the overlay", "is empty")
    schemas.check(rendered, findings)
    if findings.found:
        # The other checks would fail on an object that its schema refuses.
        return findings
    policy.check(rendered, findings, production)
    stopping.check(rendered, findings)
    references.check(rendered, findings, documented_secrets(), documented_metrics())
    network.check(rendered, findings)
    internal_tls.check(rendered, findings)
    images.check_containers(rendered, dockerfile.read(DOCKERFILE), programs, findings)
    limits.check_manifests(rendered, ROOT / "deploy", findings)
    edge.check_manifests(rendered, (ROOT / "deploy/haproxy/haproxy.cfg").read_text(), findings)
    return findings


def main() -> int:
    """See the head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["manifests", "dockerfile", "compose", "pins"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--programs", type=Path)
    told = parser.parse_args()
    programs = Programs(told.programs) if told.programs else None
    findings = Findings()
    if told.what == "manifests":
        for file in told.files:
            job = file.stem in ("production-migrations", "production-after-restore")
            production = file.name.startswith("production") and not job
            found = manifests(Rendered.read(file.read_text()), production, programs)
            findings.found.extend((rule, f"{file.stem}: {where}", why) for rule, where, why in found.found)
    elif told.what == "pins":
        pins.check(ROOT, findings)
    elif told.what == "dockerfile":
        images.check(dockerfile.read(DOCKERFILE), images.read(DOCKERFILE), programs, findings)
    else:
        file = ROOT / "deploy" / "compose.yaml"
        whole = {"": compose.load(file)}
        for name in OVERLAYS:
            whole[f"{name}: "] = compose.merge(whole[""], compose.load(file.parent / "compose" / name))
        for name, one in whole.items():
            found = Findings()
            compose.check(one, file.parent, programs, dockerfile.read(DOCKERFILE), found)
            findings.found.extend((rule, f"{name}{where}", why) for rule, where, why in found.found)
    for line in findings.lines():
        print(line)
    return 1 if findings.found else 0


if __name__ == "__main__":
    sys.exit(main())
