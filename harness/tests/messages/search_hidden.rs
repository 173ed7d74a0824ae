//! The words of hidden messages change nothing in the answers of a search: the number of pages, their results, their
//! cursors and their bytes are the same whether hidden messages contain the words or not.

use anyhow::{Context as _, Result, bail, ensure};
use tidings_harness::{Stack, http};

use crate::search_index::index_all;

/// More pages than any search of these tests has, and fewer than the rate limit of a user allows.
const MAX_PAGES: usize = 12;
/// 400 blocks of 64 seqs. A page of a search ends at 256 blocks whose visible texts contain the words.
const BLOCKS: i64 = 400;
const SEQS: i64 = BLOCKS * 64;

struct SearchedRoom {
    stack: Stack,
    room: String,
}

impl SearchedRoom {
    /// Alice's room with bob and without messages.
    async fn new() -> Result<Self> {
        let stack = Stack::builder().gateways(0).start().await?;
        let room = stack.http("alice").new_room(&["bob"]).await?;
        Ok(Self { stack, room })
    }

    /// Stores a message of alice at each seq from 1 to [`SEQS`]. `content` and `visible_users` are SQL of the seq `n`.
    async fn fill(&self, content: &str, visible_users: &str) -> Result<()> {
        let room = &self.room;
        self.query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, visible_users, at, last_seq) \
             SELECT '{room}', n, gen_random_uuid(), 'alice', 'c' || n, 'text', {content}, {visible_users}, \
               timestamptz '2026-01-01' + n * interval '700 milliseconds', n FROM generate_series(1, {SEQS}) n; \
             UPDATE rooms SET head_seq = {SEQS} WHERE id = '{room}'"
        ))
        .await
    }

    async fn query(&self, sql: &str) -> Result<()> {
        self.stack.database().query(sql).await.map(drop)
    }

    /// Sets the head of the room, the seq up to which it is indexed, and the index of its first blocks. All bits of
    /// their signatures are set, so they seem to contain every word.
    async fn set_index(&self, head: i64, indexed: i64, blocks: i64) -> Result<()> {
        let room = &self.room;
        self.query(&format!(
            "UPDATE rooms SET head_seq = {head} WHERE id = '{room}'; \
             INSERT INTO search_progress VALUES ('{room}', {indexed}) \
               ON CONFLICT (room_id) DO UPDATE SET indexed_seq = EXCLUDED.indexed_seq; \
             INSERT INTO search_blocks (room_id, block, first_at, last_at, signature) \
             SELECT '{room}', n, t, t, '\\xffffffffffffffffffffffff' FROM generate_series(0, {blocks} - 1) n, \
               LATERAL (SELECT timestamptz '2026-01-01' + n * interval '700 milliseconds') v (t)"
        ))
        .await
    }

    /// Rebuilds the index from the present texts.
    async fn index_again(&self) -> Result<()> {
        self.query("TRUNCATE search_progress, search_blocks").await?;
        index_all(&self.stack).await
    }

    /// The bytes of all pages of bob's search.
    async fn pages(&self, query: &str, limit: usize) -> Result<Vec<String>> {
        let (client, token) = (http::client(), self.stack.token("bob"));
        let path =
            format!("{}/v1/search?q={}&limit={limit}", self.stack.persistence(0).url(), http::encode(query));
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        while pages.len() < MAX_PAGES {
            let answer = client.get(format!("{path}{cursor}")).bearer_auth(&token).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            ensure!(status == 200, "{status}: {text}");
            let page: serde_json::Value = serde_json::from_str(&text)?;
            pages.push(text);
            let Some(next) = page["next"].as_str() else { return Ok(pages) };
            cursor = format!("&cursor={next}");
        }
        bail!("the search does not end: {pages:?}")
    }
}

/// The number of results in pages.
fn count_results(pages: &[String]) -> Result<usize> {
    let count = |page: &String| -> Result<usize> {
        let page: serde_json::Value = serde_json::from_str(page)?;
        Ok(page["results"].as_array().context("no results")?.len())
    };
    pages.iter().map(count).sum()
}

