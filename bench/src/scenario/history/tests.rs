//! Tests: the pages of the history scenario are full and at the right positions, and cause no background work.

use anyhow::ensure;
use tidings_harness::Http;

use super::*;

#[tokio::test]
async fn requested_pages_are_full_and_everything_is_indexed() -> Result<()> {
    let folder = Folder::new()?;
    let served = serve_database(
        folder.path(),
        &Arc::new(Postgres::start().await?),
        5_000,
        SearchIndex::MarkedComplete,
    )
    .await?;
    let reader = Http::new(&format!("http://{}", served.address), &served.token);
    for kind in PageKind::ALL {
        for _ in 0..10 {
            let path = kind.path(served.filled);
            let page = reader.get(path.trim_start_matches("/v1")).await?;
            let page = page.parse::<tidings_harness::http::MessagesPage>()?;
            ensure!(page.messages.len() as u64 == PAGE_SIZE, "{path}: {} messages", page.messages.len());
            let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
            ensure!(seqs.windows(2).all(|two| two[1] == two[0] + 1), "{path}: {seqs:?}");
            let length = |message: &tidings_harness::http::MessageObject| message.content.chars().count();
            let lengths: Vec<usize> = page.messages.iter().map(length).collect();
            ensure!(lengths.iter().all(|length| (60..=126).contains(length)), "{path}: {lengths:?}");
            let senders = page.messages.iter().all(|message| message.sender.name.is_some());
            ensure!(senders, "{path}: a sender is not known");
        }
    }
    let first = reader
        .messages(LARGE_ROOM, "after=0&limit=1")
        .await?
        .parse::<tidings_harness::http::MessagesPage>()?;
    ensure!(first.head.seq == served.filled.in_large, "{:?}", first.head);
    // The counts of each room are correct, and every sender is a member of the room.
    let wrong = "SELECT count(*) FROM rooms r WHERE head_seq <> (SELECT max(seq) FROM messages m WHERE m.room_id = r.id) \
                 OR head_seq <> (SELECT count(*) FROM messages m WHERE m.room_id = r.id) \
                 OR member_count <> (SELECT count(*) FROM members m WHERE m.room_id = r.id)";
    ensure!(served.database.value(wrong).await? == "0");
    let not_members = "SELECT count(*) FROM messages m WHERE NOT EXISTS \
                     (SELECT FROM members b WHERE b.room_id = m.room_id AND b.user_id = m.sender_id)";
    ensure!(served.database.value(not_members).await? == "0");
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(served.database.value("SELECT count(*) FROM search_blocks").await? == "0", "it was indexed");
    Ok(())
}
