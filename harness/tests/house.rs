//! The rules of the house, held against the sources and the pages themselves: who may import and name what, what is
//! pure, how files are kept, and that the documents say what the code does. Reads the tree, starts nothing.

#![allow(clippy::unwrap_used)]

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
#[path = "house/tree.rs"]
mod tree;
