//! Runs `deploy/release.sh`: what it refuses, and what it makes. The scripts and git are the real ones; `./dev`, cargo,
//! its tool for lists of components, docker and cosign are stubs that log their calls.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tidings_harness::folder::Folder;

const MANIFEST: &str = "[workspace]\nmembers = []\n\n[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\nx = { version = \"9\" }\n";
const CHANGELOG: &str =
    "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-01\n\n- something\n\n## 1.2.2\n\n- less\n";
/// Stub of cargo: builds programs that print a completion.
const CARGO_STUB: &str = r#"#!/bin/sh
echo "cargo $* commit=$TIDINGS_COMMIT" >>"$ASKED"
mkdir -p target/release
for program in gateway persistence migrations probe webhooks files push; do
  printf '#!/bin/sh\necho "$2 of '$program'"\n' >target/release/tidings-$program
  chmod +x target/release/tidings-$program
done
"#;
/// Stubs of tools: docker knows the digests of images, unless it is told to fail.
const LISTING_STUB: &str = "#!/bin/sh\necho '{\"bomFormat\":\"CycloneDX\"}'\n";
const DOCKER_STUB: &str = r#"#!/bin/sh
echo "docker $*" >>"$ASKED"
case "$*" in
  "buildx inspect"*) exit 1 ;;
  *imagetools*) printf 'sha256:%064d\n' 7 ;;
  *"--target persistence"*) [ -z "$FAILING" ] ;;
esac
"#;
const COSIGN_STUB: &str = "#!/bin/sh\necho \"cosign $*\" >>\"$ASKED\"\n";
const DOCKERFILE: &str = "RUN cargo install --locked cargo-auditable@0.7.7\nFROM scratch AS one\nARG TIDINGS_VERSION=1.2.3\nFROM scratch AS two\nARG TIDINGS_VERSION=1.2.3\n";
const KUSTOMIZATION: &str = "k8s/overlays/production/version/kustomization.yaml";
/// Stub of the build of dashboards, below the folder of the script.
const WATCH_STUB: &str =
    "#!/bin/sh\nfolder=$(dirname \"$0\")/../grafana\nmkdir -p \"$folder\"\necho \"$*\" >\"$folder/built\"\n";
const DEV_STUB: &str = "#!/bin/sh\necho \"dev $*\" >>\"$ASKED\"\n[ -z \"$FAILING\" ]\n";

struct ReleaseProject(Folder);

impl ReleaseProject {
    /// A project that can be released.
    fn new() -> Result<ReleaseProject> {
        let project = ReleaseProject(Folder::new()?);
        for name in ["release.sh", "images.sh"] {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
            project.write_executable(&format!("deploy/{name}"), &std::fs::read_to_string(script)?)?;
        }
        project.write_executable("deploy/compose.yaml", "services: {}\n")?;
        project.write_executable("docs/OPERATIONS.md", "# Operations\n")?;
        for (path, text) in [
            ("Cargo.toml", MANIFEST),
            ("CHANGELOG.md", CHANGELOG),
            ("LICENSE", "free\n"),
            ("README.md", "# It\n"),
            ("deploy/Dockerfile", DOCKERFILE),
            (KUSTOMIZATION, "images:\n  - newTag: 1.2.3\n  - newTag: \"1.2.3\"\n"),
            (".gitignore", "target/\ndist/\n/bin/\n/asked\n"),
            ("deploy/tools/watch.sh", WATCH_STUB),
            ("dev", DEV_STUB),
            ("bin/cargo", CARGO_STUB),
            ("bin/cargo-auditable", LISTING_STUB),
            ("bin/auditable2cdx", LISTING_STUB),
            ("bin/docker", DOCKER_STUB),
            ("bin/cosign", COSIGN_STUB),
        ] {
            project.write_executable(path, text)?;
        }
        project.git(&["init", "-q"])?;
        project.commit()?;
        Ok(project)
    }

