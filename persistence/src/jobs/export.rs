//! `tidings-persistence export`: writes users, rooms, members and messages to standard output, as lines of JSON that
//! `import` reads. Memory is bounded and only whole lines are written. Rooms are ordered by id and messages by seq, so
//! an interrupted export can continue after the last line that was written.

mod line;

use std::io::{ErrorKind, Write};

use anyhow::Context;
use clap::Args;
use sea_orm::DatabaseConnection;
use serde::Serialize;
use tidings_shared::ids::RoomId;
use tidings_shared::role::OWNER;

use crate::database::DatabaseArgs;
use crate::job_error::JobError;
use crate::jobs::connection::connect_database;
use crate::jobs::sql::export::{self as sql, ExportedMember, ExportedRoom};
use crate::writer::audit::{self, NewAuditEntry};
use line::ExportLine;

/// The buffer is written out when it reaches this size. The last line in the buffer may exceed the size.
const FLUSH_THRESHOLD_BYTES: usize = 64 * 1024;

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Export only this room, without the users
    #[arg(long, value_parser = |text: &str| RoomId::parse(text))]
    pub room: Option<RoomId>,
    /// Continue after this message: `ROOM/ID` of the last line, or `ROOM/0` if it is the line of a room or a member
    #[arg(long, value_name = "ROOM/ID", value_parser = parse_position)]
    pub after: Option<ExportPosition>,
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// The message after which an export continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPosition {
    pub room: RoomId,
    pub seq: i64,
}

fn parse_position(text: &str) -> Result<ExportPosition, String> {
    let rule = || "must be ROOM/ID, such as general/41".to_owned();
    let (room, seq) = text.rsplit_once('/').ok_or_else(rule)?;
    let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or_else(rule)?;
    Ok(ExportPosition { room: RoomId::parse(room).map_err(|error| error.to_string())?, seq })
}

