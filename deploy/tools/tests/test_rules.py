"""The links of alerts to the runbook: by their base of an installation, or by none."""

import unittest

import rules

SHIPPED = "a: 1\nrunbook_url: docs/RUNBOOK.md#tidingsnogateway\nsummary: docs/RUNBOOK.md#else\n"


class Links(unittest.TestCase):
    """See the head."""

    def test_a_base_is_put_before_and_taken_off(self) -> None:
        links = rules.based(SHIPPED, "https://git.example.com/main")
        self.assertIn("runbook_url: https://git.example.com/main/docs/RUNBOOK.md#tidingsnogateway\n", links)
        self.assertIn("summary: docs/RUNBOOK.md#else\n", links)
        other = rules.based(links, "https://else.example.com/")
        self.assertEqual(other, links.replace("git.example.com/main", "else.example.com"))
        self.assertEqual(rules.based(links, ""), SHIPPED)

    def test_every_alert_has_such_a_link(self) -> None:
        text = rules.wrapped()
        self.assertEqual(text.count("runbook_url: docs/RUNBOOK.md#"), text.count("- alert: "))
