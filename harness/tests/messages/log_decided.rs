//! What is decided by something that changed meanwhile: a delete, a role, the process that persistence reaches.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::log_world::World;
use anyhow::{Result, ensure};
use tidings_shared::{
    error::ErrorCode,
    ids::{ClientId, Epoch, Seq, UserId},
    log::{AppendError, Entry, Known, ReadMark, Target, record::Visibility},
    message::{
        AckStage,
        change::{Action, Actor, Change},
    },
};

#[tokio::test]
async fn the_repetition_of_a_stored_event_is_answered_with_the_first_even_in_an_archived_room() -> Result<()>
{
    let world = World::new(1000).await?;
    world.append("a").await?;
    let archive = Entry { sets: vec![("archived", "1".to_owned())], ..world.entry("archive") };
    world.log.append(&archive).await?;
    let known = Known::Stored { seq: Seq(1), id: "old".into(), at_ms: 7 };
    world.script.known.lock().unwrap().insert("forgotten".into(), known);
    let found = world.append("forgotten").await?;
    ensure!(found.duplicate && found.seq == Seq(1), "{found:?}");
    ensure!(world.append("new").await == Err(AppendError::Archived));
    // The same for who may no longer send.
    let demotion = Entry {
        membership: Some((&world.alice, "guest")),
        allowed_in_archive: true,
        sender: None,
        ..world.entry("demotion")
    };
    world.log.append(&demotion).await?;
    ensure!(world.append("forgotten").await?.duplicate);
    ensure!(world.append("new").await == Err(AppendError::RoleTooLow));
    Ok(())
}

fn stored(deleted: bool, upto: u64) -> Target {
    Target {
        id: "id".into(),
        sender: "alice".into(),
        visibility: Visibility::default(),
        deleted,
        upto: Seq(upto),
        has_attachments: false,
    }
}

fn change(action: Action) -> Change {
    let client_id = ClientId::parse(&uuid::Uuid::now_v7().to_string()).unwrap();
    Change { target: Seq(1), id: None, client_id, ack: AckStage::Accepted, action }
}

fn edit() -> Change {
    change(Action::Edit { content: "shown again".into(), metadata: None })
}

#[tokio::test]
async fn no_edit_is_appended_behind_a_delete_that_is_not_stored_yet() -> Result<()> {
    let world = Arc::new(World::new(1000).await?);
    let alice = world.alice.clone();
    let actor = Actor { user: &alice, role: "member", admin: false };
    world.append("a").await?;
    world.log.change(&world.room, &actor, &edit()).await?;
    world.log.change(&world.room, &actor, &change(Action::Delete)).await?;
    // PostgreSQL is behind: there the message is as it was before the delete, which is 3.
    *world.script.target.lock().unwrap() = Some(stored(false, 2));
    let catching_up = tokio::spawn({
        let world = world.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            *world.script.target.lock().unwrap() = Some(stored(true, 3));
        }
    });
    let refusal = world.log.change(&world.room, &actor, &edit()).await.unwrap_err();
    ensure!(refusal.code == ErrorCode::Conflict, "{refusal:?}");
    catching_up.await?;
    let read = world.log.read(&world.room, Some(Seq(2)), Epoch(0), None, &[]).await?;
    ensure!(read.head.seq == Seq(3) && read.records.len() == 1, "{read:?}");
    // It is of that message only once what is stored says so, and others wait no longer.
    *world.script.target.lock().unwrap() = Some(stored(false, 3));
    world.log.change(&world.room, &actor, &edit()).await?;
    Ok(())
}

#[tokio::test]
async fn a_change_gives_up_when_a_delete_is_not_stored_in_time() -> Result<()> {
    let world = World::new(1000).await?;
    let actor = Actor { user: &world.alice, role: "member", admin: false };
    world.append("a").await?;
    world.log.change(&world.room, &actor, &change(Action::Delete)).await?;
    *world.script.target.lock().unwrap() = Some(stored(false, 1));
    let refusal = world.log.change(&world.room, &actor, &edit()).await.unwrap_err();
    ensure!(refusal.code == ErrorCode::Unavailable, "{refusal:?}");
    // A delete waits for nobody.
    world.log.change(&world.room, &actor, &change(Action::Delete)).await?;
    Ok(())
}

#[tokio::test]
async fn a_change_of_role_leaves_what_somebody_has_read_where_it_was() -> Result<()> {
    let world = World::new(1000).await?;
    let bob = UserId::parse("bob")?;
    for n in 0..4 {
        world.append(&n.to_string()).await?;
    }
    let mark = |seq| [ReadMark { user: bob.clone(), seq: Seq(seq), delivered: false }];
    let stands = async |seq| anyhow::Ok(world.log.mark(&world.room, &mark(seq)).await?.stands[0]);
    let change = async |role, members_delta| {
        let change = Entry { membership: Some((&bob, role)), members_delta, ..world.entry(role) };
        world.log.append(&change).await
    };
    ensure!(stands(3).await? == Some(Seq(3)));
    change("admin", 0).await?;
    ensure!(stands(2).await? == Some(Seq(3)), "it never goes back");
    change("removed", -1).await?;
    ensure!(stands(4).await?.is_none());
    change("member", 1).await?;
    ensure!(stands(2).await? == Some(Seq(2)), "who comes anew has read nothing");
    change("owner", 0).await?;
    ensure!(stands(1).await? == Some(Seq(2)));
    Ok(())
}

#[tokio::test]
async fn nobody_goes_on_in_an_epoch_whose_process_persistence_does_not_reach() -> Result<()> {
    let world = World::new(1000).await?;
    world.append("a").await?;
    let epoch = world.log.session().await?.epoch;
    world.script.away.store(true, Ordering::Relaxed);
    world.log.discard(&world.log.session().await?);
    ensure!(world.log.session().await?.epoch == epoch, "the same process, and nobody says otherwise");
    world.append("b").await?;
    world.script.elsewhere.store(true, Ordering::Relaxed);
    world.log.discard(&world.log.session().await?);
    let refused = world.append("c").await;
    ensure!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    world.script.elsewhere.store(false, Ordering::Relaxed);
    world.script.away.store(false, Ordering::Relaxed);
    // An attempt that failed a moment ago is not repeated at once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.append("c").await?;
    Ok(())
}
