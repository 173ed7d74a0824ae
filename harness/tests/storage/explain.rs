//! Query plans of HTTP reads and of the search index over a million messages in a thousand rooms: PostgreSQL uses keys,
//! never scans a whole table, never sorts more than a page and never compares two lists row by row. The plans are those
//! of the service's own statements as the server logs them, with unchanged planner settings.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::{Http, Stack};

/// Entries of the longest page, plus one that shows whether there are more.
const MAX_PAGE_ROWS: f64 = 201.0;
/// Members in an answer of `GET receipts`.
const MAX_RECEIPTS: f64 = 1000.0;
/// Messages scanned for the unread count and the last message, plus one that shows whether there are more.
const MAX_SCANNED_MESSAGES: f64 = 2001.0;
/// Seqs in one step of a history page that skips messages private to others.
const HISTORY_STEP_SEQS: f64 = 10_000.0;
/// Names of public rooms that one page of a search by name scans.
const MAX_SCANNED_NAMES: f64 = 5_000.0;
/// A page of public rooms without a search reads twice its length: rooms with the cursor's timestamp, and earlier ones.
const TWO_PAGES_ROWS: f64 = 2.0 * MAX_PAGE_ROWS;
/// The indexer handles at most this many rooms, or log positions, in one transaction and in one page of its scan.
const MAX_INDEXED_ROOMS: f64 = 1000.0;
/// Near its end, a page of the scan may read the rooms that are left and sort them.
const MAX_SORTED_ROOMS: f64 = 3.0 * MAX_INDEXED_ROOMS;
/// The number of all rooms. A hash join may read them all for the thousand rooms of one transaction.
const ROOM_COUNT: f64 = 22_000.0;
/// Pairs of rows that one join may compare without a match: the 64 partitions with each other.
const MAX_COMPARED_PAIRS: f64 = 5_000.0;
/// Seqs of each room that are not indexed, so that searches read these messages themselves.
const POSITIONS_BEHIND: usize = 12;
/// A search reads at most this many blocks of a room to find where a page begins.
const MAX_BLOCKS_TO_BEGIN: f64 = 64.0;
/// A search tests at most this many blocks in one step.
const MAX_BLOCKS_PER_STEP: f64 = 4096.0;
/// Parts of the indexer's statements that read many rooms.
const INDEXER_STATEMENTS: [&str; 2] =
    ["UPDATE search_progress", "JOIN search_progress p ON p.room_id = r.id"];
/// Enough executions for PostgreSQL to switch to a generic plan.
const EXECUTIONS: usize = 8;
/// The tables that grow with the number of messages.
const LARGE_TABLES: [&str; 6] =
    ["messages", "events", "members", "search_blocks", "reactions", "message_versions"];

/// 1,000 rooms with 1,000 messages and 50 other events each. `me` is in the first 100 rooms; the first room has 999
/// other members. One more room has 30,000 messages that are private to others, and 20,000 more public rooms are empty.
const LOAD_SQL: &str = "
SET synchronous_commit = off;
INSERT INTO users (id, name) SELECT 'u' || n, 'User ' || n FROM generate_series(1, 5000) n;
INSERT INTO users (id, name) VALUES ('me', 'Me');
INSERT INTO rooms (id, partition, kind, name, created_by, head_seq, member_count, updated_at)
  SELECT 'room' || r, r % 64, CASE WHEN r % 10 = 0 THEN 'public' ELSE 'private' END, 'Room ' || r, 'u1', 1050, 5,
    now() - r * interval '1 minute' FROM generate_series(1, 1000) r;
INSERT INTO members (room_id, user_id, role, read_seq, read_at)
  SELECT 'room' || r, 'u' || (r * 5 + m), 'member', 900, now() - m * interval '1 hour'
  FROM generate_series(1, 1000) r, generate_series(0, 4) m WHERE r * 5 + m <= 5000
  UNION ALL SELECT 'room1', 'u' || m, 'member', m, now() - m * interval '1 minute' FROM generate_series(1000, 1993) m
  UNION ALL SELECT 'room' || r, 'me', 'member', CASE WHEN r % 2 = 0 THEN 0 ELSE 1000 END, now() FROM generate_series(1, 100) r;
