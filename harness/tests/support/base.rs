//! Ports for a developer's system (`./dev`) that a test starts for itself.

use tidings_harness::ports;

/// A base port from which two gateways, a persistence node, the demo and the companion programs derive only free ports.
/// `ports::free` returns none of them.
pub fn free_base() -> u16 {
    let derived_ports = |base: u16| {
        [0, 1, 2, 3, 4, 5, 10].map(|offset| base + offset).map(|port| [port, port + 10_000, port + 20_000])
    };
    let all_free = |base: &u16| derived_ports(*base).into_iter().flatten().all(ports::is_free);
    std::iter::repeat_with(|| rand::random_range(10_100..11_900))
        .find(all_free)
        .expect("the search never ends")
}
