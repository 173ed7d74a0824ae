"""Whether supervisors leave the services the time that their end takes (docs/OPERATIONS.md, "Stopping")."""

import re

from .model import Findings, Rendered, settings

# Behind --unready-ms and --drain-ms: what a gateway may take besides, and what persistence may.
BESIDES_S = {"tidings-gateway": 15, "tidings-persistence": 25}
DRAIN_DEFAULT_MS = {"tidings-gateway": 10_000, "tidings-persistence": 0}
# So long it takes until whoever sends connections knows that a node goes.
HEARD_OF_S = 5


def takes_s(program: str, environment: dict[str, str | None]) -> float:
    """The longest that the end of a service takes from the signal on."""
    unready = int(environment.get("TIDINGS_UNREADY_MS") or 0)
    drain = DRAIN_DEFAULT_MS[program]
    if program == "tidings-gateway":
        drain = int(environment.get("TIDINGS_DRAIN_MS") or drain)
    return (unready + drain) / 1000 + BESIDES_S[program]


def seconds(text: str) -> float:
    """A duration of Compose, such as 1m30s."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(count) * units[unit] for count, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", text))


def check(rendered: Rendered, findings: Findings) -> None:
    """All workloads of an overlay that run one of the services."""
    for one in rendered.workloads():
        if one.name not in BESIDES_S:
            continue
        container = one.pod["containers"][0]
        environment = settings(rendered, one, container)
        hook = container.get("lifecycle", {}).get("preStop", {})
        if set(hook) - {"sleep"}:
            findings.add("stopping", one.where, "preStop can only sleep: the image has no shell")
        before = hook.get("sleep", {}).get("seconds", 0)
        needed = before + takes_s(one.name, environment)
        grace = one.pod.get("terminationGracePeriodSeconds", 30)
        if grace < needed + HEARD_OF_S:
            findings.add("stopping", one.where, f"has {grace} s to end, and takes up to {needed:.0f} s")
        unready = int(environment.get("TIDINGS_UNREADY_MS") or 0) / 1000
        if before + unready < HEARD_OF_S:
            findings.add("stopping", one.where, f"refuses after {before + unready:.0f} s, when nobody has heard of it")
        leaving = unready + int(environment.get("TIDINGS_DRAIN_MS") or 0) / 1000
        if one.name == "tidings-gateway" and one.spec.get("minReadySeconds", 0) < leaving:
            why = f"goes on with the next after {one.spec.get('minReadySeconds', 0)} s, while the one before needs {leaving:.0f} s"
            findings.add("rollout", one.where, why)