#[tokio::test]
async fn hidden_hits_change_no_byte_of_search_pages() -> Result<()> {
    let searched = SearchedRoom::new().await?;
    // Bob may see only the three oldest messages.
    searched.fill("'needle'", "CASE WHEN n > 3 THEN ARRAY['alice'] END").await?;
    let hidden = format!("room_id = '{}' AND seq > 3", searched.room);
    index_all(&searched.stack).await?;
    let private = searched.pages("needle", 2).await?;
    assert_eq!((private.len(), count_results(&private)?), (2, 3), "{private:?}");

    // The index still has the words of these messages, because no event deletes them.
    let deleted = format!("UPDATE messages SET deleted = true, visible_users = NULL WHERE {hidden}");
    searched.query(&deleted).await?;
    assert_eq!(searched.pages("needle", 2).await?, private, "deleted messages that hit");

    let others = "deleted = false, visible_users = ARRAY['alice'], content = 'thread'";
    searched.query(&format!("UPDATE messages SET {others} WHERE {hidden}")).await?;
    searched.index_again().await?;
    assert_eq!(searched.pages("needle", 2).await?, private, "private messages with other words");

    searched.query(&format!("DELETE FROM messages WHERE {hidden}")).await?;
    searched.index_again().await?;
    assert_eq!(searched.pages("needle", 2).await?, private, "no hidden messages");
    Ok(())
}

#[tokio::test]
async fn hidden_hits_do_not_move_the_end_of_an_early_page() -> Result<()> {
    let searched = SearchedRoom::new().await?;
    // The first 300 blocks have both words for bob, but never in one message. In each block the last message is hidden
    // and has both.
    let content = "CASE WHEN n % 64 = 63 THEN 'tea milk' WHEN n % 2 = 0 THEN 'tea' ELSE 'milk' END";
    let visible_users = "CASE WHEN n % 64 = 63 OR n >= 300 * 64 THEN ARRAY['alice'] END";
    searched.fill(content, visible_users).await?;
    searched.query("UPDATE messages SET content = 'milk and tea' WHERE seq = 1").await?;
    index_all(&searched.stack).await?;
    let with_hits = searched.pages("tea milk", 50).await?;
    assert_eq!((with_hits.len(), count_results(&with_hits)?), (2, 1), "{with_hits:?}");

    searched.query("UPDATE messages SET content = 'water' WHERE visible_users IS NOT NULL").await?;
    searched.index_again().await?;
    assert_eq!(searched.pages("tea milk", 50).await?, with_hits);
    Ok(())
}

#[tokio::test]
async fn search_page_ends_at_same_block_for_any_word() -> Result<()> {
    let searched = SearchedRoom::new().await?;
    let room = &searched.room;
    // One block in 32 has a message, and only the message of the oldest block contains the word. The other blocks have
    // no messages: a search treats them like blocks with hidden messages only.
    searched
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             SELECT '{room}', n * 64 + 1, gen_random_uuid(), 'alice', 'c' || n, 'text', \
               CASE n WHEN 0 THEN 'needle' ELSE 'thread' END, \
               timestamptz '2026-01-01' + n * interval '700 milliseconds', n * 64 + 1 \
             FROM generate_series(0, 9999, 32) n"
        ))
        .await?;
    searched.set_index(640_000, 640_000, 10_000).await?;
    let with_word = searched.pages("needle", 50).await?;
    assert_eq!((with_word.len(), count_results(&with_word)?), (2, 1), "{with_word:?}");
    searched.query("UPDATE search_blocks SET signature = '\\x00000000' WHERE block > 0").await?;
    assert_eq!(searched.pages("needle", 50).await?, with_word);
    Ok(())
}

#[tokio::test]
async fn unindexed_message_is_not_found_by_hidden_words() -> Result<()> {
    let searched = SearchedRoom::new().await?;
    let room = &searched.room;
    // Only the first position is indexed, and the message of the second is not among the newest 1,000 positions.
    searched
        .query(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
             VALUES ('{room}', 2, gen_random_uuid(), 'alice', 'c', 'text', 'needle', timestamptz '2026-01-01', 2)"
        ))
        .await?;
    searched.set_index(2000, 1, 1).await?;
    let with_word = searched.pages("needle", 50).await?;
    assert_eq!((with_word.len(), count_results(&with_word)?), (1, 0), "{with_word:?}");
    searched.query("UPDATE search_blocks SET signature = '\\x00000000'").await?;
    assert_eq!(searched.pages("needle", 50).await?, with_word);
    Ok(())
}
