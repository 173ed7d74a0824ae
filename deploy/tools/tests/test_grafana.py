"""The image of Grafana has all dashboards, in the folder from which Grafana reads them."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import yaml

import check
import dockerfile
from checks import compose

GRAFANA = check.ROOT / "deploy" / "grafana"
BUILT = "src/deploy/grafana/dashboards"


class Image(unittest.TestCase):
    """Performs the stages of deploy/grafana/Dockerfile."""

    def test_build_stage_makes_a_dashboard_of_each_source(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            apk = Path(folder) / "bin" / "apk"
            apk.parent.mkdir()
            apk.write_text("#!/bin/sh\n")
            apk.chmod(0o755)
            stage = Path(folder) / "stage"
            stage.mkdir()
            with mock.patch.dict(os.environ, PATH=f"{apk.parent}:{os.environ['PATH']}"):
                dockerfile.perform(GRAFANA / "Dockerfile", "dashboards", GRAFANA.parent, stage)
            built = {path.stem for path in (stage / BUILT).glob("*.json")}
            files = {path.suffix for path in stage.rglob("*") if path.is_file()}
        self.assertEqual(built, {path.stem for path in (GRAFANA / "source").glob("*.yml")})
        self.assertEqual(files, {".json", ".py", ".yml"})

    def test_dashboards_are_where_grafana_reads_them(self) -> None:
        provided = yaml.safe_load((GRAFANA / "provisioning/dashboards/tidings.yml").read_text())
        path = provided["providers"][0]["options"]["path"]
        copied = dockerfile.read(GRAFANA / "Dockerfile")["grafana"].last("COPY")
        self.assertEqual(copied, f"--from=dashboards /{BUILT} {path}")
        service = compose.load(check.ROOT / "deploy/compose.yaml")["services"]["grafana"]
        self.assertEqual(service["build"], {"context": ".", "dockerfile": "grafana/Dockerfile"})
        mounted = [volume.split(":")[1] for volume in service["volumes"]]
        self.assertFalse([folder for folder in mounted if Path(path).is_relative_to(folder)])
