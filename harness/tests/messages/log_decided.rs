//! Decisions of the log after an archive, a delete or a role change, and while persistence reaches another Redis
//! process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::log_world::LogFixture;
use anyhow::{Result, ensure};
use tidings_shared::{
    error::ErrorCode,
    ids::{ClientId, Epoch, Seq, UserId},
    log::{AppendError, Entry, KnownClientId, ReadMark, Target, record::Visibility},
    message::{
        AckStage,
        change::{Action, Actor, Change},
    },
};

#[tokio::test]
async fn repeated_stored_event_gets_first_answer_in_archived_room() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    let archive = Entry { sets: vec![("archived", "1".to_owned())], ..fixture.entry("archive") };
    fixture.log.append(&archive).await?;
    let known = KnownClientId::Stored { seq: Seq(1), id: "old".into(), at_ms: 7 };
    fixture.authority.known.lock().unwrap().insert("forgotten".into(), known);
    let found = fixture.append("forgotten").await?;
    ensure!(found.duplicate && found.seq == Seq(1), "{found:?}");
    ensure!(fixture.append("new").await == Err(AppendError::Archived));
    // A user who was demoted to guest may not send either.
    let demotion = Entry {
        membership: Some((&fixture.alice, "guest")),
        allowed_in_archive: true,
        sender: None,
        ..fixture.entry("demotion")
    };
    fixture.log.append(&demotion).await?;
    ensure!(fixture.append("forgotten").await?.duplicate);
    ensure!(fixture.append("new").await == Err(AppendError::RoleTooLow));
    Ok(())
}

fn stored_target(deleted: bool, upto: u64) -> Target {
    Target {
        id: "id".into(),
        sender: "alice".into(),
        visibility: Visibility::default(),
        deleted,
        upto: Seq(upto),
        has_attachments: false,
        mentions: Vec::new(),
    }
}

fn change_of_first_event(action: Action) -> Change {
    let client_id = ClientId::parse(&uuid::Uuid::now_v7().to_string()).unwrap();
    Change { target: Seq(1), id: None, client_id, ack: AckStage::Accepted, action }
}

fn edit_of_first_event() -> Change {
    change_of_first_event(Action::Edit { content: "shown again".into(), metadata: None, mentions: None })
}

#[tokio::test]
async fn edit_after_unstored_delete_is_refused() -> Result<()> {
    let fixture = Arc::new(LogFixture::new(1000).await?);
    let alice = fixture.alice.clone();
    let actor = Actor { user: &alice, role: "member", admin: false };
    fixture.append("a").await?;
    fixture.log.change(&fixture.room, &actor, &edit_of_first_event()).await?;
    fixture.log.change(&fixture.room, &actor, &change_of_first_event(Action::Delete)).await?;
    // PostgreSQL lags: it has the state before the delete, which has seq 3.
    *fixture.authority.target.lock().unwrap() = Some(stored_target(false, 2));
    let catching_up = tokio::spawn({
        let fixture = fixture.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            *fixture.authority.target.lock().unwrap() = Some(stored_target(true, 3));
        }
    });
    let refusal = fixture.log.change(&fixture.room, &actor, &edit_of_first_event()).await.unwrap_err();
    ensure!(refusal.code == ErrorCode::Conflict, "{refusal:?}");
    catching_up.await?;
    let read = fixture.log.read(&fixture.room, Some(Seq(2)), Epoch(0), None, &[]).await?;
    ensure!(read.head.seq == Seq(3) && read.records.len() == 1, "{read:?}");
    // Everything up to seq 3 is stored and the target is not deleted, so the delete concerned another message. The edit
    // need not wait.
    *fixture.authority.target.lock().unwrap() = Some(stored_target(false, 3));
    fixture.log.change(&fixture.room, &actor, &edit_of_first_event()).await?;
    Ok(())
}

#[tokio::test]
async fn change_gives_up_if_delete_is_not_stored_in_time() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let actor = Actor { user: &fixture.alice, role: "member", admin: false };
    fixture.append("a").await?;
    fixture.log.change(&fixture.room, &actor, &change_of_first_event(Action::Delete)).await?;
    *fixture.authority.target.lock().unwrap() = Some(stored_target(false, 1));
    let refusal = fixture.log.change(&fixture.room, &actor, &edit_of_first_event()).await.unwrap_err();
    ensure!(refusal.code == ErrorCode::Unavailable, "{refusal:?}");
    // A delete does not wait.
    fixture.log.change(&fixture.room, &actor, &change_of_first_event(Action::Delete)).await?;
    Ok(())
}

#[tokio::test]
async fn role_change_keeps_read_mark() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    let bob = UserId::parse("bob")?;
    for n in 0..4 {
        fixture.append(&n.to_string()).await?;
    }
    let mark = |seq| [ReadMark { user: bob.clone(), seq: Seq(seq), delivered: false }];
    let position = async |seq| anyhow::Ok(fixture.log.mark(&fixture.room, &mark(seq)).await?.positions[0]);
    let change = async |role, members_delta| {
        let change = Entry { membership: Some((&bob, role)), members_delta, ..fixture.entry(role) };
        fixture.log.append(&change).await
    };
    ensure!(position(3).await? == Some(Seq(3)));
    change("admin", 0).await?;
    ensure!(position(2).await? == Some(Seq(3)), "a mark must not move back");
    change("removed", -1).await?;
    ensure!(position(4).await?.is_none());
    change("member", 1).await?;
    ensure!(position(2).await? == Some(Seq(7)), "the read mark of a returning member begins at the join");
    change("owner", 0).await?;
    ensure!(position(1).await? == Some(Seq(7)));
    Ok(())
}

#[tokio::test]
async fn append_fails_if_persistence_reaches_other_redis_process() -> Result<()> {
    let fixture = LogFixture::new(1000).await?;
    fixture.append("a").await?;
    let epoch = fixture.log.session_of(&fixture.room).await?.epoch;
    fixture.authority.unavailable.store(true, Ordering::Relaxed);
    fixture.log.discard(&fixture.log.session_of(&fixture.room).await?);
    ensure!(
        fixture.log.session_of(&fixture.room).await?.epoch == epoch,
        "the same process must keep its epoch while persistence is unavailable"
    );
    fixture.append("b").await?;
    fixture.authority.other_process.store(true, Ordering::Relaxed);
    fixture.log.discard(&fixture.log.session_of(&fixture.room).await?);
    let refused = fixture.append("c").await;
    ensure!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    fixture.authority.other_process.store(false, Ordering::Relaxed);
    fixture.authority.unavailable.store(false, Ordering::Relaxed);
    // The log waits before it tries again to open a session.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fixture.append("c").await?;
    Ok(())
}
