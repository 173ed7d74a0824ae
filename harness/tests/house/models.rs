//! Runs the explicit-state models of decisions without one of their rules. Each must find a known violation.

use std::process::Command;

use crate::tree::root;

#[test]
fn each_model_finds_a_known_violation() {
    for (model, bounds) in [
        ("append_many.py", "--senders 0,1 --odd 0 --no-receiver --without lane_stops"),
        ("client_ids.py", "--old --jumps 1 --offsets 0,9"),
        ("restore.py", "--senders 0 --attempts 1 --faults 0 --crashes 1 --listener 0 --set proof_again=0"),
        ("shards.py", "--sends 2 --faults 2 --kinds m --without moved_epoch"),
    ] {
        let path = root().join("docs/decisions/models").join(model);
        let output = Command::new("python3").arg(path).args(bounds.split(' ')).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stdout.contains("VIOLATION"), "{model} {bounds}: {stdout}{stderr}");
    }
}
