//! A measured server: raw fan-out with actix-ws. Listens on `--listen ADDRESS` and prints the address.

use clap::Parser;
use tidings_bench::peers::others::{actix_ws, bare};

fn main() -> anyhow::Result<()> {
    actix_ws::run(bare::Arguments::parse().listen()?)
}
