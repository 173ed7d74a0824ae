//! The rules of the house, held against the sources and the pages themselves: who may import and name what, what is
//! pure, how files are kept, and that the documents say what the code does. Reads the tree, and asks the
//! programs for their settings.

#![allow(clippy::unwrap_used)]

mod acl;
mod coverage;
mod files;
mod guarantees;
mod imports;
mod pages;
mod settings;
mod tree;
