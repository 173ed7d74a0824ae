//! The names of PostgreSQL's error codes (SQLSTATE), so that logs contain words and not only a number.

/// Error codes that a chat service may see, with the condition names of PostgreSQL's manual, appendix A.
const CONDITION_NAMES: [(&str, &str); 52] = [
    ("08000", "connection_exception"),
    ("08001", "sqlclient_unable_to_establish_sqlconnection"),
    ("08003", "connection_does_not_exist"),
    ("08004", "sqlserver_rejected_establishment_of_sqlconnection"),
    ("08006", "connection_failure"),
    ("08P01", "protocol_violation"),
    ("0A000", "feature_not_supported"),
    ("22001", "string_data_right_truncation"),
    ("22003", "numeric_value_out_of_range"),
    ("22007", "invalid_datetime_format"),
    ("22008", "datetime_field_overflow"),
    ("22021", "character_not_in_repertoire"),
    ("22P02", "invalid_text_representation"),
    ("22P05", "untranslatable_character"),
    ("23502", "not_null_violation"),
    ("23503", "foreign_key_violation"),
    ("23505", "unique_violation"),
    ("23514", "check_violation"),
    ("25006", "read_only_sql_transaction"),
    ("25P02", "in_failed_sql_transaction"),
    ("25P03", "idle_in_transaction_session_timeout"),
    ("26000", "invalid_sql_statement_name"),
    ("28000", "invalid_authorization_specification"),
    ("28P01", "invalid_password"),
    ("3D000", "invalid_catalog_name"),
    ("3F000", "invalid_schema_name"),
    ("40001", "serialization_failure"),
    ("40P01", "deadlock_detected"),
    ("42501", "insufficient_privilege"),
    ("42601", "syntax_error"),
    ("42703", "undefined_column"),
    ("42704", "undefined_object"),
    ("42883", "undefined_function"),
    ("42P01", "undefined_table"),
    ("53000", "insufficient_resources"),
    ("53100", "disk_full"),
    ("53200", "out_of_memory"),
    ("53300", "too_many_connections"),
    ("53400", "configuration_limit_exceeded"),
    ("54000", "program_limit_exceeded"),
    ("55000", "object_not_in_prerequisite_state"),
    ("55006", "object_in_use"),
    ("55P03", "lock_not_available"),
    ("57014", "query_canceled"),
    ("57P01", "admin_shutdown"),
    ("57P02", "crash_shutdown"),
    ("57P03", "cannot_connect_now"),
    ("57P04", "database_dropped"),
    ("57P05", "idle_session_timeout"),
    ("58030", "io_error"),
    ("P0001", "raise_exception"),
    ("XX000", "internal_error"),
];

/// The code with its name, such as `SQLSTATE 53300 (too_many_connections)`; a rare code has no name.
#[must_use]
pub fn describe(code: &str) -> String {
    match CONDITION_NAMES.iter().find(|(known, _)| *known == code) {
        Some((_, name)) => format!("SQLSTATE {code} ({name})"),
        None => format!("SQLSTATE {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_code_is_described_by_its_name() {
        assert_eq!(describe("28P01"), "SQLSTATE 28P01 (invalid_password)");
        assert_eq!(describe("99999"), "SQLSTATE 99999");
        let sorted = CONDITION_NAMES.iter().zip(&CONDITION_NAMES[1..]).all(|(a, b)| a.0 < b.0);
        assert!(sorted, "a code is listed twice or out of order");
    }
}
