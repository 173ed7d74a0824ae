//! The check of mentions on a real Redis, with the roles and client ids that a test chooses for PostgreSQL.

use std::sync::atomic::Ordering;

use crate::log_world::LogFixture;
use anyhow::{Result, ensure};
use tidings_shared::{command_fields::Fields, error::Refusal, ids::Seq, log::KnownClientId, message::Draft};

/// Checks the mentions of a message of alice. `mentions` is a JSON list.
async fn check(fixture: &LogFixture, client_id: &str, mentions: &str) -> Result<(), Refusal> {
    let json = format!(r#"{{"client_id":"{client_id}","content":"x","mentions":{mentions}}}"#);
    let draft = Draft::from_fields(&Fields::parse(&json)?, 1000)?;
    fixture.log.check_mentions(&fixture.room, &fixture.alice, &draft).await
}

#[tokio::test]
async fn refused_mention_does_not_refuse_repetition_of_known_message() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let bob = r#"["bob"]"#;
    ensure!(check(&fixture, "new", bob).await.is_ok());
    fixture.authority.without_members.store(true, Ordering::Relaxed);
    let refused = check(&fixture, "new", bob).await;
    ensure!(refused.is_err_and(|refusal| refusal.field.as_deref() == Some("mentions")));

    let stored = KnownClientId::Stored { seq: Seq(7), id: "i".to_owned(), at_ms: 1 };
    fixture.authority.known.lock().unwrap().insert("stored".to_owned(), stored);
    ensure!(check(&fixture, "stored", bob).await.is_ok());
    fixture.append("recent").await?;
    ensure!(check(&fixture, "recent", bob).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn message_without_mentions_needs_no_look_up() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    // Without an epoch no command reaches Redis, so each look-up fails.
    fixture.authority.unavailable.store(true, Ordering::Relaxed);
    ensure!(check(&fixture, "new", "[]").await.is_ok());
    ensure!(
        check(&fixture, "new", r#"["bob"]"#).await.is_err_and(|refusal| refusal.retry_after_ms.is_some())
    );
    ensure!(*fixture.authority.look_ups.lock().unwrap() == 0);
    Ok(())
}
