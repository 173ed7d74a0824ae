//! Project rules, checked against the sources and the pages: imports, pure modules, files, the manifest, language, and
//! documents that match the code. Reads the tree, asks the programs for their settings, and runs the models of
//! decisions.

#![allow(clippy::unwrap_used)]

mod acl;
mod circles;
mod coverage;
mod files;
mod guarantees;
mod imports;
mod language;
mod manifest;
mod models;
mod online_migrations;
mod own_systems;
mod pages;
mod settings;
mod tree;
mod typescript;
