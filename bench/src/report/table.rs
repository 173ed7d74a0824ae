//! Aligned tables for the terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::numbers::{format_number, limit_text, median_with_range, target_result};
use crate::results::{Results, Scenario};

/// The tables of all scenarios as text: the figures of each server in each setting, then targets and notes.
#[must_use]
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    for scenario in &results.scenarios {
        let _ = write!(
            text,
            "\n{} — {}\n\n{}",
            scenario.name,
            scenario.title,
            align_columns(&table_cells(scenario))
        );
        for target in &scenario.targets {
            let (is, result) = (format_number(target.value), target_result(target));
            let _ = writeln!(text, "  target: {} is {is}, {}: {result}", target.what, limit_text(target));
        }
        for note in &scenario.notes {
            let _ = writeln!(text, "  note: {note}");
        }
    }
    text
}

/// The cells of a scenario's table: a header, and a row for each setting and subject. Figures are in the order of their
/// names.
pub(super) fn table_cells(scenario: &Scenario) -> Vec<Vec<String>> {
    let figures: BTreeSet<&str> =
        scenario.rows.iter().flat_map(|row| row.figures.keys()).map(String::as_str).collect();
    let head = ["setting", "subject"].into_iter().chain(figures.iter().copied());
    let mut cells = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    let mut settings: Vec<&str> = Vec::new();
    for row in &scenario.rows {
        if !settings.contains(&row.setting.as_str()) {
            settings.push(&row.setting);
        }
    }
    for setting in settings {
        for row in scenario.rows.iter().filter(|row| row.setting == setting) {
            let mut line = vec![row.setting.clone(), row.subject.clone()];
            line.extend(
                figures.iter().map(|name| row.figures.get(*name).map_or(String::new(), median_with_range)),
            );
            cells.push(line);
        }
    }
    cells
}

/// Aligns words left and figures right.
fn align_columns(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 | 1 => write!(line, "  {cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            let _ = writeln!(text, "  {}", rule.join("  "));
        }
    }
    text
}
