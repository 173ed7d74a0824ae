"""Checks that supervisors give the services enough time to stop (docs/OPERATIONS.md, "Stopping")."""

import re

from .model import Findings, Rendered, settings

# The seconds that each service may need to stop, in addition to --unready-ms and --drain-ms.
EXTRA_STOP_S = {
    "tidings-gateway": 15, "tidings-persistence": 25, "tidings-probe": 1,
    "tidings-webhooks": 20, "tidings-files": 15, "tidings-push": 15,
}  # fmt: skip
DRAIN_DEFAULT_MS = {"tidings-gateway": 10_000}
# The seconds until all proxies know that a node is stopping.
PROXY_NOTICE_S = 5


def stop_time_s(program: str, environment: dict[str, str | None]) -> float:
    """The longest time, in seconds, from the signal to the exit of a service."""
    unready = int(environment.get("TIDINGS_UNREADY_MS") or 0)
    drain = DRAIN_DEFAULT_MS.get(program, 0)
    if program == "tidings-gateway":
        drain = int(environment.get("TIDINGS_DRAIN_MS") or drain)
    return (unready + drain) / 1000 + EXTRA_STOP_S[program]


def seconds(text: str) -> float:
    """The seconds of a Compose duration, such as 1m30s."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(count) * units[unit] for count, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", text))


def check(rendered: Rendered, findings: Findings) -> None:
    """Checks all workloads of an overlay that run one of the services."""
    for one in rendered.workloads():
        if one.name not in EXTRA_STOP_S or one.name == "tidings-probe":
            continue
        container = one.pod["containers"][0]
        environment = settings(rendered, one, container)
        hook = container.get("lifecycle", {}).get("preStop", {})
        if set(hook) - {"sleep"}:
            findings.add("stopping", one.where, "preStop can only sleep: the image has no shell")
        before = hook.get("sleep", {}).get("seconds", 0)
        needed = before + stop_time_s(one.name, environment)
        grace = one.pod.get("terminationGracePeriodSeconds", 30)
        if grace < needed + PROXY_NOTICE_S:
            findings.add("stopping", one.where, f"has {grace} s to end, and takes up to {needed:.0f} s")
        unready = int(environment.get("TIDINGS_UNREADY_MS") or 0) / 1000
        if before + unready < PROXY_NOTICE_S:
            findings.add("stopping", one.where, f"refuses after {before + unready:.0f} s, when nobody has heard of it")
        leaving = unready + int(environment.get("TIDINGS_DRAIN_MS") or 0) / 1000
        if one.name == "tidings-gateway" and one.spec.get("minReadySeconds", 0) < leaving:
            why = f"goes on with the next after {one.spec.get('minReadySeconds', 0)} s, while the one before needs {leaving:.0f} s"
            findings.add("rollout", one.where, why)
