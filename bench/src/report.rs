//! The reports of a run: tables in the terminal, pictures, a page of the documentation, and a file with the results
//! from which the other reports can be made again.

use std::path::Path;

use anyhow::{Context, Result};

use crate::results::Results;
pub use numbers::format_number;
pub use page::{generated_part, replace_generated_part};
pub use plots::write_plots;
pub use table::tables;

mod canvas;
mod numbers;
mod page;
mod plots;
mod table;

#[cfg(test)]
mod tests;

/// Serialises all results of a run as JSON.
///
/// # Errors
/// Never: all results can be written as JSON.
pub fn to_json(results: &Results) -> Result<String> {
    Ok(serde_json::to_string_pretty(results)? + "\n")
}

/// Reads a run from a file that was written with [`to_json`].
///
/// # Errors
/// When it cannot be read, or is malformed.
pub fn read_results(path: &Path) -> Result<Results> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no stored run", path.display()))
}
