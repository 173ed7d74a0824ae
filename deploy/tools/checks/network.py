"""Checks that the network policies allow all necessary connections and no others."""

from urllib.parse import urlsplit

from .model import NAME, Findings, Manifest, Rendered, ports, selects, settings

CLIENTS, MONITORING = "clients", "monitoring"
ACCESS = "tidings.example/access"
# The required ingress: the target, the name of the port, the source.
NEEDED_IN = {
    ("tidings-gateway", "http", CLIENTS),
    ("tidings-gateway", "http", "tidings-gateway"),
    ("tidings-gateway", "admin", MONITORING),
    ("tidings-persistence", "http", CLIENTS),
    ("tidings-persistence", "admin", MONITORING),
    ("tidings-persistence", "internal", "tidings-gateway"),
    ("redis-exporter", "metrics", MONITORING),
    ("tidings-probe", "metrics", MONITORING),
    ("tidings-webhooks", "http", CLIENTS),
    ("tidings-webhooks", "admin", MONITORING),
    ("tidings-files", "http", CLIENTS),
    ("tidings-files", "admin", MONITORING),
    ("tidings-push", "http", CLIENTS),
    ("tidings-push", "admin", MONITORING),
    ("postgres-exporter", "metrics", MONITORING),
}
# The required ingress of Redis and PostgreSQL, when the overlay contains them.
NEEDED_WITHIN = {
    ("redis", "redis", "tidings-gateway"),
    ("redis", "redis", "tidings-persistence"),
    ("postgresql", "postgresql", "tidings-persistence"),
    ("postgresql", "postgresql", "tidings-migrations"),
}
# The required egress ports of each service; 53 is DNS. Port 4317, for traces, is optional.
NEEDED_OUT = {
    "tidings-gateway": {53, 6379, 8080, 28081},
    "tidings-persistence": {53, 5432, 6379},
    "tidings-migrations": {53, 5432},
    "tidings-retention": {53, 5432, 6379},
    "tidings-after-restore": {53, 5432, 6379},
    "tidings-probe": {53, 443},
    "tidings-webhooks": {53, 443, 5432},
    "tidings-files": {53, 5432},
    "tidings-push": {53, 443, 5432, 6379},
    "redis-exporter": {53, 6379},
    "postgres-exporter": {53, 5432},
    "redis": {53},
    "postgresql": {53},
}
# The DNS servers: those of the cluster, and the address of the cache on each node.
NAME_SERVERS = {"kube-dns", "169.254.20.10/32"}
# Those that may go to the Internet, but to none of these networks there.
TO_INTERNET = {"tidings-webhooks", "tidings-push", "tidings-files"}
PRIVATE = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
ALLOWED_OUT = {"tidings-gateway": {4317}, "tidings-persistence": {4317}}


def check(rendered: Rendered, findings: Findings) -> None:
    """Checks all policies of an overlay."""
    policies = rendered.of("NetworkPolicy")
    denies = [
        one
        for one in policies
        if one.spec.get("podSelector") == {} and set(one.spec.get("policyTypes", [])) == {"Ingress", "Egress"}
        and not one.spec.get("ingress") and not one.spec.get("egress")
    ]  # fmt: skip
    # An overlay with only one of these jobs needs no default denial, because the other overlay has it in this namespace.
    alone = {one.name for one in rendered.workloads()} in ({"tidings-migrations"}, {"tidings-after-restore"})
    if not denies and not alone:
        findings.add("network", "policies", "nothing denies what is not allowed")
    workloads = rendered.workloads()
    let_in = {entry for one in workloads for entry in _ingress(one, policies, workloads, findings)}
    here = {one.name for one in workloads}
    needed = {entry for entry in NEEDED_IN | NEEDED_WITHIN if entry[0] in here and entry[2] in here | {CLIENTS, MONITORING}}
    for target, port, who in sorted(let_in - needed):
        findings.add("network", target, f"{who} may talk to its port {port}, and need not")
    for target, port, who in sorted(needed - let_in):
        findings.add("network", target, f"{who} may not talk to its port {port}")
    for one in workloads:
        out = _egress(one, policies, workloads, findings)
        needed_out = NEEDED_OUT.get(one.name, set()) | _bucket_ports(rendered, one)
        for port in sorted(needed_out - out):
            findings.add("network", one.where, f"may not go to port {port}")
        if 53 in needed_out & out and (asked := _name_servers(one, policies)) != NAME_SERVERS:
            findings.add("network", one.where, f"asks {sorted(asked)} for names, not {sorted(NAME_SERVERS)}")
        for port in sorted(out - needed_out - ALLOWED_OUT.get(one.name, set())):
            findings.add("network", one.where, f"may go to port {port}, and need not")


