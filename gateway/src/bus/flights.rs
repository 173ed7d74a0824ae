//! Questions that several ask at the same time, asked once.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

type Flight<V> = Arc<tokio::sync::Mutex<Option<(Instant, V)>>>;

/// Answers that somebody waits for, by question.
pub(super) struct Flights<K, V>(Mutex<HashMap<K, Flight<V>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// The answer to a question: one is asked at a time, and shared by all who came before it was asked. An answer is
    /// never older than the question.
    ///
    /// # Errors
    /// As `ask`; an error is not shared.
    pub async fn ask<E>(&self, question: &K, ask: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let came = Instant::now();
        let flight = self.all().entry(question.clone()).or_default().clone();
        // Forgotten also when whoever asks goes away.
        let _landing = Landing { flights: self, question };
        let mut last = flight.lock_owned().await;
        match &*last {
            Some((asked, answer)) if *asked >= came => Ok(answer.clone()),
            _ => {
                let asked = Instant::now();
                let answer = ask.await?;
                *last = Some((asked, answer.clone()));
                Ok(answer)
            }
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<K, Flight<V>>> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Landing<'a, K: Clone + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    question: &'a K,
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.all();
        // The map's own is left: ours went with the guard, right before this.
        if flights.get(self.question).is_some_and(|flight| Arc::strong_count(flight) == 1) {
            flights.remove(self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_an_answer_and_later_ones_get_a_new_one() {
        let (flights, asked) = (Flights::<u8, u32>::default(), Cell::new(0));
        let ask = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked.set(asked.get() + 1);
            Ok::<_, ()>(asked.get())
        };
        // The first is on its way when the others come: those share the second.
        let answers = tokio::join!(flights.ask(&1, ask()), flights.ask(&1, ask()), flights.ask(&1, ask()));
        assert_eq!(answers, (Ok(1), Ok(2), Ok(2)));
        assert_eq!(flights.ask(&1, ask()).await, Ok(3));
        let failed = flights.ask(&2, async { Err::<u32, _>("away") }).await;
        assert_eq!((failed, flights.all().len()), (Err("away"), 0));
    }
    #[tokio::test]
    async fn who_comes_while_the_second_question_is_asked_waits_for_it() {
        let (flights, asking, most) = (Flights::<u8, u32>::default(), Cell::new(0), Cell::new(0));
        let ask = || async {
            asking.set(asking.get() + 1);
            most.set(most.get().max(asking.get()));
            tokio::time::sleep(Duration::from_millis(20)).await;
            asking.set(asking.get() - 1);
            Ok::<_, ()>(1)
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            flights.ask(&1, ask()).await
        };
        let _ = tokio::join!(flights.ask(&1, ask()), flights.ask(&1, ask()), late);
        assert_eq!((most.get(), flights.all().len()), (1, 0));
    }
}
