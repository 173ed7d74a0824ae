//! Project rules, checked against the sources and the pages: imports, pure modules, files, the manifest, language, and
//! documents that match the code. Reads the tree, and asks the programs for their settings.

#![allow(clippy::unwrap_used)]

mod acl;
mod circles;
mod coverage;
mod files;
mod guarantees;
mod imports;
mod language;
mod manifest;
mod online_migrations;
mod own_systems;
mod pages;
mod settings;
mod tree;
mod typescript;
