//! The check of mentions on a real Redis, with the roles and client ids that a test chooses for PostgreSQL.

use std::sync::atomic::Ordering;

use crate::log_world::LogFixture;
use anyhow::{Result, ensure};
use tidings_shared::{
    command_fields::object,
    error::Refusal,
    ids::{Epoch, Seq},
    log::{Accepted, KnownClientId, MinRole},
    message::Draft,
};

/// A message whose mentions are checked. `mentions` is a JSON list.
fn draft(client_id: &str, mentions: &str) -> Result<Draft, Refusal> {
    // Each message claims that it is a first attempt.
    let json = format!(r#"{{"client_id":"{client_id}","content":"x","attempt":1,"mentions":{mentions}}}"#);
    Draft::from_form(object(&json)?, 1000)
}

/// Checks the mentions of a message of alice.
async fn check(fixture: &LogFixture, client_id: &str, mentions: &str) -> Result<(), Refusal> {
    let draft = draft(client_id, mentions)?;
    let mut entry = draft.entry(&fixture.room, &fixture.alice, None, None, MinRole::Member);
    fixture.log.check_mentions(&mut entry, &draft.mentions).await
}

/// Checks the mentions of a message of alice, and then appends it, as the services do.
async fn send(fixture: &LogFixture, client_id: &str, mentions: &str) -> Result<Accepted, Refusal> {
    let draft = draft(client_id, mentions)?;
    let mut entry = draft.entry(&fixture.room, &fixture.alice, None, None, MinRole::Member);
    fixture.log.check_mentions(&mut entry, &draft.mentions).await?;
    Ok(fixture.log.append(&entry).await?)
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
async fn repetition_marked_as_first_attempt_publishes_no_unchecked_mention() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let bob = r#"["bob"]"#;
    ensure!(send(&fixture, "new", bob).await?.seq == Seq(1));
    fixture.authority.without_members.store(true, Ordering::Relaxed);
    // Only PostgreSQL knows the first message.
    let stored = KnownClientId::Stored { seq: Seq(7), id: "i".to_owned(), at_ms: 1 };
    fixture.authority.known.lock().unwrap().insert("stored".to_owned(), stored);
    let repeated = send(&fixture, "stored", bob).await?;
    ensure!(repeated.duplicate && repeated.seq == Seq(7), "{repeated:?}");
    let head = fixture.log.read(&fixture.room, None, Epoch(0), None, &[]).await?.head;
    ensure!(head.seq == Seq(1), "the repetition was appended: {head:?}");
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