def _ingress(one: Manifest, policies: list[Manifest], workloads: list[Manifest], findings: Findings) -> set:
    found = set()
    for policy in policies:
        if not selects(policy.spec["podSelector"], one.labels):
            continue
        for rule in policy.spec.get("ingress") or []:
            if not rule.get("from") or not rule.get("ports"):
                findings.add("network", policy.where, f"lets anybody in, or to any port of {one.name}")
                continue
            for port in rule["ports"]:
                named = _name_of(one, port["port"])
                for peer in rule["from"]:
                    found |= {(one.name, named, who) for who in _who(peer, workloads, policy, findings)}
    return found


def _name_of(one: Manifest, port: object) -> str:
    for container in one.containers():
        for name, number in ports(container).items():
            if port in (name, number):
                return name
    return str(port)


def _who(peer: dict, workloads: list[Manifest], policy: Manifest, findings: Findings) -> set[str]:
    if "namespaceSelector" in peer:
        access = peer["namespaceSelector"].get("matchLabels", {}).get(ACCESS)
        if access is None:
            findings.add("network", policy.where, "lets in whole namespaces that are not marked for it")
        return {access or "any namespace"}
    if "podSelector" in peer and peer["podSelector"]:
        names = {one.name for one in workloads if selects(peer["podSelector"], one.labels)}
        return names or {value for value in [peer["podSelector"].get("matchLabels", {}).get(NAME)] if value}
    # A proxy outside the cluster's namespaces is allowed by its addresses.
    if peer.get("ipBlock", {}).get("cidr", "0.0.0.0/0") not in ("0.0.0.0/0", "::/0"):
        return {CLIENTS}
    findings.add("network", policy.where, "lets in whoever comes")
    return {"anybody"}


def _egress(one: Manifest, policies: list[Manifest], workloads: list[Manifest], findings: Findings) -> set[int]:
    found = set()
    for policy in policies:
        if "Egress" not in policy.spec.get("policyTypes", []) or not selects(policy.spec["podSelector"], one.labels):
            continue
        for rule in policy.spec.get("egress") or []:
            if not rule.get("to") or not rule.get("ports"):
                findings.add("network", policy.where, f"lets {one.name} go anywhere, or to any port")
                continue
            blocks = [peer.get("ipBlock", {}) for peer in rule["to"]]
            wide = [block for block in blocks if block.get("cidr") in ("0.0.0.0/0", "::/0")]
            if one.name in TO_INTERNET:
                wide = [block for block in wide if block["cidr"] == "::/0" or PRIVATE - set(block.get("except", []))]
            if wide:
                findings.add("network", policy.where, f"lets {one.name} go to the whole internet")
            for port in rule["ports"]:
                found |= _numbers(port["port"], rule["to"], workloads)
    return found


def _bucket_ports(rendered: Rendered, one: Manifest) -> set[int]:
    """The port of the bucket, if the workload has one."""
    for container in one.containers():
        environment = settings(rendered, one, container)
        if "TIDINGS_FILES_BUCKET" in environment:
            endpoint = urlsplit(environment.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com")
            return {endpoint.port or (80 if endpoint.scheme == "http" else 443)}
    return set()


def _name_servers(one: Manifest, policies: list[Manifest]) -> set[str]:
    """The DNS servers that it may reach by UDP and by TCP."""
    by: dict[str, set[str]] = {"UDP": set(), "TCP": set()}
    for policy in policies:
        if selects(policy.spec["podSelector"], one.labels):
            for rule in policy.spec.get("egress") or []:
                peers = rule.get("to", [])
                who = {peer.get("podSelector", {}).get("matchLabels", {}).get("k8s-app") for peer in peers}
                who |= {peer.get("ipBlock", {}).get("cidr") for peer in peers}
                for port in rule.get("ports", []):
                    if port["port"] == 53:
                        by[port.get("protocol", "TCP")] |= who - {None}
    return by["UDP"] & by["TCP"]


def _numbers(port: object, peers: list[dict], workloads: list[Manifest]) -> set[int]:
    if isinstance(port, int):
        return {port}
    found = set()
    for peer in peers:
        for one in workloads:
            if selects(peer.get("podSelector", {}), one.labels):
                found |= {ports(container)[port] for container in one.containers() if port in ports(container)}
    return found
