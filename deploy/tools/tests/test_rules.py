"""The links of alerts to the runbook have the base of the installation, or no base."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import rules

SHIPPED = "a: 1\nrunbook_url: docs/RUNBOOK.md#tidingsnogateway\nsummary: docs/RUNBOOK.md#else\n"


class Links(unittest.TestCase):
    """See the head."""

    def test_a_base_is_put_before_and_taken_off(self) -> None:
        links = rules.with_base(SHIPPED, "https://git.example.com/main")
        self.assertIn("runbook_url: https://git.example.com/main/docs/RUNBOOK.md#tidingsnogateway\n", links)
        self.assertIn("summary: docs/RUNBOOK.md#else\n", links)
        other = rules.with_base(links, "https://else.example.com/")
        self.assertEqual(other, links.replace("git.example.com/main", "else.example.com"))
        self.assertEqual(rules.with_base(links, ""), SHIPPED)

    def test_a_base_stays_until_another_is_given(self) -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
            file = Path(folder) / "rules.yaml"
            for base, wanted in ((None, ""), ("https://a.example.com", "https://a.example.com/"),
                                 (None, "https://a.example.com/"), ("", "")):  # fmt: skip
                os.environ.pop("RUNBOOK_BASE", None)
                if base is not None:
                    os.environ["RUNBOOK_BASE"] = base
                rules.build(file)
                self.assertEqual(rules.base_of(file.read_text()), wanted)

    def test_every_alert_has_such_a_link(self) -> None:
        text = rules.prometheus_rule()
        self.assertEqual(text.count("runbook_url: docs/RUNBOOK.md#"), text.count("- alert: "))
