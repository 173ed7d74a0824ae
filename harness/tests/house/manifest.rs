//! The root manifest: the test build optimises dependencies, but no crate of this project.

use std::collections::BTreeSet;

use crate::tree::read;

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