DROP INDEX messages_by_sender;
INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, visible_users, at, last_seq)
  SELECT 'room' || r, s, gen_random_uuid(), CASE WHEN s % 97 = 0 THEN 'me' ELSE 'u' || (r * 5 + s % 5) END, 'c' || s, 'text',
    'common ' || 'w' || (r * 31 + s * 7) % 5000 || ' x' || (r * 17 + s) % 900 || CASE WHEN (r + s) % 1009 = 0 THEN ' needle' ELSE '' END,
    CASE WHEN s % 50 = 1 THEN ARRAY['u1'] END,
    now() - interval '30 days' + s * interval '30 minutes' + r * interval '1 second', s
  FROM generate_series(1, 1000) r, generate_series(1, 1050) s WHERE s % 21 <> 0;
INSERT INTO rooms (id, partition, kind, name, created_by, head_seq, updated_at)
  SELECT 'square' || n, n % 64, 'public', 'Square ' || n, 'u1', 0, now() - (n / 5) * interval '1 minute' FROM generate_series(1, 20000) n
  UNION ALL SELECT 'hidden', 0, 'private', 'Hidden', 'u1', 30001, now();
INSERT INTO members (room_id, user_id, role) VALUES ('hidden', 'u5000', 'member'), ('hidden', 'me', 'member');
INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, visible_users, at, last_seq)
  SELECT 'hidden', s, gen_random_uuid(), 'u1', 'h' || s, 'text', 'x', CASE WHEN s BETWEEN 2 AND 30000 THEN ARRAY['u1'] END, now(), s
  FROM generate_series(1, 30001) s;
CREATE UNIQUE INDEX messages_by_sender ON messages (sender_id, room_id, client_id);
INSERT INTO events (room_id, seq, type, actor_id, target, at, body)
  SELECT 'room' || r, s, 'message:edited', 'u1', s - 1, now(), '{\"target\": 1, \"content\": \"x\", \"by\": \"u1\"}'
  FROM generate_series(1, 1000) r, generate_series(21, 1050, 21) s;
INSERT INTO reactions (room_id, seq, emoji, user_id, at, event_seq)
  SELECT 'room' || r, s, 'x', 'u' || u, now(), s FROM generate_series(1, 1000) r, generate_series(1, 1050, 50) s, generate_series(1, 3) u;
TRUNCATE search_progress;
INSERT INTO room_epochs SELECT id, 1, 0 FROM rooms;
ANALYZE";

/// Database settings that make the server log the plan of each statement.
const LOG_PLANS: [&str; 6] = [
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
    "auto_explain.log_format = 'json'",
    "auto_explain.log_nested_statements = on",
];

struct PlanLog<'a> {
    stack: &'a Stack,
    read: usize,
}

impl PlanLog<'_> {
    /// Returns the plans that were logged since the last call.
    fn take_new_plans(&mut self) -> Result<Vec<Value>> {
        let log = std::fs::read(self.stack.database().server().log())?;
        let text = String::from_utf8_lossy(&log[self.read..]).into_owned();
        self.read = log.len();
        let mut plans = Vec::new();
        for entry in text.split(" ms  plan:\n").skip(1) {
            let json: String = entry.lines().take_while(|line| line.starts_with('\t')).collect();
            plans.push(serde_json::from_str(&json).with_context(|| json.clone())?);
        }
        Ok(plans)
    }
}

fn number_field(node: &Value, field: &str) -> f64 {
    node[field].as_f64().unwrap_or(0.0)
}

/// Calls `look` for each executed node of a plan.
fn visit_executed_nodes<'a>(node: &'a Value, look: &mut impl FnMut(&'a Value)) {
    if number_field(node, "Actual Loops") == 0.0 {
        return;
    }
    look(node);
    node["Plans"].as_array().into_iter().flatten().for_each(|child| visit_executed_nodes(child, look));
}