    fn write_executable(&self, path: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(self.0.path()))?;
        std::fs::write(&path, text)?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
    }

    fn run(&self, program: &str, arguments: &[&str], failing: &str) -> Result<Output> {
        let folder = self.0.path();
        let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.current_dir(folder).args(arguments).env("PATH", path).env("ASKED", folder.join("asked"));
        command.env("FAILING", failing).env("HOME", folder).env_remove("CARGO_TARGET_DIR");
        for (name, value) in [("NAME", "tests"), ("EMAIL", "tests@example.org")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        Ok(command.output()?)
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run("git", arguments, "")?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn commit(&self) -> Result<()> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", "all"]).map(drop)
    }

    /// Runs the script; returns its exit code and all output.
    fn release(&self, arguments: &[&str], failing: &str) -> Result<(i32, String)> {
        let output = self.run("deploy/release.sh", arguments, failing)?;
        let printed = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        Ok((output.status.code().unwrap_or(-1), printed))
    }

    fn logged_calls(&self) -> String {
        std::fs::read_to_string(self.0.path().join("asked")).unwrap_or_default()
    }
}

#[test]
fn unfit_release_is_refused_before_any_action() -> Result<()> {
    let refused = |change: &dyn Fn(&ReleaseProject) -> Result<()>, why: &[&str]| -> Result<()> {
        let project = ReleaseProject::new()?;
        change(&project)?;
        for arguments in [&["--dry-run"][..], &[]] {
            let (code, printed) = project.release(arguments, "")?;
            ensure!(code == 1 && why.iter().all(|why| printed.contains(why)), "{why:?}: {code}: {printed}");
        }
        ensure!(project.logged_calls().is_empty(), "{}", project.logged_calls());
        Ok(())
    };
    refused(&|it| it.write_executable("new.txt", "x"), &["not committed"])?;
    refused(&|it| it.git(&["tag", "v1.2.3"]).map(drop), &["a tag v1.2.3 already"])?;
    let committed = |path: &'static str, text: String| {
        move |it: &ReleaseProject| {
            it.write_executable(path, &text)?;
            it.commit()
        }
    };
    refused(&committed("CHANGELOG.md", CHANGELOG.replace("1.2.3", "1.2.30")), &["no heading \"## 1.2.3\""])?;
    refused(&committed("CHANGELOG.md", CHANGELOG.replace("- something\n", "")), &["says nothing below"])?;
    refused(&committed("Cargo.toml", MANIFEST.replace("1.2.3", "soon")), &["no version", "soon"])?;
    let half = DOCKERFILE.replacen("1.2.3", "1.2.2", 1);
    refused(&committed("deploy/Dockerfile", half), &["deploy/Dockerfile", "\"1.2.2\", \"1.2.3\""])?;
    refused(
        &committed(KUSTOMIZATION, "images:\n  - newTag: 1.2.2\n".to_owned()),
        &[KUSTOMIZATION, "\"1.2.2\""],
    )?;
    refused(
        &|it| it.git(&["rm", "-q", KUSTOMIZATION]).and_then(|_| it.commit()),
        &[KUSTOMIZATION, "of version \"\""],
    )?;
    let all = |it: &ReleaseProject| {
        it.git(&["tag", "v1.2.3"])?;
        it.write_executable("CHANGELOG.md", "# Changelog\n")
    };
    refused(&all, &["not committed", "no heading", "a tag"])
}

#[test]
fn failed_check_or_dry_run_sets_no_tag() -> Result<()> {
    let project = ReleaseProject::new()?;
    let (code, printed) = project.release(&["--dry-run"], "")?;
    ensure!(
        code == 0 && printed.contains("would set the tag v1.2.3") && printed.contains("would run ./dev test"),
        "{printed}"
    );
    ensure!(project.logged_calls().is_empty(), "{}", project.logged_calls());
    let (code, printed) = project.release(&[], "yes")?;
    ensure!(code != 0, "{printed}");
    assert_eq!(project.logged_calls(), "dev test\n");
    assert_eq!(project.git(&["tag"])?, "");
    ensure!(project.release(&["--wrong"], "")?.0 == 2);
    Ok(())
}

