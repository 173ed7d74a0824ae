//! Updates the search index of a test system, and checks that the index is made of present texts only.

use anyhow::{Result, ensure};
use tidings_harness::Stack;

/// Waits until every room is indexed up to its head.
pub async fn until_indexed(stack: &Stack) -> Result<()> {
    let behind = "SELECT count(*) FROM rooms r LEFT JOIN search_progress p ON p.room_id = r.id \
                  WHERE r.head_seq > COALESCE(p.indexed_seq, 0)";
    stack.database().until(behind, "0").await
}

/// Indexes every room up to its head. When a replica starts, it indexes incomplete blocks without a delay.
pub async fn index_all(stack: &Stack) -> Result<()> {
    stack.persistence(0).restart().await?;
    until_indexed(stack).await
}

/// Ensures that the index has no trace of earlier texts: an index that is made anew from the present texts is equal.
pub async fn ensure_index_is_of_present_texts(stack: &Stack) -> Result<()> {
    index_all(stack).await?;
    let blocks = "SELECT room_id, block, first_at, last_at, signature FROM search_blocks ORDER BY 1, 2";
    let found = stack.database().query(blocks).await?;
    stack.database().query("TRUNCATE search_progress, search_blocks").await?;
    index_all(stack).await?;
    let expected = stack.database().query(blocks).await?;
    ensure!(found == expected, "the index is {found:?}, but the present texts make {expected:?}");
    Ok(())
}
