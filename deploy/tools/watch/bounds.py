"""Compares the numbers of alarms in the pages with the rules. The rules are the source: this table names, for each row of
the table "Capacity" of docs/OPERATIONS.md and for sentences of docs/RUNBOOK.md, the alert and the number in its
expression. A change of either alone is a finding. Prints the findings, and exits with 1 if there is one."""

import re
import sys

from expressions import ROOT
from rules import load

# The alert, what its expression must contain, and what the row of OPERATIONS must contain.
CAPACITY = [
    ("TidingsFilesNearLimit", "process_max_fds > 0.85", "85 % of its file descriptors"),
    ("TidingsMemoryHigh", "job:tidings_memory_limit:bytes > 0.85", "or 85 % of its memory"),
    ("TidingsRedisCpuHigh", "[2m]) > 0.7", "70 % of a core"),
    ("TidingsRedisMemoryHigh", "(redis_memory_max_bytes > 0) > 0.8", "80 % of `maxmemory`"),
    ("TidingsBacklogOld", "oldest_unwritten_seconds > 30", "30 s for a minute"),
    ("TidingsBacklogLarge", "backlog_records > 5000", "5,000 records"),
    ("TidingsBacklogLarge", "backlog_bytes > 8388608", "or 8 MiB"),
    ("TidingsPostgresDiskHigh", "postgres_disk_used:ratio > 0.75", "75 % full"),
    ("TidingsPostgresDiskHigh", "[3d], 1209600) > 1", "or 14 days left"),
    ("TidingsPostgresConnectionsHigh", "pg_settings_max_connections > 0.85", "85 % of `max_connections`"),
    ("TidingsGatewayCpuHigh", "job:tidings_gateway_cores:limit > 0.7", "70 % of their threads"),
    ("TidingsReplicationLag", "pg_replication_lag_seconds) > 30", "30 s behind"),
    ("TidingsPostgresOldTransaction", "max_tx_duration) > 900", "15 minutes old"),
    ("TidingsClockSkew", "node_timex_offset_seconds) > 0.1", "0.1 s off"),
    ("TidingsCertificateEnds", "time() < 1209600", "14 days until its end"),
]
# The alert, what its expression must contain, and what its section of the runbook must contain.
SECTIONS = [
    ("TidingsFilesNearLimit", "> 0.85", "below 85 %"),
    ("TidingsMemoryHigh", "> 0.85", "below 85 %"),
    ("TidingsBacklogLarge", "> 5000", "below 5,000 records"),
    ("TidingsBacklogLarge", "> 8388608", "8 MiB of each shard"),
    ("TidingsRedisMemoryHigh", "> 0.8", "below 80 %"),
    ("TidingsPostgresConnectionsHigh", "> 0.85", "below 85 %"),
    ("TidingsPostgresOldTransaction", "> 900", "younger than 15 minutes"),
    ("TidingsSearchBehind", "> 300", "less than 5 minutes behind"),
    ("TidingsRedisSlow", "> 0.1", "less than 100 ms"),
    ("TidingsShardsUneven", "1.5 * avg", "more than 1.5 times the mean"),
    ("TidingsSlowCloses", "[2m])) > 0.1", "one close in 10 seconds"),
    ("TidingsRedisCpuHigh", "> 0.7", "below 70 % of a core"),
    ("TidingsGatewayCpuHigh", "> 0.7", "below 70 % of its threads"),
    ("TidingsPostgresDiskHigh", "> 0.75", "below 75 %"),
    ("TidingsPostgresDiskHigh", "1209600", "full within 14 days"),
    ("TidingsReplicationLag", "> 30", "less than 30 s behind"),
    ("TidingsClockSkew", "> 0.1", "less than 0.1 s off"),
    ("TidingsCertificateEnds", "< 1209600", "more than 14 days"),
    ("TidingsPubsubReconnecting", "[5m]", "for 5 minutes"),
    ("TidingsPersistenceHoles", "[1h]", "an hour after the last hole"),
    ("TidingsDeadLetters", "[5m]", "for five minutes"),
    ("TidingsRedisEvicts", "[1h]", "for an hour"),
    ("TidingsTooFewReplicas", "[2m]", "for two minutes"),
    ("TidingsHintsDropped", "[2m]", "for two minutes"),
    ("TidingsRestarting", "[10m]", "for ten minutes"),
    ("TidingsCauseKnown", "[5m]", "for five minutes"),
]


def contains(text, wanted):
    """Whether the text contains these words, and its number is not part of a longer one."""
    return re.search(r"(?<![\d.,])" * wanted[0].isdigit() + re.escape(wanted) + r"(?![\d]|[.,]\d)", text) is not None


def check(alerts, operations, runbook):
    capacity = re.search(r"^## Capacity\n(.*?)(?=^## )", operations, re.M | re.S)[1]
    rows = {}
    for line in capacity.splitlines():
        for name in re.findall(r"\[alert\]\(RUNBOOK\.md#(\w+)\)", line):
            rows.setdefault(name, "")
            rows[name] += " ".join(line.split()) + "\n"
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", runbook, re.M | re.S))
    for name, in_rule, in_page in CAPACITY:
        yield from one("OPERATIONS", name, alerts, rows.get(name.lower(), ""), in_rule, in_page)
    for name, in_rule, in_page in SECTIONS:
        yield from one("RUNBOOK", name, alerts, " ".join(sections.get(name, "").split()), in_rule, in_page)
    named = {name.lower() for name, _, _ in CAPACITY}
    for name in sorted(set(rows) ^ named):
        yield f"bounds.py and the rows of OPERATIONS, Capacity, do not both name {name}"


def one(page, name, alerts, text, in_rule, in_page):
    if name not in alerts:
        yield f"{page}: there is no alert {name}"
        return
    if not contains(" ".join(str(alerts[name]["expr"]).split()), in_rule):
        yield f"{name}: its rule does not have {in_rule!r}: change {page} and bounds.py with the rule"
    if not contains(text, in_page):
        yield f"{page}: the text about {name} does not have {in_page!r}, as the rule says"


if __name__ == "__main__":
    rules = [rule for _, content in load("rules") for group in content["groups"] for rule in group["rules"]]
    found = {rule["alert"]: rule for rule in rules if "alert" in rule}
    pages = [(ROOT / "docs" / f"{name}.md").read_text() for name in ("OPERATIONS", "RUNBOOK")]
    wrong = list(check(found, *pages))
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
