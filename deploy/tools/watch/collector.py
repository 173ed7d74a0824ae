"""Checks deploy/otel/collector.yaml, alone and together with backend.yaml: a collector can start with it, and it meets
our rules. The check reads only the files, because no package contains the collector. Prints the findings, and exits
with 1 if there is one."""

import sys

import yaml

from expressions import ROOT

FOLDER = ROOT / "deploy" / "otel"
SECTIONS = {"receivers", "processors", "exporters", "extensions", "connectors", "service"}


def check(config):
    for section in sorted(set(config) - SECTIONS):
        yield f"a collector knows no {section}"
    service = config["service"]
    for name in service.get("extensions", []):
        if name not in config.get("extensions", {}):
            yield f"the extension {name} is used and not set up"
    used = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline, parts in service["pipelines"].items():
        for section, names in used.items():
            names.update(parts.get(section, []))
            for name in parts.get(section, []):
                if name not in config.get(section, {}):
                    yield f"{pipeline}: {name} is none of the {section}"
        for section in ("receivers", "exporters"):
            if not parts.get(section):
                yield f"{pipeline}: has no {section}"
        processors = parts.get("processors", [])
        if processors[:1] != ["memory_limiter"] or processors[-1:] != ["batch"]:
            yield f"{pipeline}: memory_limiter must come first and batch last"
    for section, names in used.items():
        for name in sorted(set(config.get(section, {})) - names):
            yield f"{name} of the {section} is set up and not used"
    if "grpc" not in config["receivers"]["otlp"]["protocols"]:
        yield "nothing listens where the services send (OTLP over gRPC)"
    limiter = config["processors"]["memory_limiter"]
    if not 0 < limiter["spike_limit_mib"] < limiter["limit_mib"]:
        yield "memory_limiter: the spike must be below the limit"


def exporters(config):
    return {name.split("/")[0] for parts in config["service"]["pipelines"].values() for name in parts["exporters"]}


def merged(below, above):
    """Merges two files as a collector does: maps by key, and every other value from the second file."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: merged(below[key], value) if key in below else value for key, value in above.items()}


def check_all():
    alone, backend = (yaml.safe_load((FOLDER / name).read_text()) for name in ("collector.yaml", "backend.yaml"))
    both = merged(alone, backend)
    yield from (f"collector.yaml: {what}" for what in check(alone))
    yield from (f"collector.yaml with backend.yaml: {what}" for what in check(both))
    # Without a backend, traces that cannot be sent would fill the log and the queue of the collector.
    if exporters(alone) != {"debug"}:
        yield "collector.yaml: sends on by itself"
    if "otlp" not in exporters(both):
        yield "backend.yaml: does not send on"


if __name__ == "__main__":
    wrong = list(check_all())
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
