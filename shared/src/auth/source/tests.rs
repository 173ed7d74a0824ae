//! Tests when keys are fetched, and what callers get while fetches are slow or fail. The clock is paused.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

/// How the next fetches behave.
#[derive(Clone, Copy)]
enum FetchBehaviour {
    Good { fresh_for: Option<Duration> },
    Down,
    Slow(Duration),
}

/// A key source with simulated fetches: `behaviour` says how the next ones behave, `fetches` counts them.
struct SourceFixture {
    source: KeySource,
    keys: Arc<ArcSwap<KeySet>>,
    fetches: Arc<AtomicUsize>,
    behaviour: Arc<Mutex<FetchBehaviour>>,
}

const GOOD: FetchBehaviour = FetchBehaviour::Good { fresh_for: None };

fn key() -> Key {
    let secret = "a secret of the tests".to_owned().into();
    Key::of_secret(&secret, &[jsonwebtoken::Algorithm::HS256]).unwrap_or_else(|unfit| panic!("{unfit}"))
}

impl SourceFixture {
    fn start(behaviour: FetchBehaviour) -> Self {
        let keys =
            Arc::new(ArcSwap::from_pointee(KeySet::new(Arc::new([]), Vec::new(), UrlKeysState::Missing)));
        let (fetches, behaviour) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(behaviour)));
        let load = {
            let (fetches, behaviour) = (fetches.clone(), behaviour.clone());
            move || {
                fetches.fetch_add(1, Ordering::Relaxed);
                let behaviour = *behaviour.lock().unwrap();
                async move {
                    match behaviour {
                        FetchBehaviour::Good { fresh_for } => {
                            Ok(FetchedKeys { keys: vec![key()], fresh_for })
                        }
                        FetchBehaviour::Down => Err("down".to_owned()),
                        FetchBehaviour::Slow(time) => {
                            tokio::time::sleep(time).await;
                            Ok(FetchedKeys { keys: vec![key()], fresh_for: None })
                        }
                    }
                }
            }
        };
        Self {
            source: KeySource::start(keys.clone(), FETCH_SCHEDULE, load, |_| {}),
            keys,
            fetches,
            behaviour,
        }
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    fn set_behaviour(&self, behaviour: FetchBehaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn url_keys(&self) -> UrlKeysState {
        self.keys.load().url_keys
    }
}