/// Describes each fault of a plan.
fn plan_faults(plan: &Value, sorted_at_most: f64, scanned_at_most: f64) -> Vec<String> {
    let mut faults = Vec::new();
    visit_executed_nodes(&plan["Plan"], &mut |node| {
        let (kind, table) = (node["Node Type"].as_str().unwrap_or_default(), node["Relation Name"].as_str());
        if kind == "Seq Scan" && table.is_some_and(|table| LARGE_TABLES.contains(&table)) {
            faults.push(format!("a sequential scan of {}", table.unwrap_or_default()));
        }
        let compared = number_field(node, "Rows Removed by Join Filter") * number_field(node, "Actual Loops");
        if compared > MAX_COMPARED_PAIRS {
            faults.push(format!("{compared} pairs of rows are compared that do not belong together"));
        }
        if kind.contains("Sort") {
            let rows = number_field(&node["Plans"][0], "Actual Rows");
            if rows > sorted_at_most {
                faults.push(format!("a sort of {rows} rows by {}", node["Sort Key"]));
            }
        }
        if let Some(table @ ("messages" | "events" | "rooms" | "public_rooms" | "search_blocks")) = table {
            let scanned = number_field(node, "Actual Rows") + number_field(node, "Rows Removed by Filter");
            let begins = || plan["Query Text"].as_str().is_some_and(|text| text.contains("search_progress"));
            let scanned_at_most = match table {
                "search_blocks" if begins() => MAX_BLOCKS_TO_BEGIN,
                "search_blocks" => MAX_BLOCKS_PER_STEP,
                _ => scanned_at_most,
            };
            if scanned > scanned_at_most {
                faults.push(format!("{scanned} rows of {table} are scanned at once"));
            }
        }
    });
    faults
}

