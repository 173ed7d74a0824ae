//! When keys are fetched, on a clock that stands still until it is told.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

/// What the next fetches do.
#[derive(Clone, Copy)]
enum Mood {
    Good { fresh_for: Option<Duration> },
    Down,
    Slow(Duration),
}

struct Scene {
    source: Source,
    keys: Arc<ArcSwap<KeySet>>,
    fetches: Arc<AtomicUsize>,
    mood: Arc<Mutex<Mood>>,
}

const GOOD: Mood = Mood::Good { fresh_for: None };

fn key() -> Key {
    let secret = "a secret of the tests".to_owned().into();
    Key::of_secret(&secret, &[jsonwebtoken::Algorithm::HS256]).unwrap_or_else(|unfit| panic!("{unfit}"))
}

impl Scene {
    fn start(mood: Mood) -> Self {
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::new(Arc::new([]), Vec::new(), Remote::Missing)));
        let (fetches, mood) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(mood)));
        let load = {
            let (fetches, mood) = (fetches.clone(), mood.clone());
            move || {
                fetches.fetch_add(1, Ordering::Relaxed);
                let mood = *mood.lock().unwrap();
                async move {
                    match mood {
                        Mood::Good { fresh_for } => Ok(Loaded { keys: vec![key()], fresh_for }),
                        Mood::Down => Err("down".to_owned()),
                        Mood::Slow(time) => {
                            tokio::time::sleep(time).await;
                            Ok(Loaded { keys: vec![key()], fresh_for: None })
                        }
                    }
                }
            }
        };
        Self { source: Source::start(keys.clone(), PACE, load, |_| {}), keys, fetches, mood }
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    fn turn(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn remote(&self) -> Remote {
        self.keys.load().remote
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_token_waits_for_the_first_fetch_and_needs_no_second() {
    let scene = Scene::start(Mood::Slow(Duration::from_secs(2)));
    let (one, two) = tokio::join!(scene.source.look(), scene.source.look());
    assert!(one.is_ok() && two.is_ok());
    pass(1).await;
    assert_eq!((scene.fetches(), scene.remote()), (1, Remote::Loaded));
}

#[tokio::test(start_paused = true)]
async fn many_tokens_with_unknown_keys_lead_to_one_fetch_in_ten_seconds() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    for second in 0..30 {
        let looks = (0..100).map(|_| scene.source.look());
        for look in futures_join(looks).await {
            assert!(look.is_ok(), "second {second}");
        }
        pass(1).await;
    }
    // The first at once, then one in each ten seconds.
    assert_eq!(scene.fetches(), 1 + 3);
}

async fn futures_join<F: Future<Output = Result<(), Away>>>(
    looks: impl Iterator<Item = F>,
) -> Vec<Result<(), Away>> {
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
async fn keys_are_fetched_again_as_the_answer_allows_within_bounds() {
    for (fresh_s, expected_s) in [(None, 600), (Some(300), 300), (Some(0), 60), (Some(86_400), 3600)] {
        let scene = Scene::start(Mood::Good { fresh_for: fresh_s.map(Duration::from_secs) });
        pass(expected_s - 1).await;
        assert_eq!(scene.fetches(), 1, "{fresh_s:?}: too early");
        pass(2).await;
        assert_eq!(scene.fetches(), 2, "{fresh_s:?}: too late");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_url_is_down_it_is_tried_more_and_more_rarely_and_tokens_hear_so_at_once() {
    let scene = Scene::start(Mood::Down);
    pass(1000).await;
    // 1, 2, 4, 8, 16, 32, then each 60 s.
    assert_eq!(scene.fetches(), 1 + 6 + 15);
    assert_eq!(scene.remote(), Remote::Missing);
    let asked = Instant::now();
    assert!(scene.source.look().await.is_err());
    assert_eq!(scene.fetches(), 23, "a token asks for a fetch at once");
    assert!(scene.source.look().await.is_err());
    assert_eq!((scene.fetches(), asked.elapsed()), (23, Duration::ZERO));
    scene.turn(GOOD);
    pass(61).await;
    assert!(scene.source.look().await.is_ok());
    assert_eq!(scene.remote(), Remote::Loaded);
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_no_longer_than_five_seconds_and_the_fetch_goes_on() {
    let scene = Scene::start(Mood::Slow(Duration::from_secs(8)));
    let asked = Instant::now();
    assert!(scene.source.look().await.is_err());
    assert_eq!(asked.elapsed(), Duration::from_secs(5));
    pass(4).await;
    assert_eq!((scene.fetches(), scene.remote()), (1, Remote::Loaded));
    scene.turn(GOOD);
    assert!(scene.source.look().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_count_for_a_day_without_the_url_and_no_longer() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    scene.turn(Mood::Down);
    pass(24 * 3600 - 60).await;
    assert_eq!(scene.remote(), Remote::Loaded);
    pass(180).await;
    assert_eq!(scene.remote(), Remote::Missing);
    assert!(scene.keys.load().is_empty());
    scene.turn(GOOD);
    pass(61).await;
    assert_eq!(scene.remote(), Remote::Loaded);
}

#[tokio::test(start_paused = true)]
async fn more_tokens_than_may_wait_are_told_so_at_once() {
    let scene = Scene::start(Mood::Slow(Duration::from_secs(4)));
    let looks = (0..MAX_WAITING + 10).map(|_| scene.source.look());
    let refused = futures_join(looks).await.iter().filter(|look| look.is_err()).count();
    assert_eq!(refused, 10);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_source() {
    let scene = Scene::start(Mood::Down);
    pass(1).await;
    let Scene { source, fetches, .. } = scene;
    drop(source);
    let before = fetches.load(Ordering::Relaxed);
    pass(1000).await;
    assert_eq!(fetches.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_asks_as_a_regular_fetch_begins_is_answered_by_that_one() {
    let slow = Duration::from_secs(1);
    // Which of the two is seen first is for the runtime's dice.
    for _ in 0..60 {
        let scene = Scene::start(Mood::Slow(slow));
        tokio::time::sleep(slow + PACE.refresh_unless_told).await;
        assert!(scene.source.look().await.is_ok());
        pass(60).await;
        assert_eq!(scene.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_during_a_fetch_as_long_as_the_floor_begins_no_second_one() {
    let scene = Scene::start(GOOD);
    pass(1).await;
    scene.turn(Mood::Slow(PACE.floor));
    assert!(scene.source.look().await.is_err(), "it takes longer than a token waits");
    // As from another thread, between the question that began this fetch and its beginning.
    scene.source.shared.asked.notify_one();
    pass(60).await;
    assert_eq!(scene.fetches(), 2);
    assert!(scene.source.look().await.is_err(), "what is asked later is not lost");
    assert_eq!(scene.fetches(), 3);
}
