//! New migrations do not block a running service: they build indexes concurrently, and lock no table for long.

use crate::tree::{assert_none, sources};

/// The first migration that must follow the rules; earlier ones were released before the rules existed.
const FIRST_CHECKED_MIGRATION: &str = "m0010";
/// Parts of SQL statements that hold a lock while they read or write a whole table, each with its replacement.
const BLOCKING_SQL: [(&str, &str); 4] = [
    ("ADD UNIQUE", "build the index with Step::Index, then ADD CONSTRAINT … UNIQUE USING INDEX"),
    ("ADD PRIMARY KEY", "build the index with Step::Index, then ADD CONSTRAINT … PRIMARY KEY USING INDEX"),
    ("SET NOT NULL", "add a CHECK that is NOT VALID, and validate it in another step"),
    ("SET DATA TYPE", "add a column, and copy the values in the background"),
];

/// The violations of the rules in the text of a migration.
fn violations(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    let mut violations = Vec::new();
    for create in ["CREATE INDEX ", "CREATE UNIQUE INDEX "] {
        for (_, rest) in text.match_indices(create).map(|(at, _)| text.split_at(at + create.len())) {
            let table = rest.split(" ON ").nth(1).and_then(|table| table.split([' ', '(']).next());
            let is_new = table.is_some_and(|table| text.contains(&format!("CREATE TABLE {table} ")));
            if !rest.starts_with("CONCURRENTLY ") && !is_new {
                violations.push(format!("{create}without CONCURRENTLY: use Step::Index"));
            }
        }
    }
    for (slow, instead) in BLOCKING_SQL {
        if text.contains(slow) {
            violations.push(format!("{slow}: {instead}"));
        }
    }
    let is_typed = |statement: &str| statement.contains("ALTER COLUMN") && statement.contains(" TYPE ");
    if text.split(';').any(is_typed) {
        violations
            .push("ALTER COLUMN … TYPE: add a column, and copy the values in the background".to_owned());
    }
    let mut constraints = text.split(';').filter(|statement| statement.contains("ADD CONSTRAINT"));
    if constraints.any(|one| !one.contains("USING INDEX") && !one.contains("NOT VALID")) {
        violations.push("ADD CONSTRAINT without NOT VALID or USING INDEX".to_owned());
    }
    violations
}

#[test]
fn new_migrations_do_not_block_a_running_service() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for file in sources("migrations/src/m") {
        let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
        if name.starts_with("m0") && name.as_str() >= FIRST_CHECKED_MIGRATION {
            checked += 1;
            broken.extend(
                violations(&file.code()).into_iter().map(|violation| format!("{}: {violation}", file.path)),
            );
        }
    }
    assert!(checked > 0, "no migration was checked");
    assert_none("rules for migrations", &broken);
}

#[test]
fn blocking_statements_are_found() {
    for bad in [
        "CREATE INDEX a ON messages (b)",
        "CREATE UNIQUE INDEX a\n  ON messages (b)",
        "ALTER TABLE messages ADD UNIQUE (a)",
        "ALTER TABLE messages ADD CONSTRAINT a CHECK (b > 0)",
        "ALTER TABLE messages ALTER COLUMN a TYPE bigint",
        "ALTER TABLE messages ALTER COLUMN a SET NOT NULL",
    ] {
        assert_eq!(violations(bad).len(), 1, "{bad}");
    }
    for good in [
        "CREATE INDEX CONCURRENTLY a ON messages (b)",
        "CREATE TABLE news (a text); CREATE INDEX b ON news (a)",
        "ALTER TABLE messages ADD COLUMN a bigint",
        "ALTER TABLE messages ADD CONSTRAINT a CHECK (b > 0) NOT VALID",
        "ALTER TABLE messages ADD CONSTRAINT a UNIQUE USING INDEX b",
    ] {
        assert_eq!(violations(good), [] as [String; 0], "{good}");
    }
}