/// Writes the whole export. After an error the written lines are usable, and another export can continue after them.
pub async fn run(arguments: ExportArgs) -> anyhow::Result<()> {
    let db = connect_database(&arguments.database).await?;
    let entry =
        NewAuditEntry { action: audit::EXPORT, room: arguments.room.as_ref(), ..NewAuditEntry::default() };
    // The export goes on, because a read-only replica of PostgreSQL can be exported too.
    if let Err(error) = audit::record(&db, &entry).await {
        eprintln!("the audit log has no entry of this export, which goes on: {}", JobError::from(error));
    }
    let out = LineWriter { out: std::io::stdout().lock(), buffer: Vec::new(), written: 0 };
    let mut export = Export { db, out, left_out: 0 };
    match export.export_all(&arguments).await {
        // The reader of the output closed the pipe, which is no failure.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        outcome => {
            outcome?;
            eprintln!("{} lines exported; {} rooms left out", export.out.written, export.left_out);
            Ok(())
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

struct Export<W> {
    db: DatabaseConnection,
    out: LineWriter<W>,
    /// Number of rooms that were left out because `import` could not create them.
    left_out: u64,
}

impl<W: Write> Export<W> {
    async fn export_all(&mut self, arguments: &ExportArgs) -> anyhow::Result<()> {
        let after = arguments.after.as_ref();
        if let Some(room) = &arguments.room {
            let found = sql::room(&self.db, room.as_str()).await?;
            let from = after.filter(|position| position.room == *room).map(|position| position.seq);
            return self.export_room(&found.with_context(|| format!("there is no room {room}"))?, from).await;
        }
        match after {
            None => self.export_users().await?,
            Some(ExportPosition { room, seq }) => {
                if let Some(room) = sql::room(&self.db, room.as_str()).await? {
                    self.export_room(&room, Some(*seq)).await?;
                }
            }
        }
        let mut last = after.map_or_else(String::new, |position| position.room.to_string());
        loop {
            let rooms = sql::rooms(&self.db, &last).await?;
            let Some(room) = rooms.last() else { return self.out.flush() };
            last.clone_from(&room.id);
            for room in &rooms {
                self.export_room(room, None).await?;
            }
        }
    }

    async fn export_users(&mut self) -> anyhow::Result<()> {
        let mut last = String::new();
        loop {
            let users = sql::users(&self.db, &last).await?;
            let Some(user) = users.last() else { return Ok(()) };
            last.clone_from(&user.id);
            users.iter().try_for_each(|user| self.out.write_line(&ExportLine::User(user)))?;
        }
    }

    /// Exports one room. `from` is the seq of the last message that an earlier export wrote, 0 if that export wrote
    /// only the room's line, and None if it wrote nothing of the room.
    async fn export_room(&mut self, room: &ExportedRoom, from: Option<i64>) -> anyhow::Result<()> {
        if from.is_none_or(|seq| seq == 0) && !self.export_members(room, from.is_none()).await? {
            self.left_out += 1;
            return Ok(());
        }
        let mut last = from.unwrap_or(0);
        loop {
            let messages = sql::messages(&self.db, &room.id, last).await?;
            let Some(message) = messages.last() else { return self.out.flush() };
            last = message.seq;
            messages
                .iter()
                .try_for_each(|message| self.out.write_line(&ExportLine::of_message(&room.id, message)))?;
        }
    }

    /// Writes the room's line, which contains the first page of its members, then a line for each further member.
    /// Without `with_room` it writes only lines of members. An earlier export may have written some of these lines, but
    /// `import` accepts repeated members. Returns false if the room is left out because `import` could not create it.
    async fn export_members(&mut self, room: &ExportedRoom, with_room: bool) -> anyhow::Result<bool> {
        let owner = sql::creator_for_import(&self.db, room).await?;
        let mut members = sql::members(&self.db, &room.id, "").await?;
        let direct = room.kind == "direct";
        let (owner, reason) = match owner {
            Some(owner) if !direct || members.len() == 2 => (owner, None),
            Some(owner) => {
                (owner, Some("it is a direct room with one member left, which cannot be created again"))
            }
            None => (String::new(), Some("no member is left who could own it")),
        };
        if !with_room && (direct || reason.is_some()) {
            return Ok(true);
        }
        if let Some(reason) = reason {
            eprintln!("room {} is left out: {reason}", room.id);
            return Ok(false);
        }
        if with_room {
            self.out.write_line(&ExportLine::of_room(room, &owner, &members))?;
        } else {
            // The owner comes first, so that no change by a later line can leave the room without an owner.
            self.out.write_line(&ExportLine::Member { room: &room.id, user: &owner, role: OWNER })?;
        }
        // If the room's line was written, it already contains the first page.
        let mut page_written = with_room;
        while let Some(last) = members.last().map(|member| member.user_id.clone()).filter(|_| !direct) {
            if !page_written {
                let mut others = members.iter().filter(|member| member.user_id != owner);
                others.try_for_each(|ExportedMember { user_id: user, role }| {
                    self.out.write_line(&ExportLine::Member { room: &room.id, user, role })
                })?;
            }
            page_written = false;
            members = sql::members(&self.db, &room.id, &last).await?;
        }
        Ok(true)
    }
}

/// A buffer that passes only whole lines to `out`.
struct LineWriter<W> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
}

impl<W: Write> LineWriter<W> {
    fn write_line(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let start = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, line)?;
        // JSON that is passed through unchanged may contain line breaks between its tokens, which become spaces. Line
        // breaks inside JSON strings are always escaped.
        let breaks = self.buffer.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r'));
        breaks.for_each(|byte| *byte = b' ');
        self.buffer.push(b'\n');
        self.written += 1;
        if self.buffer.len() >= FLUSH_THRESHOLD_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records the bytes of each call of `write` separately.
    struct RecordedWrites(Vec<Vec<u8>>);

    impl Write for RecordedWrites {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_write_has_only_whole_lines() {
        let mut lines = LineWriter { out: RecordedWrites(Vec::new()), buffer: Vec::new(), written: 0 };
        let raw = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
        for number in 0..5000 {
            lines.write_line(&raw(format!("{{\n\"n\":\r\n{number}, \"t\":\"a\\nb\"}}"))).unwrap();
        }
        lines.flush().unwrap();
        let writes = &lines.out.0;
        assert!(writes.len() > 1 && writes.iter().all(|write| write.ends_with(b"\n")));
        let text = String::from_utf8(writes.concat()).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["n"], &line["t"]), (&number.into(), &"a\nb".into()));
        }
        assert_eq!(text.lines().count(), 5000);
    }

    #[test]
    fn position_is_a_room_and_an_id() {
        assert_eq!(
            parse_position("a:b/7"),
            Ok(ExportPosition { room: RoomId::parse("a:b").unwrap(), seq: 7 })
        );
        for wrong in ["a", "a/", "a/-1", "/1", "a b/1"] {
            assert!(parse_position(wrong).is_err(), "{wrong}");
        }
    }
}
