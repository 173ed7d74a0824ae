"""HAProxy, the HTTPRoutes and the Ingresses lead the same paths to the same programs."""

import re
import unittest

from checks.model import Rendered
from tests.broken import RENDERED, rendered

import check

# A path, and the program that serves it.
SAMPLES = {
    "/v1/ws": "gateway",
    "/v1/poll": "gateway",
    "/socket.io/": "gateway",
    "/v1/rooms/files": "persistence",
    "/v1/rooms/r/messages": "persistence",
    "/v1/rooms/r/filesx": "persistence",
    "/v1/rooms/r/messages/1/filesx/f": "persistence",
    "/v1/rooms/r/members/files": "persistence",
    "/v1/filesx": "persistence",
    "/v1/me/rooms": "persistence",
    "/v1/me/devicesx": "persistence",
    "/v1/pushx": "persistence",
    "/v1/webhooksx": "persistence",
    "/v1/webhooks/w/dead": "webhooks",
    "/v1/files/f": "files",
    "/v1/rooms/r/files": "files",
    "/v1/rooms/r/files/f/complete": "files",
    "/v1/rooms/r/messages/1/files/f": "files",
    "/v1/push/key": "push",
    "/v1/me/devices": "push",
    "/v1/me/devices/d": "push",
    "/v1/me/mutes/r": "push",
}
# HAProxy names backends for several nodes in the plural.
BACKENDS = {"gateways": "gateway"}


def by_haproxy(path: str) -> str:
    """The program to which haproxy.cfg leads a path: the first rule that matches."""
    text = (check.ROOT / "deploy/haproxy/haproxy.cfg").read_text()
    for backend, conditions in re.findall(r"^ +use_backend (\w+) if (.*)$", text, re.MULTILINE):
        for kind, words in re.findall(r"\{ (path|path_beg|path_reg) (\S.*?) \}", conditions):
            found = {
                "path": path in words.split(),
                "path_beg": path.startswith(words),
                "path_reg": re.search(words, path) is not None,
            }
            if found[kind]:
                return BACKENDS.get(backend, backend)
    return "persistence"


def by_type(kind: str, value: str, path: str) -> bool:
    """Whether a path of a route matches. Envoy compares an expression with the whole path, Traefik with a part."""
    if kind == "Exact":
        return path == value
    if kind in ("Prefix", "PathPrefix"):
        return path == value or path.startswith(value.rstrip("/") + "/")
    found = re.search(value, path) is not None
    assert kind == "ImplementationSpecific" or found == (re.fullmatch(value, path) is not None), f"{value} is not anchored"
    return found


def by_routes(overlay: Rendered, path: str) -> str:
    """The program to which the routes of an overlay lead a path: an exact path wins, then the longest one."""
    routes = []
    for one in overlay.of("HTTPRoute"):
        for rule in one.spec["rules"]:
            for match in rule["matches"]:
                routes.append((match["path"]["type"], match["path"]["value"], rule["backendRefs"][0]["name"]))
    for one in overlay.of("Ingress"):
        for rule in one.spec["rules"]:
            for found in rule["http"]["paths"]:
                routes.append((found["pathType"], found["path"], found["backend"]["service"]["name"]))
    matching = [(kind == "Exact", len(value), name) for kind, value, name in routes if by_type(kind, value, path)]
    return max(matching)[2].removeprefix("tidings-")


class Routes(unittest.TestCase):
    """See the head."""

    def test_haproxy_leads_each_path_to_its_program(self) -> None:
        self.assertEqual({path: by_haproxy(path) for path in SAMPLES}, SAMPLES)

    @unittest.skipUnless(RENDERED.is_dir(), "nothing was rendered")
    def test_routes_of_kubernetes_lead_each_path_to_its_program(self) -> None:
        for name in ("production-own", "production-ingress"):
            with self.subTest(name):
                self.assertEqual({path: by_routes(rendered(name), path) for path in SAMPLES}, SAMPLES)
