//! The settings of a program as they are declared: a table for pages, objects for programs.

use clap::{Arg, Command};
use serde_json::{Value, json};

use super::declared::{Declared, settings};

/// What begins the last sentence of a help text that tells what the default is, where it is no value.
const DEFAULT: &str = ". Default: ";

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub flag: String,
    pub variable: String,
    /// A value between backticks, or words.
    pub default: String,
    /// What the value is, or what it counts.
    pub unit: String,
    pub meaning: String,
    pub secret: bool,
    pub required: bool,
}

/// All settings of a command, without those of its subcommands.
#[must_use]
pub fn rows(command: &Command) -> Vec<Row> {
    settings(command).map(|setting| row(&setting)).collect()
}

/// As a table of Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut table =
        "| flag | variable | default | unit | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for Row { flag, variable, default, unit, meaning, .. } in rows {
        table.push_str(&format!("| `{flag}` | `{variable}` | {default} | {unit} | {meaning} |\n"));
    }
    table
}

/// As objects of JSON.
#[must_use]
pub fn objects(rows: &[Row]) -> Value {
    let object = |row: &Row| {
        json!({"flag": row.flag, "variable": row.variable, "default": row.default, "unit": row.unit,
            "meaning": row.meaning, "secret": row.secret, "required": row.required})
    };
    rows.iter().map(object).collect()
}

fn row(setting: &Declared) -> Row {
    let arg = &setting.arg;
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (meaning, told) = match help.rsplit_once(DEFAULT) {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches('.').to_owned())),
        None => (help, None),
    };
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let value = Some(values.join(",")).filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
    let required = arg.is_required_set();
    let none = || if required { "required".to_owned() } else { "none".to_owned() };
    Row {
        flag: format!("--{}", setting.flag),
        variable: setting.variable.clone(),
        default: told.or(value).unwrap_or_else(none),
        unit: unit(arg),
        meaning,
        secret: setting.secret,
        required,
    }
}

/// From the name of its value, such as `PER_SECOND`; the values themselves where there are only a few.
fn unit(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|it| format!("`{}`", it.get_name())).collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.to_lowercase().replace('_', " ")).collect::<Vec<_>>().join(" ")
}
