//! A measured server: one write(2) per receiver, and nothing else. Listens on `--listen ADDRESS` and prints the
//! address.

use clap::Parser;
use tidings_bench::peers::others::{bare, write_limit};

fn main() -> anyhow::Result<()> {
    write_limit::run(bare::Arguments::parse().listen()?)
}
