"""Functions for all tests: the rendered manifests, and changes that break them."""

import copy
import os
import re
import unittest
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from checks.model import Findings, Manifest, Rendered
from checks.programs import Programs

import check

RENDERED = Path(os.environ.get("TIDINGS_RENDERED", "/nonexistent"))
PROGRAMS = Programs(Path(os.environ["TIDINGS_PROGRAMS"])) if "TIDINGS_PROGRAMS" in os.environ else None
Break = Callable[[Rendered], Any]


@cache
def rendered(name: str) -> Rendered:
    """A rendered overlay, which must not be changed."""
    return Rendered.read((RENDERED / f"{name}.yaml").read_text())


def findings(what: Rendered, production: bool = True) -> Findings:
    """The findings of the checks for manifests, with the programs if they are built."""
    return check.manifests(what, production, PROGRAMS)


def broken(overlay: str, how: Break) -> Findings:
    """The findings after a change."""
    what = copy.deepcopy(rendered(overlay))
    how(what)
    return findings(what, overlay == "production")


def gateway(what: Rendered) -> Manifest:
    """The Deployment of gateways."""
    found = what.named("Deployment", "tidings-gateway")
    assert found is not None
    return found


def container(what: Rendered, kind: str = "Deployment", name: str = "tidings-gateway") -> dict[str, Any]:
    """The container of a workload."""
    found = what.named(kind, name)
    assert found is not None
    return found.pod["containers"][0]


def drop(what: Rendered, kind: str, name: str) -> None:
    """Removes an object."""
    before = len(what.manifests)
    what.manifests = [one for one in what.manifests if (one.kind, one.name) != (kind, name)]
    assert len(what.manifests) == before - 1


def setting(what: Rendered, name: str, value: str) -> None:
    """Sets a variable in the environment of gateways."""
    environment = container(what)["env"]
    found = [one for one in environment if one["name"] == name]
    if found:
        found[0]["value"] = value
    else:
        environment.append({"name": name, "value": value})


def one_by_one(case: type[unittest.TestCase], what: str, body: Callable[[unittest.TestCase], None]) -> None:
    """Adds a test whose name is its subject."""
    name = "test_" + re.sub(r"\W+", "_", what)
    assert not hasattr(case, name), name
    setattr(case, name, body)


def refused(
    case: type[unittest.TestCase],
    check_broken: Callable[[Any], Findings],
    whole: Any,
    cases: list[tuple[str, str, Any]],
    possible: bool = True,
) -> None:
    """Makes a test for each line of a list: the rule that must find the fault, the name of the fault, and the change
    that makes it. `whole` is the change that makes no fault; its findings do not count."""
    before = cache(lambda: set(check_broken(whole).found))
    for rule, what, how in cases:

        def body(test: unittest.TestCase, rule: str = rule, what: str = what, how: Any = how) -> None:
            if not possible:
                test.skipTest("the programs are not built, or do not know how")
            found = Findings([one for one in check_broken(how).found if one not in before()])
            test.assertIn(rule, found.rules(), f"{what}: {found.lines()}")

        one_by_one(case, f"refused: {what}", body)
