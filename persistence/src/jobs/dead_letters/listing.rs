//! Prints dead letters, each as a line of text or JSON. Shows the content of a record only on request.

use serde::Serialize;
use tidings_shared::log::Record;

use super::{ListArgs, PAGE_LETTERS};
use crate::jobs::connection::connect_database;
use crate::jobs::sql::dead_letters::{self, DeadLetter};
use crate::query::json::wire_time;

/// A dead letter as it is printed. Fields that cannot be read from the record are null.
#[derive(Debug, Serialize)]
struct LetterLine {
    id: i64,
    at: String,
    room: Option<String>,
    seq: Option<i64>,
    r#type: Option<String>,
    sender: Option<String>,
    client_id: Option<String>,
    reason: String,
    /// The JSON of the record, or the whole record if it cannot be parsed. Set only if the content was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl LetterLine {
    fn from_letter(letter: &DeadLetter, show: bool) -> Self {
        let record = Record::parse(letter.record.clone()).ok();
        let field = |of: fn(&Record) -> &str| record.as_ref().map(|record| of(record).to_owned());
        let text = record.as_ref().map_or(&letter.record[..], Record::json);
        Self {
            id: letter.id,
            at: wire_time(&letter.at),
            room: letter.room.clone(),
            seq: letter.seq,
            r#type: field(Record::kind),
            sender: field(Record::sender),
            client_id: field(Record::client_id),
            reason: letter.reason.clone(),
            record: show.then(|| String::from_utf8_lossy(text).into_owned()),
        }
    }

    /// The fields, separated by tabs. Control characters are escaped, so that a record cannot control the terminal.
    fn tab_separated(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let seq = self.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
        let fields = [
            self.id.to_string(),
            self.at.clone(),
            text(&self.room),
            seq,
            text(&self.r#type),
            text(&self.sender),
            text(&self.client_id),
            self.reason.clone(),
        ];
        let fields = fields.into_iter().chain(self.record.clone());
        fields.map(|field| escape_controls(&field)).collect::<Vec<_>>().join("\t")
    }
}

fn escape_controls(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Prints dead letters page by page, up to `--limit`, and reports on stderr if there are more.
pub(super) async fn print_letters(arguments: &ListArgs) -> anyhow::Result<()> {
    let db = connect_database(&arguments.connection.database).await?;
    if !arguments.json {
        let record = if arguments.show { "\trecord" } else { "" };
        println!("id\tat\troom\tseq\ttype\tsender\tclient id\treason{record}");
    }
    let (mut after, mut remaining) = (0, arguments.limit);
    loop {
        let room = arguments.room.as_ref();
        // Reads one dead letter more than it prints, to know whether there are more.
        let limit = remaining.min(PAGE_LETTERS) + 1;
        let page = dead_letters::letters_page(&db, room, after, i64::MAX, limit).await?;
        for letter in page.iter().take(usize::try_from(remaining.min(PAGE_LETTERS)).unwrap_or(usize::MAX)) {
            let line = LetterLine::from_letter(letter, arguments.show);
            println!("{}", if arguments.json { serde_json::to_string(&line)? } else { line.tab_separated() });
            (after, remaining) = (letter.id, remaining - 1);
        }
        if (page.len() as u64) < limit {
            return Ok(());
        }
        if remaining == 0 {
            eprintln!("there are more than {} letters; raise --limit", arguments.limit);
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;

    use super::*;

    fn letter(record: &'static [u8]) -> DeadLetter {
        DeadLetter {
            id: 7,
            at: DateTime::from_timestamp_millis(0).unwrap(),
            room: Some("r".to_owned()),
            seq: Some(3),
            reason: "PostgreSQL refuses it".to_owned(),
            record: Bytes::from_static(record),
        }
    }

    #[test]
    fn content_is_shown_only_on_request_and_escaped() {
        let whole = letter(
            b"1\x1f1\x1f3\x1f9\x1fr\x1fmessage:new\x1falice\x1fc 1\x1fi\x1f\x1f\x1f\n{\"content\":\"hunter2\x1b[2J\"}",
        );
        let plain = LetterLine::from_letter(&whole, false).tab_separated();
        assert_eq!(
            plain,
            "7\t1970-01-01T00:00:00.000Z\tr\t3\tmessage:new\talice\tc 1\tPostgreSQL refuses it"
        );
        let shown = LetterLine::from_letter(&whole, true).tab_separated();
        assert!(shown.contains("hunter2") && !shown.contains('\x1b'), "{shown}");
        let json = serde_json::to_string(&LetterLine::from_letter(&whole, false)).unwrap();
        assert!(!json.contains("record") && !json.contains("hunter2"), "{json}");
    }

    #[test]
    fn unreadable_record_is_listed_with_known_fields() {
        let plain = LetterLine::from_letter(&letter(b"garbage"), false).tab_separated();
        assert_eq!(plain, "7\t1970-01-01T00:00:00.000Z\tr\t3\t-\t-\t-\tPostgreSQL refuses it");
    }
}
