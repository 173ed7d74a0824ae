//! The root manifest: the test build optimises dependencies, but no crate of this project.

use std::collections::BTreeSet;

use crate::tree::read;

#[test]
fn test_build_optimises_no_crate_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members = members.split('"').skip(1).step_by(2).map(|member| format!("tidings-{member}"));
    let (_, packages) = manifest.split_once("[profile.dev.package]\n").unwrap();
    let packages = packages.lines().take_while(|line| !line.is_empty());
    let unoptimised = packages.filter_map(|line| line.strip_suffix(" = { opt-level = 0 }"));
    assert_eq!(
        unoptimised.map(ToOwned::to_owned).collect::<BTreeSet<_>>(),
        members.collect::<BTreeSet<_>>(),
        "every member needs opt-level = 0 in [profile.dev.package]"
    );
}
