//! When keys are fetched, on a paused clock.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

/// How the next fetches behave.
#[derive(Clone, Copy)]
enum Behaviour {
    Good { fresh_for: Option<Duration> },
    Down,
    Slow(Duration),
}

struct Scene {
    source: Source,
    keys: Arc<ArcSwap<KeySet>>,
    fetches: Arc<AtomicUsize>,
    behaviour: Arc<Mutex<Behaviour>>,
}

const GOOD: Behaviour = Behaviour::Good { fresh_for: None };

fn key() -> Key {
    let secret = "a secret of the tests".to_owned().into();
    Key::of_secret(&secret, &[jsonwebtoken::Algorithm::HS256]).unwrap_or_else(|unfit| panic!("{unfit}"))
}

impl Scene {
    fn start(behaviour: Behaviour) -> Self {
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::new(Arc::new([]), Vec::new(), UrlKeys::Missing)));
        let (fetches, behaviour) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(behaviour)));
        let load = {
            let (fetches, behaviour) = (fetches.clone(), behaviour.clone());
            move || {
                fetches.fetch_add(1, Ordering::Relaxed);
                let behaviour = *behaviour.lock().unwrap();
                async move {
                    match behaviour {
                        Behaviour::Good { fresh_for } => Ok(FetchedKeys { keys: vec![key()], fresh_for }),
                        Behaviour::Down => Err("down".to_owned()),
                        Behaviour::Slow(time) => {
                            tokio::time::sleep(time).await;
                            Ok(FetchedKeys { keys: vec![key()], fresh_for: None })
                        }
                    }
                }
            }
        };
        Self { source: Source::start(keys.clone(), FETCH_SCHEDULE, load, |_| {}), keys, fetches, behaviour }
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn remote(&self) -> UrlKeys {
        self.keys.load().remote
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn first_tokens_wait_for_the_first_fetch_only() {
    let scene = Scene::start(Behaviour::Slow(Duration::from_secs(2)));
    let (one, two) = tokio::join!(scene.source.refresh(), scene.source.refresh());
    assert!(one.is_ok() && two.is_ok());
    pass(1).await;
    assert_eq!((scene.fetches(), scene.remote()), (1, UrlKeys::Loaded));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_cause_one_fetch_in_ten_seconds() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    for second in 0..30 {
        let looks = (0..100).map(|_| scene.source.refresh());
        for look in futures_join(looks).await {
            assert!(look.is_ok(), "second {second}");
        }
        pass(1).await;
    }
    // The first fetch is immediate, then there is one in each ten seconds.
    assert_eq!(scene.fetches(), 1 + 3);
}

async fn futures_join<F: Future<Output = Result<(), KeysUnavailable>>>(
    looks: impl Iterator<Item = F>,
) -> Vec<Result<(), KeysUnavailable>> {
    let mut looks: Vec<_> = looks.map(Box::pin).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|cx| {
        looks.retain_mut(|look| match look.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if looks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

#[tokio::test(start_paused = true)]
async fn refresh_interval_follows_freshness_within_bounds() {
    for (fresh_s, expected_s) in [(None, 600), (Some(300), 300), (Some(0), 60), (Some(86_400), 3600)] {
        let scene = Scene::start(Behaviour::Good { fresh_for: fresh_s.map(Duration::from_secs) });
        pass(expected_s - 1).await;
        assert_eq!(scene.fetches(), 1, "{fresh_s:?}: too early");
        pass(2).await;
        assert_eq!(scene.fetches(), 2, "{fresh_s:?}: too late");
    }
}

#[tokio::test(start_paused = true)]
async fn url_down_backs_off_and_fails_tokens_at_once() {
    let scene = Scene::start(Behaviour::Down);
    pass(1000).await;
    // The pauses are 1, 2, 4, 8, 16, 32 s, then 60 s each.
    assert_eq!(scene.fetches(), 1 + 6 + 15);
    assert_eq!(scene.remote(), UrlKeys::Missing);
    let asked = Instant::now();
    assert!(scene.source.refresh().await.is_err());
    assert_eq!(scene.fetches(), 23, "a token asks for a fetch at once");
    assert!(scene.source.refresh().await.is_err());
    assert_eq!((scene.fetches(), asked.elapsed()), (23, Duration::ZERO));
    scene.set(GOOD);
    pass(61).await;
    assert!(scene.source.refresh().await.is_ok());
    assert_eq!(scene.remote(), UrlKeys::Loaded);
}

#[tokio::test(start_paused = true)]
async fn slow_fetch_fails_token_after_five_seconds_and_goes_on() {
    let scene = Scene::start(Behaviour::Slow(Duration::from_secs(8)));
    let asked = Instant::now();
    assert!(scene.source.refresh().await.is_err());
    assert_eq!(asked.elapsed(), Duration::from_secs(5));
    pass(4).await;
    assert_eq!((scene.fetches(), scene.remote()), (1, UrlKeys::Loaded));
    scene.set(GOOD);
    assert!(scene.source.refresh().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn url_down_for_a_day_drops_the_last_good_keys() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    scene.set(Behaviour::Down);
    pass(24 * 3600 - 60).await;
    assert_eq!(scene.remote(), UrlKeys::Loaded);
    pass(180).await;
    assert_eq!(scene.remote(), UrlKeys::Missing);
    assert!(scene.keys.load().is_empty());
    scene.set(GOOD);
    pass(61).await;
    assert_eq!(scene.remote(), UrlKeys::Loaded);
}

#[tokio::test(start_paused = true)]
async fn tokens_above_the_waiting_limit_fail_at_once() {
    let scene = Scene::start(Behaviour::Slow(Duration::from_secs(4)));
    let looks = (0..MAX_WAITING + 10).map(|_| scene.source.refresh());
    let refused = futures_join(looks).await.iter().filter(|look| look.is_err()).count();
    assert_eq!(refused, 10);
}

#[tokio::test(start_paused = true)]
async fn dropped_source_stops_fetching() {
    let scene = Scene::start(Behaviour::Down);
    pass(1).await;
    let Scene { source, fetches, .. } = scene;
    drop(source);
    let before = fetches.load(Ordering::Relaxed);
    pass(1000).await;
    assert_eq!(fetches.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn demand_at_a_regular_fetch_starts_no_second_fetch() {
    let slow = Duration::from_secs(1);
    // The runtime chooses at random which of the two events it sees first.
    for _ in 0..60 {
        let scene = Scene::start(Behaviour::Slow(slow));
        tokio::time::sleep(slow + FETCH_SCHEDULE.default_refresh).await;
        assert!(scene.source.refresh().await.is_ok());
        pass(60).await;
        assert_eq!(scene.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn demand_during_a_long_fetch_starts_no_second_fetch() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    scene.set(Behaviour::Slow(FETCH_SCHEDULE.demand_interval));
    assert!(scene.source.refresh().await.is_err(), "it takes longer than a token waits");
    // Like a demand from another thread, between the demand that caused this fetch and its beginning.
    scene.source.shared.demand.notify_one();
    pass(60).await;
    assert_eq!(scene.fetches(), 2);
    assert!(scene.source.refresh().await.is_err(), "a later demand is not lost");
    assert_eq!(scene.fetches(), 3);
}
