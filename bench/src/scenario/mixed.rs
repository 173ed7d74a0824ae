//! A realistic mix: many copies of a recorded conversation run at once, with typing before each message, read marks
//! after it, and users who go online and away. Most frames of the mix are not messages.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::{Act, DueAct, Work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

/// A recorded conversation as JSON lines, in order of time.
const CONVERSATION: &str = include_str!("../../../docs/examples/tea.jsonl");
const REPLAY_SPEEDUP: f64 = 2.0;
const TYPING_LEAD_TIME: Duration = Duration::from_secs(1);
const READ_DELAY_MS: std::ops::Range<u64> = 1000..2000;
/// Seed of the random times in the warm-up. Each sample uses the next seed.
const WARMUP_SEED: u64 = 1;

const CPU_PER_MESSAGE: &str = "CPU µs per message, all it entails included";
const P50: &str = "p50 (ms)";
const P99: &str = "p99 (ms)";

#[derive(Deserialize)]
struct RecordedLine {
    at_ms: u64,
    user: String,
    event: String,
    #[serde(default)]
    text: String,
}

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or Tidings loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let conversation = read_conversation()?;
    let copies: u32 = scale.choose(600, 30);
    let time = Duration::from_secs(scale.choose(10, 3));
    let messages = conversation.lines.iter().filter(|line| line.kind == LineKind::Message).count();
    let setting = format!("{copies} conversations");
    let mut scenario = Scenario {
        name: "mixed".into(),
        title: "A chat as people use it".into(),
        method: format!(
            "docs/examples/tea.jsonl ({} people, {messages} messages) goes on in {copies} rooms, {REPLAY_SPEEDUP} \
             times as fast as it was, each begun at a random moment of {} s (by a seed) and wrapped around at its end. \
             Everybody has a connection of their own, spread over two nodes. A second before each message its author \
             is typing; one to two seconds after it everybody else marks the newest as read; those who come and go in \
             the conversation are online and away here. Messages and marks are stored. Acts are done when they are \
             due, whatever has become of those before. CPU time is that of all processes and everything they did, by \
             messages.",
            conversation.people,
            time.as_secs()
        ),
        plots: [("cpu", CPU_PER_MESSAGE), ("p99", P99)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    for subject in Subject::available_chat_servers(&mut scenario).await? {
        let name = subject.name();
        eprintln!("mixed: {name}, {setting}");
        let members: Vec<Vec<u32>> = (0..copies)
            .map(|copy| (0..conversation.people).map(|one| copy * conversation.people + one).collect())
            .collect();
        let mut world =
            World::start(&subject, &ServerRequirements { nodes: 2, stored: true }, &members, &[]).await?;
        world.load.track_seqs();
        let people = (0..copies * conversation.people)
            .map(|number| world.client_spec(number, number as usize, vec![number / conversation.people]))
            .collect();
        world.connect_all(people)?;
        // Warms up. The first read marks have no message to mark and are left out, so this run is not measured.
        world.run(&Work::Open(conversation.acts(copies, time, WARMUP_SEED)))?;
        for seed in (WARMUP_SEED + 1..).take(scale.samples) {
            let acts = conversation.acts(copies, time, seed);
            let count = acts.len();
            let phase = world.run(&Work::Open(acts))?;
            if !phase.accept_or_note(&mut scenario, &subject, &setting)? {
                continue;
            }
            let tally = &phase.tally;
            scenario.add(name, &setting, CPU_PER_MESSAGE, phase.cpu.total() * 1e6 / tally.sent as f64);
            for (process, seconds) in &phase.cpu.0 {
                let figure = format!("{process}: CPU µs per message");
                scenario.add(name, &setting, &figure, seconds * 1e6 / tally.sent as f64);
            }
            scenario.add(name, &setting, P50, tally.delivery_ms(0.5));
            scenario.add(name, &setting, P99, tally.delivery_ms(0.99));
            scenario.add(name, &setting, "acts per message", count as f64 / tally.sent as f64);
            scenario.add(
                name,
                &setting,
                "other frames per message",
                tally.other_frames as f64 / tally.sent as f64,
            );
            scenario.note_if_generator_bound(name, &setting, tally);
        }
    }
    let median_of = |subject: &Subject, figure: &str| scenario.median(subject.name(), &setting, figure);
    let share =
        |figure: &str| median_of(&Subject::Tidings, figure) / median_of(&Subject::socket_io(), figure);
    let (cpu, p99) = (share(CPU_PER_MESSAGE), share(P99));
    scenario.add_target("CPU per message, share of Socket.IO's", cpu, Bound::AtMost, 1.0);
    scenario.add_target("p99 of deliveries, share of Socket.IO's", p99, Bound::AtMost, 1.0);
    Ok(scenario)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Message,
    Join,
    Leave,
}

struct ConversationLine {
    at: Duration,
    by: u32,
    kind: LineKind,
    characters: u16,
}

struct Conversation {
    people: u32,
    lines: Vec<ConversationLine>,
}

fn read_conversation() -> Result<Conversation> {
    let mut names: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for line in CONVERSATION.lines() {
        let line: RecordedLine = serde_json::from_str(line).context("the conversation")?;
        let by = names.iter().position(|name| *name == line.user).unwrap_or_else(|| {
            names.push(line.user.clone());
            names.len() - 1
        });
        lines.push(ConversationLine {
            at: Duration::from_millis(line.at_ms).div_f64(REPLAY_SPEEDUP),
            by: by as u32,
            kind: match line.event.as_str() {
                "join" => LineKind::Join,
                "leave" => LineKind::Leave,
                _ => LineKind::Message,
            },
            characters: line.text.chars().count() as u16,
        });
    }
    Ok(Conversation { people: names.len() as u32, lines })
}

impl Conversation {
    /// The acts of all copies, in order of time. Each copy begins at a random time; acts at or after `time` continue at
    /// 0.
    fn acts(&self, copies: u32, time: Duration, seed: u64) -> Vec<DueAct> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut acts = Vec::new();
        for room in 0..copies {
            let begun = time.mul_f64(random.random());
            for line in &self.lines {
                let mut add = |person: u32, at: Duration, act: Act| {
                    let at = Duration::from_nanos((at.as_nanos() % time.as_nanos()) as u64);
                    acts.push(DueAct { at, client: room * self.people + person, act });
                };
                // Adds `time`, because typing is one second before a message, which may be before 0.
                let at = time + begun + line.at;
                match line.kind {
                    LineKind::Join => add(line.by, at, Act::Online),
                    LineKind::Leave => add(line.by, at, Act::Away),
                    LineKind::Message => {
                        add(line.by, at.saturating_sub(TYPING_LEAD_TIME), Act::Typing { room });
                        add(line.by, at, Act::Send { room, characters: line.characters });
                        for reader in (0..self.people).filter(|reader| *reader != line.by) {
                            let after = Duration::from_millis(random.random_range(READ_DELAY_MS));
                            add(reader, at + after, Act::Read { room });
                        }
                    }
                }
            }
        }
        acts.sort_by_key(|due| due.at);
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_typing_and_read_marks_within_the_time() {
        let conversation = read_conversation().unwrap();
        let time = Duration::from_secs(3);
        let acts = conversation.acts(20, time, 7);
        let count = |wanted: fn(&Act) -> bool| acts.iter().filter(|due| wanted(&due.act)).count();
        let sends = count(|act| matches!(act, Act::Send { .. }));
        assert!(sends > 0);
        assert_eq!(count(|act| matches!(act, Act::Typing { .. })), sends);
        assert_eq!(count(|act| matches!(act, Act::Read { .. })), sends * (conversation.people as usize - 1));
        assert!(acts.is_sorted_by_key(|due| due.at) && acts.iter().all(|due| due.at < time));
    }
}
