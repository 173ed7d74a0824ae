//! The rules of the house, held against the sources and the pages themselves: who may import and name what, what is
//! pure, how files are kept, and that the documents say what the code does. Reads the tree, and asks the
//! programs for their settings.

#![allow(clippy::unwrap_used)]

#[path = "house/acl.rs"]
mod acl;
#[path = "house/coverage.rs"]
mod coverage;
#[path = "house/files.rs"]
mod files;
#[path = "house/guarantees.rs"]
mod guarantees;
#[path = "house/imports.rs"]
mod imports;
#[path = "house/pages.rs"]
mod pages;
#[path = "house/settings.rs"]
mod settings;
#[path = "house/tree.rs"]
mod tree;