async fn sleep_s(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn first_tokens_wait_for_the_first_fetch_only() {
    let fixture = SourceFixture::start(FetchBehaviour::Slow(Duration::from_secs(2)));
    let (one, two) = tokio::join!(fixture.source.refresh(), fixture.source.refresh());
    assert!(one.is_ok() && two.is_ok());
    sleep_s(1).await;
    assert_eq!((fixture.fetches(), fixture.url_keys()), (1, UrlKeysState::Loaded));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_cause_one_fetch_in_three_seconds() {
    let fixture = SourceFixture::start(GOOD);
    sleep_s(1).await;
    let begun = Instant::now();
    for round in 0..11 {
        let refreshes = (0..100).map(|_| fixture.source.refresh());
        for refresh in join_all(refreshes).await {
            assert!(refresh.is_ok(), "round {round}");
        }
        // Each token gets a fetch that began after it came.
        assert_eq!((fixture.fetches(), begun.elapsed().as_secs()), (2 + round, 3 * round as u64));
    }
}

async fn join_all<F: Future<Output = Result<(), KeysUnavailable>>>(
    refreshes: impl Iterator<Item = F>,
) -> Vec<Result<(), KeysUnavailable>> {
    let mut refreshes: Vec<_> = refreshes.map(Box::pin).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|cx| {
        refreshes.retain_mut(|refresh| match refresh.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if refreshes.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test(start_paused = true)]
async fn refresh_interval_follows_freshness_within_bounds() {
    for (fresh_s, expected_s) in [(None, 600), (Some(300), 300), (Some(0), 60), (Some(86_400), 3600)] {
        let fixture =
            SourceFixture::start(FetchBehaviour::Good { fresh_for: fresh_s.map(Duration::from_secs) });
        sleep_s(expected_s - 1).await;
        assert_eq!(fixture.fetches(), 1, "{fresh_s:?}: too early");
        sleep_s(2).await;
        assert_eq!(fixture.fetches(), 2, "{fresh_s:?}: too late");
    }
}

#[tokio::test(start_paused = true)]
async fn url_down_backs_off_and_fails_tokens() {
    let fixture = SourceFixture::start(FetchBehaviour::Down);
    sleep_s(1000).await;
    // The pauses are 1, 2, 4, 8, 16, 32 s, then 60 s each.
    assert_eq!(fixture.fetches(), 1 + 6 + 15);
    assert_eq!(fixture.url_keys(), UrlKeysState::Missing);
    let begun = Instant::now();
    assert!(fixture.source.refresh().await.is_err());
    assert_eq!(
        (fixture.fetches(), begun.elapsed()),
        (23, Duration::ZERO),
        "a token asks for a fetch at once"
    );
    fixture.set_behaviour(GOOD);
    sleep_s(61).await;
    assert!(fixture.source.refresh().await.is_ok());
    assert_eq!(fixture.url_keys(), UrlKeysState::Loaded);
}

#[tokio::test(start_paused = true)]
async fn slow_fetch_fails_token_after_five_seconds_and_goes_on() {
    let fixture = SourceFixture::start(FetchBehaviour::Slow(Duration::from_secs(8)));
    let begun = Instant::now();
    assert!(fixture.source.refresh().await.is_err());
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    sleep_s(4).await;
    assert_eq!((fixture.fetches(), fixture.url_keys()), (1, UrlKeysState::Loaded));
    fixture.set_behaviour(GOOD);
    assert!(fixture.source.refresh().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn url_down_for_a_day_drops_the_last_good_keys() {
    let fixture = SourceFixture::start(GOOD);
    sleep_s(1).await;
    fixture.set_behaviour(FetchBehaviour::Down);
    sleep_s(24 * 3600 - 60).await;
    assert_eq!(fixture.url_keys(), UrlKeysState::Loaded);
    sleep_s(180).await;
    assert_eq!(fixture.url_keys(), UrlKeysState::Missing);
    assert!(fixture.keys.load().is_empty());
    fixture.set_behaviour(GOOD);
    sleep_s(61).await;
    assert_eq!(fixture.url_keys(), UrlKeysState::Loaded);
}

#[tokio::test(start_paused = true)]
async fn tokens_above_the_waiting_limit_fail_at_once() {
    let fixture = SourceFixture::start(FetchBehaviour::Slow(Duration::from_secs(4)));
    let refreshes = (0..MAX_WAITING_TOKENS + 10).map(|_| fixture.source.refresh());
    let refused = join_all(refreshes).await.iter().filter(|refresh| refresh.is_err()).count();
    assert_eq!(refused, 10);
}

#[tokio::test(start_paused = true)]
async fn dropped_source_stops_fetching() {
    let fixture = SourceFixture::start(FetchBehaviour::Down);
    sleep_s(1).await;
    let SourceFixture { source, fetches, .. } = fixture;
    drop(source);
    let before = fetches.load(Ordering::Relaxed);
    sleep_s(1000).await;
    assert_eq!(fetches.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn demand_at_a_regular_fetch_starts_no_second_fetch() {
    let slow = Duration::from_secs(1);
    // The test is repeated, because the runtime chooses at random which of two simultaneous events it handles first.
    for _ in 0..60 {
        let fixture = SourceFixture::start(FetchBehaviour::Slow(slow));
        tokio::time::sleep(slow + FETCH_SCHEDULE.default_refresh).await;
        assert!(fixture.source.refresh().await.is_ok());
        sleep_s(60).await;
        assert_eq!(fixture.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn demand_during_a_long_fetch_starts_no_second_fetch() {
    let fixture = SourceFixture::start(GOOD);
    sleep_s(1).await;
    fixture.set_behaviour(FetchBehaviour::Slow(FETCH_SCHEDULE.wait_timeout * 2));
    assert!(fixture.source.refresh().await.is_err(), "it takes longer than a token waits");
    // Simulates a demand of another thread that arrives just before this fetch begins.
    fixture.source.shared.demand.notify_one();
    sleep_s(60).await;
    assert_eq!(fixture.fetches(), 2);
    assert!(fixture.source.refresh().await.is_err(), "a later demand is not lost");
    assert_eq!(fixture.fetches(), 3);
}
