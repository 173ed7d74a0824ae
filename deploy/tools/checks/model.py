"""Rendered manifests, and the functions with which all checks read them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
NAME = "app.kubernetes.io/name"


class UniqueLoader(yaml.CSafeLoader):
    """Refuses YAML with a duplicate key, as Kubernetes does."""


def _mapping(loader: UniqueLoader, node: yaml.MappingNode) -> dict:
    keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"{sorted(map(str, twice))} stand twice, line {node.start_mark.line + 1}")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


UniqueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass
class Findings:
    """The findings: the broken rule, the place, and the reason."""

    found: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, rule: str, where: str, why: str) -> None:
        """Adds a finding."""
        self.found.append((rule, where, why))

    def rules(self) -> set[str]:
        """The names of the broken rules."""
        return {rule for rule, _, _ in self.found}

    def lines(self) -> list[str]:
        """The findings as lines of text."""
        return [f"{where}: {why} [{rule}]" for rule, where, why in self.found]


@dataclass
class Manifest:
    """One Kubernetes object."""

    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.data.get("kind", "")

    @property
    def name(self) -> str:
        return self.data.get("metadata", {}).get("name", "")

    @property
    def where(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def spec(self) -> dict[str, Any]:
        return self.data.get("spec", {})

    @property
    def labels(self) -> dict[str, str]:
        return self.template.get("metadata", {}).get("labels", {})

    @property
    def template(self) -> dict[str, Any]:
        """The pod template of a workload."""
        spec = self.spec.get("jobTemplate", {}).get("spec", self.spec)
        return spec.get("template", {}) if self.kind in WORKLOADS else {}

    @property
    def pod(self) -> dict[str, Any]:
        """The pod spec of a workload."""
        return self.template.get("spec", {})

    def containers(self) -> Iterator[dict[str, Any]]:
        """All containers of a workload, with its init containers."""
        yield from self.pod.get("initContainers", [])
        yield from self.pod.get("containers", [])


@dataclass
class Rendered:
    """The objects of one rendered overlay."""

    manifests: list[Manifest]

    @staticmethod
    def read(text: str) -> "Rendered":
        """Reads YAML with several documents."""
        documents = yaml.load_all(text, Loader=UniqueLoader)
        return Rendered([Manifest(one) for one in documents if one])

    def of(self, *kinds: str) -> list[Manifest]:
        """The objects of these kinds."""
        return [one for one in self.manifests if one.kind in kinds]

    def workloads(self) -> list[Manifest]:
        """The objects that run pods."""
        return self.of(*WORKLOADS)

    def named(self, kind: str, name: str) -> Manifest | None:
        """The object with this kind and name."""
        return next((one for one in self.of(kind) if one.name == name), None)


def settings(rendered: Rendered, workload: Manifest, container: dict[str, Any]) -> dict[str, str | None]:
    """The environment of a container. The value `None` means that it is known only at run time."""
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        config = rendered.named("ConfigMap", source.get("configMapRef", {}).get("name", ""))
        found.update(config.data.get("data", {}) if config else {})
    for one in container.get("env", []):
        reference = one.get("valueFrom", {}).get("configMapKeyRef")
        config = rendered.named("ConfigMap", reference["name"]) if reference else None
        value = config.data.get("data", {}).get(reference["key"]) if config else one.get("value")
        # An optional setting that is not there sets no variable.
        if value is not None or not (reference or {}).get("optional"):
            found[one["name"]] = value
    return found


def ports(container: dict[str, Any]) -> dict[str, int]:
    """The ports of a container by name."""
    return {port.get("name", ""): port["containerPort"] for port in container.get("ports", [])}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector matches these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for one in selector.get("matchExpressions", []):
        value, values = labels.get(one["key"]), one.get("values", [])
        held = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": one["key"] in labels,
            "DoesNotExist": one["key"] not in labels,
        }[one["operator"]]
        if not held:
            return False
    return True
