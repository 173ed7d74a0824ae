//! A measured server: raw fan-out with actix-ws. `--listen 127.0.0.1:0`; prints its address.

use clap::Parser;
use tidings_bench::peers::others::{actix_ws, bare};

fn main() -> anyhow::Result<()> {
    actix_ws::run(bare::Arguments::parse().listen()?)
}
