//! A measured server: only one write(2) per receiver. `--listen 127.0.0.1:0`; prints its address.

use clap::Parser;
use tidings_bench::peers::others::{bare, write_limit};

fn main() -> anyhow::Result<()> {
    write_limit::run(bare::Arguments::parse().listen()?)
}
