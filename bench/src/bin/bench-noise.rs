//! A noisy neighbour of the scenario `neighbours`, as a separate process. Reads its order from the standard input.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tidings_bench::scenario::neighbours::run_noise_program().await
}
