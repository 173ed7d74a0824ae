"""Checks that gateways and persistence agree on TLS between them, and that cert-manager makes the certificates."""

from urllib.parse import urlsplit

from .model import Findings, Manifest, Rendered, settings
from .references import secrets

PERSISTENCE_SIDE = ("TIDINGS_INTERNAL_TLS_CERT", "TIDINGS_INTERNAL_TLS_KEY")
GATEWAY_SIDE = ("TIDINGS_INTERNAL_TLS_CLIENT_CERT", "TIDINGS_INTERNAL_TLS_CLIENT_KEY")


def check(rendered: Rendered, findings: Findings) -> None:
    """Checks an overlay that has both services."""
    both = [rendered.named("Deployment", f"tidings-{name}") for name in ("gateway", "persistence")]
    gateway, persistence = both
    if gateway is None or persistence is None:
        return
    asks, serves = (settings(rendered, one, next(one.containers())) for one in (gateway, persistence))
    urls = [urlsplit(url) for url in (asks.get("TIDINGS_PERSISTENCE_URLS") or "").split(",")]
    is_on = all(serves.get(name) for name in PERSISTENCE_SIDE)
    for url in urls:
        if (url.scheme == "https") != is_on:
            findings.add("internal-tls", gateway.where, f"{url.geturl()}, but persistence has {'' if is_on else 'no '}TLS")
    if bool(asks.get("TIDINGS_INTERNAL_TLS_CA")) != is_on:
        findings.add("internal-tls", gateway.where, "TIDINGS_INTERNAL_TLS_CA and the certificate of persistence go together")
    if serves.get("TIDINGS_INTERNAL_TLS_CLIENT_CA") and not all(asks.get(name) for name in GATEWAY_SIDE):
        findings.add("internal-tls", gateway.where, "persistence demands a certificate of gateways, which have none")
    _certificates(rendered, gateway, "client auth", set(), findings)
    _certificates(rendered, persistence, "server auth", {url.hostname or "" for url in urls}, findings)


def _certificates(rendered: Rendered, user: Manifest, usage: str, names: set[str], findings: Findings) -> None:
    """Checks the certificate of each secret of `user` that has a private key of TLS."""
    for secret in {name for name, key in secrets(user) if key == "tls.key"}:
        made = [one for one in rendered.of("Certificate") if one.spec["secretName"] == secret]
        if len(made) != 1:
            findings.add("internal-tls", user.where, f"{len(made)} certificates are written to {secret}")
            continue
        spec = made[0].spec
        if usage not in spec.get("usages", []):
            findings.add("internal-tls", made[0].where, f"lacks the usage {usage}")
        for name in sorted(names - set(spec.get("dnsNames", []))):
            findings.add("internal-tls", made[0].where, f"lacks the name {name}")
        if rendered.named(spec["issuerRef"]["kind"], spec["issuerRef"]["name"]) is None:
            findings.add("internal-tls", made[0].where, f"{spec['issuerRef']['name']} is not there")
