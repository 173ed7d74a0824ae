//! Lists the declared settings of a program as a Markdown table for documents, or as JSON for programs.

use clap::{Arg, Command};
use serde::Serialize;

use super::declaration::{SettingDeclaration, declared_settings};

/// In the help of a setting, the text after these words describes the default.
const DEFAULT_IN_WORDS: &str = ". Default: ";

/// One setting in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingRow {
    pub flag: String,
    pub variable: String,
    /// The default value between backticks, or a description of the default, or `required` or `none`.
    pub default: String,
    /// The unit or the type of the value, or the possible values.
    pub unit: String,
    pub meaning: String,
    pub secret: bool,
    pub required: bool,
}

/// Lists the settings of a command, without the settings of its subcommands.
pub fn setting_rows(command: &Command) -> Vec<SettingRow> {
    declared_settings(command).map(|setting| row_of_setting(&setting)).collect()
}

/// Formats the settings as a Markdown table with a head, one setting per line.
pub fn markdown(rows: &[SettingRow]) -> String {
    let mut table =
        "| flag | variable | default | unit | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for SettingRow { flag, variable, default, unit, meaning, .. } in rows {
        table.push_str(&format!("| `{flag}` | `{variable}` | {default} | {unit} | {meaning} |\n"));
    }
    table
}

fn row_of_setting(setting: &SettingDeclaration) -> SettingRow {
    let arg = &setting.arg;
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (meaning, in_words) = match help.rsplit_once(DEFAULT_IN_WORDS) {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches('.').to_owned())),
        None => (help, None),
    };
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let value = Some(values.join(",")).filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
    let required = arg.is_required_set();
    let none = || if required { "required".to_owned() } else { "none".to_owned() };
    SettingRow {
        flag: format!("--{}", setting.flag),
        variable: setting.variable.clone(),
        default: in_words.or(value).unwrap_or_else(none),
        unit: unit_of_value(arg),
        meaning,
        secret: setting.secret,
        required,
    }
}

/// Returns the possible values if the argument declares them. If not, returns the unit in words, which is the name of
/// the value, such as `PER_SECOND`.
fn unit_of_value(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|it| format!("`{}`", it.get_name())).collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.to_lowercase().replace('_', " ")).collect::<Vec<_>>().join(" ")
}