#[tokio::test]
async fn reads_use_keys_and_sort_at_most_one_page() -> Result<()> {
    let stack = Stack::builder()
        .gateways(0)
        .own_postgres()
        .persistence_env("TIDINGS_DATABASE_CONNECTIONS", 1)
        .start()
        .await?;
    let database = stack.database();
    database.query(LOAD_SQL).await?;
    for setting in LOG_PLANS {
        database
            .query(&format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {}', current_database()); END $$",
                setting.replace('\'', "''")
            ))
            .await?;
    }
    let behind = "SELECT count(*) FROM rooms r LEFT JOIN search_progress p ON p.room_id = r.id \
                  WHERE r.head_seq > COALESCE(p.indexed_seq, 0)";
    stack.persistence(0).restart().await?;
    let mut plans = PlanLog { stack: &stack, read: 0 };
    let mut wrong = Vec::new();

    database.until(behind, "0").await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut advanced = 0;
    for plan in plans.take_new_plans()? {
        let text = plan["Query Text"].as_str().unwrap_or_default();
        advanced += usize::from(text.contains("UPDATE search_progress"));
        if text.contains("$1") {
            let faults = plan_faults(&plan, MAX_SORTED_ROOMS, ROOM_COUNT);
            wrong.extend(faults.into_iter().map(|fault| format!("the indexer: {fault}\n{text}")));
        }
    }
    ensure!(advanced >= EXECUTIONS, "{advanced} plans move the progress of the index");
    database
        .query(&format!(
            "ANALYZE search_blocks, search_progress; \
             UPDATE search_progress SET indexed_seq = indexed_seq - {POSITIONS_BEHIND} WHERE indexed_seq = 1050"
        ))
        .await?;

    let (me, guest): (Http, Http) = (stack.http("me"), stack.http("u5000"));
    let mut deep = String::new();
    for _ in 0..20 {
        let page = me.get(&format!("/rooms?limit=200{deep}")).await?.expect(200).body;
        deep = format!("&cursor={}", page["next"].as_str().context("the last page")?);
    }
    let (deep, named) = (format!("/rooms?limit=200{deep}"), format!("/rooms?query=room&limit=200{deep}"));
    let mut old = String::new();
    for _ in 0..5 {
        let page = me.get(&format!("/search?q=common&limit=200{old}")).await?.expect(200).body;
        old = format!("&cursor={}", page["next"].as_str().context("the last page")?);
    }
    // All 469 blocks of the hidden room are newer than the cursor.
    let (old, old_absent) = (format!("/search?q=common{old}"), format!("/search?q=absent{old}"));
    let paths = [
        ("/rooms/room1/messages?limit=200", MAX_PAGE_ROWS, "messages"),
        ("/rooms/room1/messages?before=500&limit=200", MAX_PAGE_ROWS, "messages"),
        ("/rooms/room1/messages?after=500&limit=200", MAX_PAGE_ROWS, "messages"),
        ("/rooms/room1/messages?around=500&limit=200", MAX_PAGE_ROWS, "messages"),
        ("/rooms/room1/messages?limit=200&system_events=true", MAX_PAGE_ROWS, "events"),
        ("/rooms/room1/messages/500", MAX_PAGE_ROWS, "messages"),
        ("/rooms/room1", MAX_PAGE_ROWS, "messages"),
        ("/me/rooms?limit=50", MAX_PAGE_ROWS, "members"),
        ("/rooms/room1/events?after=400&limit=200", MAX_PAGE_ROWS, "events"),
        ("/rooms/room1/members?limit=200", MAX_PAGE_ROWS, "members"),
        ("/rooms/room1/receipts", MAX_RECEIPTS, "members"),
        ("/search?q=common&limit=200", MAX_PAGE_ROWS, "search_blocks"),
        ("/search?q=needle", MAX_PAGE_ROWS, "search_blocks"),
        ("/search?q=w77%20x", MAX_PAGE_ROWS, "search_blocks"),
        ("/search?q=c", MAX_PAGE_ROWS, "search_blocks"),
        ("/search?q=common%20nee&room=room1", MAX_PAGE_ROWS, "search_blocks"),
    ];
    let paths =
        paths.map(|(path, sorted_at_most, reads)| (path, sorted_at_most, MAX_SCANNED_MESSAGES, reads));
    let wider = [
        ("/rooms/hidden/messages?limit=200", MAX_PAGE_ROWS, HISTORY_STEP_SEQS, "messages"),
        ("/rooms/hidden/messages?after=1&limit=200", MAX_PAGE_ROWS, HISTORY_STEP_SEQS, "messages"),
        // The export must not read every room.
        ("/me/export", MAX_PAGE_ROWS, MAX_PAGE_ROWS, "messages"),
        ("/rooms?limit=200", TWO_PAGES_ROWS, MAX_PAGE_ROWS, "rooms"),
        (&deep, TWO_PAGES_ROWS, MAX_PAGE_ROWS, "rooms"),
        (&named, 2.0 * MAX_SCANNED_NAMES, MAX_SCANNED_NAMES, "rooms"),
        (&old, MAX_PAGE_ROWS, MAX_SCANNED_MESSAGES, "search_blocks"),
        (&old_absent, MAX_PAGE_ROWS, MAX_SCANNED_MESSAGES, "search_blocks"),
    ];
    for (path, sorted_at_most, scanned_at_most, reads) in paths.into_iter().chain(wider) {
        // Discards the plans of earlier requests.
        plans.take_new_plans()?;
        for _ in 0..EXECUTIONS {
            let asker = if path.contains("hidden") || path.contains("export") { &guest } else { &me };
            asker.get(path).await?.expect(200);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let plans = plans.take_new_plans()?;
        let mut used = 0;
        for plan in &plans {
            visit_executed_nodes(&plan["Plan"], &mut |node| {
                used += usize::from(node["Relation Name"] == reads)
            });
            let text = plan["Query Text"].as_str().unwrap_or_default();
            let faults = if INDEXER_STATEMENTS.iter().any(|part| text.contains(part)) {
                // The indexer scans all rooms in the background.
                plan_faults(plan, MAX_SORTED_ROOMS, ROOM_COUNT)
            } else {
                plan_faults(plan, sorted_at_most, scanned_at_most)
            };
            if !faults.is_empty() {
                wrong.push(format!("{path}: {}\n{text}", faults.join("; ")));
            }
        }
        ensure!(used >= EXECUTIONS, "{path}: {used} plans of {} read {reads}", plans.len());
    }
    wrong.sort();
    wrong.dedup();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    // The measured search finds exactly the messages that contain the word.
    let found = me.get("/search?q=needle&limit=200").await?.expect(200).body;
    let matching = "SELECT count(*) FROM messages m JOIN members b ON b.room_id = m.room_id AND b.user_id = 'me' \
                WHERE m.content LIKE '% needle' AND (m.visible_users IS NULL OR m.sender_id = 'me')";
    let matching: usize = database.value(matching).await?.parse()?;
    ensure!(
        matching > 0 && found["results"].as_array().map(Vec::len) == Some(matching),
        "{matching} messages match, {found}"
    );
    Ok(())
}
