//! Manifests: the test build optimises dependencies, but no crate of this project. npm packages have fixed versions.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tree::{assert_none, read, tree};

#[test]
fn test_build_optimises_no_crate_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let name = |member| if member == "xtask" { "xtask".to_owned() } else { format!("tidings-{member}") };
    let members: BTreeSet<String> = members.split('"').skip(1).step_by(2).map(name).collect();
    let (_, packages) = manifest.split_once("[profile.dev.package]\n").unwrap();
    let packages = packages.lines().take_while(|line| !line.is_empty());
    let unoptimised = packages.filter_map(|line| line.strip_suffix(" = { opt-level = 0 }"));
    let unoptimised: BTreeSet<String> = unoptimised.map(ToOwned::to_owned).collect();
    let optimised: Vec<&String> = members.difference(&unoptimised).collect();
    assert!(optimised.is_empty(), "no opt-level = 0 in [profile.dev.package]: {optimised:?}");
}

/// `harness/npmrc` fixes the versions that no manifest names.
#[test]
fn npm_packages_without_lock_file_have_exact_versions() {
    let mut broken = Vec::new();
    for file in tree() {
        if file.path.ends_with("/package-lock.json") && file.path != "clients/package-lock.json" {
            broken.push(format!("{}: use harness/npmrc instead", file.path));
        }
        let is_locked = file.path.starts_with("clients/") && !file.path.starts_with("clients/packed/apps/");
        if is_locked || !file.path.ends_with("/package.json") {
            continue;
        }
        let manifest: Value = serde_json::from_str(&file.text).unwrap();
        for kind in ["dependencies", "devDependencies", "optionalDependencies", "overrides"] {
            for (name, version) in manifest[kind].as_object().into_iter().flatten() {
                if !version.as_str().is_some_and(is_exact) {
                    broken.push(format!("{}: {name} {version}", file.path));
                }
            }
        }
    }
    assert_none("npm packages without a fixed version", &broken);
}

/// Whether a version is like `1.2.3`, or like `npm:name@1.2.3`.
fn is_exact(version: &str) -> bool {
    let number = version.rsplit('@').next().unwrap_or_default();
    number.split('.').count() == 3 && number.split('.').all(|part| part.parse::<u32>().is_ok())
}
