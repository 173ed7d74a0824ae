"""The Dockerfile has no findings, and the check finds each fault in it."""

import tempfile
import unittest
from pathlib import Path

import dockerfile
from checks import images
from checks.model import Findings
from tests.broken import refused

import check

TEXT = check.DOCKERFILE.read_text()


def findings(text: str) -> Findings:
    """The findings without the programs. Only the unchanged file is checked against the programs."""
    found = Findings()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(text)
        images.check(dockerfile.read(file), images.read(file), None, found)
    return found


def replaced(old: str, new: str) -> str:
    assert old in TEXT, old
    return TEXT.replace(old, new)


BROKEN: list[tuple[str, str, str]] = [
    ("image", "root", replaced("USER 65532:65532", "USER root")),
    ("image", "root by its number", replaced("USER 65532:65532", "USER 0:0")),
    ("image", "a user that is no number", replaced("USER 65532:65532", "USER nonroot")),
    ("image", "nobody at all", replaced("USER 65532:65532\n", "")),
    ("image", "a base with a shell", replaced("FROM scratch AS gateway", "FROM debian:12 AS gateway")),
    ("image", "health by a shell", replaced('CMD ["/tidings-gateway", "health"]', 'CMD ["curl", "localhost"]')),
    ("image", "no health", replaced("HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD", "#")),
    ("image", "another signal", replaced("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGQUIT")),
    ("image", "another program", replaced('ENTRYPOINT ["/tidings-gateway"]', 'ENTRYPOINT ["/tidings-persistence"]')),
    ("image", "a version of Rust that moves", replaced("rust:1.95.0-slim", "rust:1-slim")),
    ("image", "versions that are looked for anew", replaced("build --locked", "build")),
    ("image", "programs that do not list their crates", replaced("cargo auditable build", "cargo build")),
    ("image", "a tool of any version", replaced("cargo-auditable@0.7.7", "cargo-auditable")),
    ("image", "no caches", replaced("type=cache", "type=tmpfs")),
    ("image", "a stage that is gone", replaced("FROM scratch AS migrations", "FROM scratch AS schema")),
]


class Images(unittest.TestCase):
    """See the head."""

    def test_what_is_shipped_is_well(self) -> None:
        self.assertEqual(findings(TEXT).lines(), [])

    def test_an_instruction_that_is_not_known_is_told(self) -> None:
        with self.assertRaisesRegex(SystemExit, "ONBUILD"):
            findings(TEXT + "ONBUILD RUN true\n")

    def test_the_context_holds_sources_and_no_secrets(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            wanted = ["Cargo.toml", "gateway/src/main.rs", "deploy/tools/rootfs.sh"]
            others = [
                "deploy/compose/secrets/jwt_secret", "gateway/target/debug/x", ".env", "shared/.env.local", "docs/A.md",
                "deploy/tools/deploy.sh", ".git/config",
            ]  # fmt: skip
            for path in wanted + others:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text("")
            self.assertEqual(sorted(dockerfile.context(root, check.DOCKERFILE)), sorted(wanted))

    def test_an_image_is_known_by_its_name(self) -> None:
        self.assertEqual(images.program_of("registry.example.com/tidings/gateway:0.1.0"), "tidings-gateway")
        self.assertEqual(images.program_of("tidings/migrations:dev"), "tidings-migrations")
        self.assertIsNone(images.program_of("redis:7.4.1"))


refused(Images, findings, TEXT, BROKEN)