#[test]
fn a_release_is_an_archive_with_its_checksum_and_a_tag() -> Result<()> {
    let project = ReleaseProject::new()?;
    let (code, printed) = project.release(&[], "")?;
    ensure!(code == 0 && printed.contains("git push origin v1.2.3"), "{printed}");
    let commit = project.git(&["rev-parse", "--short=12", "HEAD"])?;
    let calls = project.logged_calls();
    ensure!(
        calls.starts_with("dev test\ncargo auditable build --release --locked")
            && calls.contains(&format!("commit={commit}")),
        "{calls}"
    );
    assert_eq!(project.git(&["tag", "--points-at", "HEAD"])?, "v1.2.3\n");
    let packed = project.run("sh", &["-c", "cd dist && sha256sum -c *.sha256 && tar -tzf *.tar.gz"], "")?;
    let packed = String::from_utf8(packed.stdout)?;
    for part in [
        ".tar.gz: OK",
        "/bin/tidings-gateway\n",
        "/bin/tidings-migrations\n",
        "/completions/tidings-persistence.fish\n",
        "/deploy/compose.yaml\n",
        "/deploy/grafana/built\n",
        "/k8s/overlays/production/version/kustomization.yaml\n",
        "/CHANGELOG.md\n",
    ] {
        ensure!(packed.contains(part), "{part} is not in {packed}");
    }
    ensure!(!packed.contains("asked"), "{packed}");
    // A second release, without the checks, makes the same bytes.
    let first = project.run("sh", &["-c", "cat dist/*.sha256"], "")?.stdout;
    project.git(&["tag", "-d", "v1.2.3"])?;
    let (code, printed) = project.release(&["--no-gate"], "")?;
    ensure!(code == 0, "{printed}");
    assert_eq!(first, project.run("sh", &["-c", "cat dist/*.sha256"], "")?.stdout);
    assert_eq!(project.logged_calls().matches("dev test").count(), 1);
    Ok(())
}

#[test]
fn program_of_a_release_has_a_list_of_components() -> Result<()> {
    let project = ReleaseProject::new()?;
    let (code, printed) = project.release(&["--no-gate"], "")?;
    ensure!(code == 0, "{printed}");
    for program in ["gateway", "persistence", "migrations", "probe", "webhooks", "files", "push"] {
        let list = project.0.path().join(format!("dist/tidings-{program}-1.2.3.cdx.json"));
        ensure!(std::fs::read_to_string(list)?.contains("CycloneDX"));
    }
    ensure!(!project.logged_calls().contains("docker"), "{}", project.logged_calls());

    let project = ReleaseProject::new()?;
    std::fs::remove_file(project.0.path().join("bin/cargo-auditable"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|folder| folder.join("cargo-auditable").exists());
    let (code, printed) = project.release(&["--dry-run"], "")?;
    let refused = code == 1 && printed.contains("cargo install --locked cargo-auditable@0.7.7");
    ensure!(refused || installed, "{code}: {printed}");
    Ok(())
}

#[test]
fn images_are_built_for_all_platforms_and_signed() -> Result<()> {
    let project = ReleaseProject::new()?;
    let registry = ["--no-gate", "--registry", "registry.example.com"];
    let (code, told) = project.release(&[&["--dry-run"], &registry[..]].concat(), "")?;
    ensure!(code == 0 && project.logged_calls().is_empty(), "{told}\n{}", project.logged_calls());
    let (code, printed) = project.release(&registry, "")?;
    ensure!(code == 0, "{printed}");
    let calls = project.logged_calls();
    let digest = format!("sha256:{:064}", 7);
    for image in ["gateway", "persistence", "migrations", "probe", "webhooks", "files", "push"] {
        let name = format!("registry.example.com/tidings/{image}");
        let built = calls.lines().find(|call| call.contains(&format!("--target {image} ")));
        let built = built.unwrap_or_default();
        for word in [
            "--platform linux/amd64,linux/arm64",
            "--sbom=true",
            "--provenance=mode=max",
            "--build-arg TIDINGS_VERSION=1.2.3",
            &format!("--tag {name}:1.2.3 --push"),
        ] {
            ensure!(built.contains(word), "{image} is built without {word}: {calls}");
            ensure!(told.replace('\\', "").contains(word), "the dry run does not tell {word}: {told}");
        }
        ensure!(calls.contains(&format!("cosign sign --yes --recursive {name}@{digest}\n")), "{calls}");
        ensure!(told.contains(&format!("cosign sign --yes --recursive {name}@DIGEST")), "{told}");
    }
    ensure!(calls.contains("cosign sign-blob --yes"), "{calls}");
    ensure!(
        calls.find("cosign sign ") > calls.find("--target migrations"),
        "signed before all were built: {calls}"
    );

    // Nothing is signed, and no tag is set, if an image cannot be built.
    let project = ReleaseProject::new()?;
    let (code, printed) = project.release(&registry, "yes")?;
    ensure!(code != 0 && !project.logged_calls().contains("cosign"), "{printed}\n{}", project.logged_calls());
    assert_eq!(project.git(&["tag"])?, "");
    Ok(())
}
