//! What probes and hooks saw, by step and pod, as a table.

use std::fmt::Write;
use std::time::Instant;

/// The columns of the table that hold answers to probes.
#[derive(Debug, Clone, Copy)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

/// Everything that probes and hooks of the walk saw, in the order of the steps.
pub struct Record {
    step: String,
    begun: Instant,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    step: String,
    pod: String,
    /// Equal answers in a row, with their number, for each kind of probe.
    answers: [Vec<(String, u32)>; 3],
    events: Vec<String>,
}

impl Record {
    pub fn new() -> Record {
        Record { step: String::new(), begun: Instant::now(), rows: Vec::new() }
    }

    /// Begins a step.
    pub fn begin(&mut self, step: &str) {
        eprintln!("walk: {step}");
        step.clone_into(&mut self.step);
        self.begun = Instant::now();
    }

    /// Adds the answer to a probe.
    pub fn answer(&mut self, pod: &str, kind: ProbeKind, answer: &str) {
        let answers = &mut self.row(pod).answers[kind as usize];
        match answers.last_mut() {
            Some((last, count)) if last == answer => *count += 1,
            _ => answers.push((answer.to_owned(), 1)),
        }
    }

    /// Adds what happened to a pod or hook.
    pub fn event(&mut self, pod: &str, event: &str) {
        let event = format!("{:.1} {event}", self.begun.elapsed().as_secs_f64());
        self.row(pod).events.push(event);
    }

    fn row(&mut self, pod: &str) -> &mut Row {
        let found = self.rows.iter().position(|row| row.step == self.step && row.pod == pod);
        let index = found.unwrap_or_else(|| {
            self.rows.push(Row { step: self.step.clone(), pod: pod.to_owned(), ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// The table. Numbers before events are seconds since the step began.
    pub fn table(&self) -> String {
        let mut table = "| step | pod or hook | startup | readiness | liveness | events |\n".to_owned();
        table += "| --- | --- | --- | --- | --- | --- |\n";
        for row in &self.rows {
            let [startup, readiness, liveness] = row.answers.each_ref().map(|answers| {
                let words = answers.iter().map(|(answer, count)| format!("{count} × {answer}"));
                words.collect::<Vec<_>>().join(", ")
            });
            let (step, pod, events) = (&row.step, &row.pod, row.events.join("; "));
            // Writing to a string does not fail.
            let _ = writeln!(table, "| {step} | {pod} | {startup} | {readiness} | {liveness} | {events} |");
        }
        table
    }
}
