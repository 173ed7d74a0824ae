"""Checks the proxies in front: limits per address with the same numbers in HAProxy and in Traefik, TLS, and a controller
of the Ingress that is maintained. The tests of HAProxy (harness/tests/operations/balancer_limits.rs) show that its
limits work; this module checks that none is missing."""

import re

from .model import Findings, Manifest, Rendered

# What haproxy.cfg must contain, and what is missing otherwise. `(32,64)`: an IPv4 address, or an IPv6 network.
HAPROXY = {
    r"tcp-request connection track-sc0 src,ipmask\(32,64\) table \w+$": "connections of an address are not counted",
    r"acl of_session query -m reg '\^\(\[\^#\]\*&\)\?sid='$": "the `sid` is not found as the gateway finds it",
    r"acl upgrade req\.fhdr_cnt\(upgrade\) gt 0$": "upgrades of Engine.IO sessions are not recognized",
    r"http-request track-sc1 src,ipmask\(32,64\) table \w+ if handshake \|\| engine !of_session \|\| engine upgrade$": "handshakes of an address are not counted",
    r"tcp-request connection reject if .*CONNECTIONS_PER_ADDRESS": "connections are not limited before TLS",
    r"tcp-request connection reject if .*HANDSHAKES_PER_ADDRESS": "handshakes are not limited before TLS",
    r"http-request deny status 429 default-errorfiles if opened_over_limit still_over_limit$": "connections over the limit are served",
    r"http-request deny status 429 default-errorfiles if too_many_handshakes$": "handshakes over the limit are served",
    r"http-error status 429 .*Retry-After": "the refusal is no problem document with Retry-After",
    r"http-request redirect .*https://.* code 308 if !\{ ssl_fc \}$": "plain HTTP is not redirected to TLS",
    r"http-after-response set-header Strict-Transport-Security .* if \{ ssl_fc \}$": "HSTS is missing",
}
# A user may have 100 connections, so an address must be allowed more.
CONNECTIONS_OF_A_USER = 100
ROUTER = "traefik.ingress.kubernetes.io/router"
MIDDLEWARES = f"{ROUTER}.middlewares"
WITH_HANDSHAKES = {"/v1/ws", "/socket.io"}


def limits_of(text: str) -> dict[str, int]:
    """The defaults of the limits in haproxy.cfg. A limit whose defaults differ is left out."""
    found = {}
    for name in ("CONNECTIONS", "HANDSHAKES"):
        defaults = set(re.findall(rf"{name}_PER_ADDRESS-(\d+)", text))
        if len(defaults) == 1:
            found[name] = int(defaults.pop())
    return found


def check_balancer(text: str, environment: dict, findings: Findings) -> None:
    """Checks haproxy.cfg, and the environment that compose.yaml gives it."""
    for pattern, why in HAPROXY.items():
        if not re.search(rf"^\s*{pattern}", text, re.MULTILINE):
            findings.add("edge", "haproxy.cfg", why)
    limits = limits_of(text)
    if limits.get("CONNECTIONS", 0) <= CONNECTIONS_OF_A_USER or "HANDSHAKES" not in limits:
        findings.add("edge", "haproxy.cfg", f"the limits per address are {limits}, or have several defaults")
    head = dict(re.findall(r"^#\s+(\w+)_PER_ADDRESS .*?(?:\n#\s{20,}.*?)?\((\d+)\)$", text, re.MULTILINE))
    if {name: int(value) for name, value in head.items()} != limits:
        findings.add("edge", "haproxy.cfg", f"its head states {head}, its rules {limits}")
    if not str(environment.get("HTTPS_PORT", "")).isdigit():
        findings.add("edge", "haproxy", "HTTPS_PORT does not say where plain HTTP is redirected to")


def check_manifests(rendered: Rendered, balancer: str, findings: Findings) -> None:
    """Checks the routes of an overlay. `balancer` is the text of haproxy.cfg."""
    there = {one.name: one for one in rendered.of("Middleware")}
    for one in rendered.of("Ingress"):
        _ingress(one, there, findings)
    for one in rendered.of("HTTPRoute"):
        for rule in one.spec["rules"]:
            paths = {match["path"]["value"] for match in rule.get("matches", [])}
            names = {two["extensionRef"]["name"] for two in rule.get("filters", [])}
            # Without Traefik's component the implementation of the cluster has its own policies.
            if there:
                _limited(one, paths, names, there, findings)
    limits = limits_of(balancer)
    for one in there.values():
        kind, spec = next(iter(one.spec.items()))
        if spec.get("sourceCriterion", {}).get("ipStrategy", {}).get("ipv6Subnet") != 64:
            findings.add("edge", one.where, "does not count by address, and by /64 in IPv6")
        told = {"inFlightReq": [spec.get("amount")], "rateLimit": [spec.get("average"), spec.get("burst")]}[kind]
        wanted = limits.get({"inFlightReq": "CONNECTIONS", "rateLimit": "HANDSHAKES"}[kind])
        if set(told) != {wanted} or (kind == "rateLimit" and spec.get("period") != "10s"):
            findings.add("edge", one.where, f"{kind} is {spec}, the limit in haproxy.cfg {wanted}")


def _ingress(one: Manifest, there: dict[str, Manifest], findings: Findings) -> None:
    annotations = one.data["metadata"].get("annotations", {})
    if one.spec.get("ingressClassName") == "nginx" or any("nginx.ingress" in name for name in annotations):
        findings.add("edge", one.where, "ingress-nginx is not maintained any more")
    if not one.spec.get("tls") or annotations.get("traefik.ingress.kubernetes.io/router.entrypoints") != "websecure":
        findings.add("edge", one.where, "is served without TLS")
    types = {path["pathType"] for rule in one.spec["rules"] for path in rule["http"]["paths"]}
    if "ImplementationSpecific" in types and annotations.get(f"{ROUTER}.pathmatcher") != "PathRegexp":
        findings.add("edge", one.where, "its regular expressions are no regular expressions for Traefik")
    namespace = one.data["metadata"].get("namespace", "")
    names = set()
    for word in annotations.get(MIDDLEWARES, "").split(","):
        found = re.fullmatch(rf"{re.escape(namespace)}-([a-z-]+)@kubernetescrd", word)
        names.add(found[1] if found else word)
    paths = {path["path"] for rule in one.spec["rules"] for path in rule["http"]["paths"]}
    _limited(one, paths, names, there, findings)


def _limited(one: Manifest, paths: set[str], names: set[str], there: dict[str, Manifest], findings: Findings) -> None:
    wanted = {"tidings-connections"} | ({"tidings-handshakes"} if paths & WITH_HANDSHAKES else set())
    if names != wanted or names - there.keys():
        findings.add("edge", one.where, f"{sorted(paths)} has the limits {sorted(names)}, not {sorted(wanted)}")
