//! One PostgreSQL for all test processes, because a start takes longer than most tests.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::context::Context;
use crate::report::Report;

/// The variable by which test processes find it.
const PORT: &str = "TIDINGS_TEST_POSTGRES";

/// The shared server, if it could be started. Dropping this value stops the server.
pub struct SharedPostgres(Option<Child>);

impl SharedPostgres {
    /// Starts the server. Tests start their own when this fails.
    pub fn start(context: &mut Context, report: &mut Report) -> SharedPostgres {
        let mut command = context.command(context.target.join("debug/tidings-stack"));
        command.arg("--postgres-alone").stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            report.step("start of the shared PostgreSQL", || Err("tidings-stack is not built".to_owned()));
            return SharedPostgres(None);
        };
        let mut port = String::new();
        if let Some(output) = child.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut port);
        }
        if port.trim().is_empty() {
            report.step("start of the shared PostgreSQL", || Err("it printed no port".to_owned()));
        } else {
            context.set(PORT, port.trim());
        }
        SharedPostgres(Some(child))
    }

    /// Stops the server.
    pub fn stop(self, context: &mut Context) {
        context.unset(PORT);
    }
}

impl Drop for SharedPostgres {
    /// The server ends when its input ends.
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
