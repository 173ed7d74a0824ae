//! Ports for a developer's system of a test's own.

use tidings_harness::ports;

/// A first port with everything free that two gateways, a persistence node and the demo take from it.
pub fn free_base() -> u16 {
    let taken_from = |base: u16| {
        [0, 1, 2, 10].map(|offset| base + offset).map(|port| [port, port + 10_000, port + 20_000])
    };
    let all_free = |base: &u16| taken_from(*base).into_iter().flatten().all(ports::is_free);
    std::iter::repeat_with(|| rand::random_range(10_100..22_000))
        .find(all_free)
        .expect("the search is endless")
}
