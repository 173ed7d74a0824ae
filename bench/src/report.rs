//! The reports of a run: tables in the terminal, pictures, a page of the documentation, and a file from which all of
//! them can be made again.

use std::path::Path;

use anyhow::{Context, Result};

use crate::results::Results;
pub use numbers::number;
pub use page::{page, put_into};
pub use plots::plots;
pub use table::table;

mod canvas;
mod numbers;
mod page;
mod plots;
mod table;

#[cfg(test)]
mod tests;

/// The whole of a run as JSON.
///
/// # Errors
/// Never for results.
pub fn json(results: &Results) -> Result<String> {
    Ok(serde_json::to_string_pretty(results)? + "\n")
}

/// Reads a run back from a file of [`json`].
///
/// # Errors
/// When it cannot be read, or is malformed.
pub fn read(path: &Path) -> Result<Results> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no stored run", path.display()))
}
