"""What the tests have in common: what is shipped, as it is rendered, and ways to break it."""

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
    """An overlay: not to be changed."""
    return Rendered.read((RENDERED / f"{name}.yaml").read_text())


def findings(what: Rendered, production: bool = True) -> Findings:
    """What the checks say of manifests, programs included where there are any."""
    return check.manifests(what, production, PROGRAMS)


def broken(overlay: str, how: Break) -> Findings:
    """What they say once something was broken."""
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
    """Without this object."""
    before = len(what.manifests)
    what.manifests = [one for one in what.manifests if (one.kind, one.name) != (kind, name)]
    assert len(what.manifests) == before - 1


def setting(what: Rendered, name: str, value: str) -> None:
    """Another value, or another variable, in the environment of gateways."""
    environment = container(what)["env"]
    found = [one for one in environment if one["name"] == name]
    if found:
        found[0]["value"] = value
    else:
        environment.append({"name": name, "value": value})


def one_by_one(case: type[unittest.TestCase], what: str, body: Callable[[unittest.TestCase], None]) -> None:
    """One more test, named by what it is of."""
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
    """A test for each line of a list: the rule that must say so, what is broken, and how. Whole: breaks nothing; what is
    said of that already does not count."""
    before = cache(lambda: set(check_broken(whole).found))
    for rule, what, how in cases:

        def body(test: unittest.TestCase, rule: str = rule, what: str = what, how: Any = how) -> None:
            if not possible:
                test.skipTest("the programs are not built, or do not know how")
            found = Findings([one for one in check_broken(how).found if one not in before()])
            test.assertIn(rule, found.rules(), f"{what}: {found.lines()}")

        one_by_one(case, f"refused: {what}", body)
