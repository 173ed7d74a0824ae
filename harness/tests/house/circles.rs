//! Modules import each other in one direction. Every `use` and every path in the code of a crate is an edge between
//! the two sibling modules that it connects, at each level of the tree. A name that a module re-exports counts as an
//! import of the module that defines it. Imports between a module and its own children are no edges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tree::{File, assert_none, read, sources};

type ModulePath = Vec<String>;
/// A path in a file as an absolute path, and whether a `use` declares it.
struct PathUse {
    path: ModulePath,
    line: usize,
    is_use: bool,
}

/// For each module the siblings that it imports, each with one place of such an import.
type ImportGraph = BTreeMap<ModulePath, BTreeMap<ModulePath, String>>;

/// The module of a file below `src/`. `None` if the file is a test or a separate program.
fn module_of_file(path: &str) -> Option<ModulePath> {
    let parts: ModulePath = path.strip_suffix(".rs")?.split('/').map(ToOwned::to_owned).collect();
    match parts.first()?.as_str() {
        "bin" => None,
        _ if parts.iter().any(|part| part == "tests") => None,
        "lib" | "main" => Some(Vec::new()),
        _ => Some(parts),
    }
}

fn leading_identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Reads one path, or a nested `use` tree of paths, and returns the text after it.
fn read_paths<'a>(text: &'a str, base: &[String], found: &mut Vec<ModulePath>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.trim_start().starts_with('}') {
            rest = read_paths(rest, base, found);
            let Some(end) = rest.find([',', '}']) else { return "" };
            rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
        }
        return rest.trim_start().strip_prefix('}').unwrap_or_default();
    }
    let name = leading_identifier(text);
    let rest = &text[name.len()..];
    let mut path = base.to_vec();
    match name {
        "" | "self" => {}
        "super" => drop(path.pop()),
        "crate" => path.clear(),
        name => path.push(name.to_owned()),
    }
    if let Some(rest) = rest.strip_prefix("::") {
        return read_paths(rest, &path, found);
    }
    found.push(path);
    rest
}

/// Every path in a file that leads to a module of its own crate.
fn path_uses(file: &File, own: &ModulePath, modules: &BTreeSet<ModulePath>) -> Vec<PathUse> {
    let (code, mut found, mut statement_ends) = (file.code(), Vec::new(), 0);
    for (start, _) in code.char_indices() {
        let (before, rest) = code.split_at(start);
        if before.ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)) || start < statement_ends {
            continue;
        }
        let first = leading_identifier(rest);
        let is_use = before.ends_with("use ");
        let is_path = ["crate", "super", "self"].contains(&first) && rest[first.len()..].starts_with("::");
        let is_child = || modules.contains(&[own.as_slice(), &[first.to_owned()]].concat());
        if is_path || is_use && is_child() {
            let (mut paths, line) = (Vec::new(), before.lines().count().max(1));
            let after = read_paths(rest, own, &mut paths);
            statement_ends = code.len() - after.len();
            found.extend(paths.into_iter().map(|path| PathUse { path, line, is_use }));
        }
    }
    found
}

/// The module that defines what a path names. Follows re-exports.
fn resolve(
    path: &[String],
    modules: &BTreeSet<ModulePath>,
    uses: &BTreeMap<ModulePath, ModulePath>,
    depth: usize,
) -> ModulePath {
    let length = (0..=path.len()).rev().find(|length| modules.contains(&path[..*length])).unwrap_or(0);
    match path.get(..=length).and_then(|name| uses.get(name)) {
        Some(target) if depth > 0 => resolve(target, modules, uses, depth - 1),
        _ => path[..length].to_vec(),
    }
}

fn import_graph(files: &[(ModulePath, File)]) -> ImportGraph {
    let modules: BTreeSet<ModulePath> = files.iter().map(|(module, _)| module.clone()).collect();
    let path_uses: Vec<_> =
        files.iter().map(|(own, file)| (own, file, path_uses(file, own, &modules))).collect();
    let uses = path_uses.iter().flat_map(|(own, _, paths)| {
        let uses = paths.iter().filter(|named| named.is_use && !modules.contains(&named.path));
        uses.map(|PathUse { path, .. }| ([own.as_slice(), &path[path.len() - 1..]].concat(), path.clone()))
    });
    let uses: BTreeMap<ModulePath, ModulePath> = uses.filter(|(name, path)| name != path).collect();
    let mut graph = ImportGraph::new();
    for (own, file, paths) in &path_uses {
        for PathUse { path, line, .. } in paths {
            let target = resolve(path, &modules, &uses, 8);
            let common = own.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (own.get(..=common), target.get(..=common)) {
                let edges = graph.entry(from.to_vec()).or_default();
                edges.entry(to.to_vec()).or_insert_with(|| format!("{}:{line}", file.path));
            }
        }
    }
    graph
}

/// The shortest import cycle through a module: its length, and the cycle as text.
fn shortest_cycle(graph: &ImportGraph, from: &ModulePath) -> Option<(usize, String)> {
    let mut queue = VecDeque::from([(from, 0, from.join("::"))]);
    let mut seen = BTreeSet::new();
    while let Some((module, length, way)) = queue.pop_front() {
        for (next, place) in graph.get(module).into_iter().flatten() {
            let way = format!("{way} → {} ({place})", next.join("::"));
            if next == from {
                return Some((length + 1, way));
            }
            if seen.insert(next) {
                queue.push_back((next, length + 1, way));
            }
        }
    }
    None
}

#[test]
fn modules_of_a_crate_import_each_other_in_one_direction() {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let mut cycles = Vec::new();
    for member in members.split('"').skip(1).step_by(2) {
        let folder = format!("{member}/src/");
        let module_of = |file: File| Some((module_of_file(&file.path[folder.len()..])?, file));
        let graph = import_graph(&sources(&folder).into_iter().filter_map(module_of).collect::<Vec<_>>());
        assert!(!graph.is_empty(), "no imports found in {folder}");
        let shortest = graph.keys().filter_map(|module| shortest_cycle(&graph, module)).min();
        cycles.extend(shortest.map(|(_, way)| way));
    }
    assert_none("circles of modules (the shortest of each crate)", &cycles);
}
