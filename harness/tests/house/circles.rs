//! The modules of a crate import each other in one direction: there is no circle between its top-level modules.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{assert_none, sources};

const CRATES: [&str; 2] = ["jobs", "persistence"];

/// The top-level modules that each top-level module imports.
fn imports(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = format!("{name}/src/");
    let top = |path: &str| path[folder.len()..].split(['/', '.']).next().unwrap_or_default().to_owned();
    let files = sources(&folder);
    let modules: BTreeSet<String> = files.iter().map(|file| top(&file.path)).collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let own = top(&file.path);
        let code = file.code();
        for rest in code.split("crate::").skip(1) {
            // `crate::a::…` or `crate::{a::…, b::…};`
            let list = rest.split("};").next().unwrap_or_default().strip_prefix('{');
            let named = list.map_or(vec![rest], |list| list.split(',').collect());
            let word = |text: &str| -> String {
                text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            let used = named.into_iter().map(word).filter(|used| modules.contains(used) && *used != own);
            imports.entry(own.clone()).or_default().extend(used);
        }
    }
    imports
}

#[test]
fn top_level_modules_import_each_other_without_circles() {
    for name in CRATES {
        let mut left = imports(name);
        assert!(left.len() > 3, "{name}: the imports were not found");
        // Takes away modules that import none of the others, or that none of them imports; a circle stays.
        loop {
            let before = left.len();
            let inner: BTreeSet<String> = left.keys().cloned().collect();
            left.retain(|_, used| used.iter().any(|used| inner.contains(used)));
            let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
            left.retain(|own, _| imported.contains(own));
            if left.len() == before {
                break;
            }
        }
        let circles: Vec<String> =
            left.iter().map(|(own, used)| format!("{name}: {own} imports {used:?}")).collect();
        assert_none("circles of modules", &circles);
    }
}
