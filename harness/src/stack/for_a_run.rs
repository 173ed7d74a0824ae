//! The system of a test run, which nextest starts by a setup script. The script starts a background process, passes the
//! address of its system to the tests, and ends. The background process ends with nextest, however nextest ends, and
//! leaves nothing behind.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::shared::{SHARED_SYSTEM, SystemAddress, builder};

/// The file in which a setup script writes variables for the tests.
const SCRIPT_OUTPUT: &str = "NEXTEST_ENV";
/// How often the background process looks for nextest.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Positions in `/proc/PID/stat` behind the name of the program.
const STATE_FIELD: usize = 0;
const START_TIME_FIELD: usize = 19;

/// The line that the background process prints.
#[derive(Serialize, Deserialize)]
enum StartReport {
    Started(SystemAddress),
    Failed(String),
}

/// A process, written as `PID:TIME`. The time of its start distinguishes it from a later process with the same pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    started: u64,
}

impl Owner {
    fn of(pid: u32) -> Result<Owner> {
        Ok(Owner { pid, started: start_time(pid).with_context(|| format!("process {pid} has ended"))? })
    }

    fn runs(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

impl FromStr for Owner {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Owner> {
        let (pid, started) = text.split_once(':').context("expected PID:TIME")?;
        Ok(Owner { pid: pid.parse()?, started: started.parse()? })
    }
}

/// When the process started, in ticks; `None` if it has ended. A zombie has ended.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain spaces and brackets.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ended = matches!(*fields.get(STATE_FIELD)?, "Z" | "X");
    if ended { None } else { fields.get(START_TIME_FIELD)?.parse().ok() }
}

/// The setup script: starts the background process, and writes the address of its system for the tests.
///
/// # Errors
/// When the program does not run under nextest, or the system does not start.
pub fn start() -> Result<()> {
    let file = std::env::var_os(SCRIPT_OUTPUT).with_context(|| format!("nextest sets {SCRIPT_OUTPUT}"))?;
    let owner = Owner::of(parent_id())?;
    let mut process = Command::new(std::env::current_exe()?)
        .args(["--shared-until-end-of", &format!("{}:{}", owner.pid, owner.started)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start the background process")?;
    let mut line = String::new();
    let output = process.stdout.take().context("the background process has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    ensure!(!line.is_empty(), "the background process ended without an answer");
    let address = match serde_json::from_str(&line)? {
        StartReport::Started(address) => serde_json::to_string(&address)?,
        StartReport::Failed(why) => bail!("{why}"),
    };
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    writeln!(file, "{SHARED_SYSTEM}={address}").context(SCRIPT_OUTPUT)
}

/// The background process: starts the system, prints its address, and waits for the end of the owner.
///
/// # Errors
/// When the system does not start.
pub async fn run_until_end_of(owner: &Owner) -> Result<()> {
    // A session of its own, so that neither Ctrl-C nor the end of the script's process group reaches it.
    nix::unistd::setsid().context("start a session")?;
    let started = tokio::select! {
        started = builder().start() => started,
        () = until_ended(owner) => return Ok(()),
    };
    let (stack, report) = match started {
        Ok(stack) => {
            let address = SystemAddress::of(&stack);
            (Some(stack), StartReport::Started(address))
        }
        Err(error) => (None, StartReport::Failed(format!("{error:#}"))),
    };
    println!("{}", serde_json::to_string(&report)?);
    if stack.is_some() {
        until_ended(owner).await;
    }
    Ok(())
}

async fn until_ended(owner: &Owner) {
    while owner.runs() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_runs_until_its_process_is_a_zombie() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id()).unwrap();
        let earlier = Owner { started: owner.started - 1, ..owner.clone() };
        assert!(owner.runs() && !earlier.runs());
        assert_eq!(format!("{}:{}", owner.pid, owner.started).parse::<Owner>().unwrap(), owner);
        child.kill().unwrap();
        let begun = std::time::Instant::now();
        while owner.runs() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert!(!owner.runs());
    }
}
