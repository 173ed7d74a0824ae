//! Letters as lines, for people or for programs. What was said is told only where it is asked for.

use serde::Serialize;
use tidings_shared::log::Record;

use super::{AT_ONCE, List, told};
use crate::query::json::wire_time;
use crate::writer::dead_letters::{self, DeadLetter};

/// A letter as it is told; what its record does not tell any more is null.
#[derive(Debug, Serialize)]
struct Line {
    id: i64,
    at: String,
    room: Option<String>,
    seq: Option<i64>,
    r#type: Option<String>,
    sender: Option<String>,
    client_id: Option<String>,
    reason: String,
    /// The JSON of the record; of one that cannot be read all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl Line {
    fn of(letter: &DeadLetter, show: bool) -> Self {
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

    /// Fields with tabs between them; a terminal is given nothing to obey.
    fn plain(&self) -> String {
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
        fields.map(|field| harmless(&field)).collect::<Vec<_>>().join("\t")
    }
}

fn harmless(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(harmless).collect()
}

pub(super) async fn run(arguments: &List) -> anyhow::Result<()> {
    let db = arguments.reach.database().await?;
    if !arguments.json {
        let record = if arguments.show { "\trecord" } else { "" };
        println!("id\tat\troom\tseq\ttype\tsender\tclient id\treason{record}");
    }
    let (mut after, mut left) = (0, arguments.limit);
    loop {
        let room = arguments.room.as_ref();
        // One more than is told: then it is known whether there are more.
        let most = left.min(AT_ONCE) + 1;
        let page = dead_letters::page(&db, room, after, i64::MAX, most).await.map_err(told)?;
        for letter in page.iter().take(usize::try_from(left.min(AT_ONCE)).unwrap_or(usize::MAX)) {
            let line = Line::of(letter, arguments.show);
            println!("{}", if arguments.json { serde_json::to_string(&line)? } else { line.plain() });
            (after, left) = (letter.id, left - 1);
        }
        if (page.len() as u64) < most {
            return Ok(());
        }
        if left == 0 {
            eprintln!("there are more than {}: --limit", arguments.limit);
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
    fn what_was_said_is_told_only_when_it_is_asked_for_and_commands_no_terminal() {
        let whole = letter(
            b"1\x1f1\x1f3\x1f9\x1fr\x1fmessage:new\x1falice\x1fc 1\x1fi\x1f\x1f\x1f\n{\"content\":\"hunter2\x1b[2J\"}",
        );
        let plain = Line::of(&whole, false).plain();
        assert_eq!(
            plain,
            "7\t1970-01-01T00:00:00.000Z\tr\t3\tmessage:new\talice\tc 1\tPostgreSQL refuses it"
        );
        let shown = Line::of(&whole, true).plain();
        assert!(shown.contains("hunter2") && !shown.contains('\x1b'), "{shown}");
        let json = serde_json::to_string(&Line::of(&whole, false)).unwrap();
        assert!(!json.contains("record") && !json.contains("hunter2"), "{json}");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_told_with_what_is_known() {
        let plain = Line::of(&letter(b"garbage"), false).plain();
        assert_eq!(plain, "7\t1970-01-01T00:00:00.000Z\tr\t3\t-\t-\t-\tPostgreSQL refuses it");
    }
}
