//! A server that is measured: what write(2) takes, once per receiver. `--listen 127.0.0.1:0`; prints where it listens.

use clap::Parser;
use tidings_bench::peers::others::{bare, write_limit};

fn main() -> anyhow::Result<()> {
    write_limit::run(bare::Arguments::parse().listen()?)
}
