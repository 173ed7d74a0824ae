//! Combines the questions of many callers into few requests. Few requests of a kind run at a time, and the next request
//! sends the questions that arrive meanwhile. The waiting time and the number of questions are limited.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, oneshot},
    time::Instant,
};

use crate::log::AuthorityError;

/// How long a question may wait for its answer. The caller that sends the request waits until the request ends;
/// requests have their own time limits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum weight of all waiting questions, as a number of full requests. Even with the longest ids the questions use
/// at most 7 MB.
const MAX_WAITING_REQUESTS: usize = 64;

/// A question of a caller who waits for the answer.
struct PendingQuestion<Q, A> {
    question: Q,
    answer: oneshot::Sender<Result<A, AuthorityError>>,
}

/// The questions that wait, and their total weight. The numbers of the questions grow in the order of their arrival.
struct QuestionQueue<Q, A> {
    questions: BTreeMap<u64, PendingQuestion<Q, A>>,
    next_number: u64,
    weight: usize,
}

/// Combines the questions of one kind into requests. `Q` is a question and `A` its answer.
pub(super) struct RequestCombiner<Q, A> {
    queue: Mutex<QuestionQueue<Q, A>>,
    /// The caller that sends a request holds a permit. The request also contains questions of other callers.
    permits: Semaphore,
    /// Notifies the callers whose questions are in requests when questions return to the queue.
    put_back: Notify,
    /// The weight of a question, and the highest total weight of one request.
    weight: fn(&Q) -> usize,
    max_weight: usize,
}

/// Removes the question of a caller from the queue when the caller stops waiting. So the queue has no questions without
/// a caller, and is never scanned for them while its lock is held.
struct QuestionGuard<'a, Q, A> {
    combiner: &'a RequestCombiner<Q, A>,
    number: u64,
}

impl<Q, A> Drop for QuestionGuard<'_, Q, A> {
    fn drop(&mut self) {
        let mut queue = self.combiner.queue();
        if let Some(waiting) = queue.questions.remove(&self.number) {
            queue.weight -= (self.combiner.weight)(&waiting.question);
        }
    }
}

impl<Q, A> RequestCombiner<Q, A> {
    fn queue(&self) -> MutexGuard<'_, QuestionQueue<Q, A>> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Clone, A> RequestCombiner<Q, A> {
    /// Creates a combiner without questions. `weight` returns the weight of a question, `max_weight` is the highest total
    /// weight of one request, and at most `max_requests` run at a time.
    pub fn new(weight: fn(&Q) -> usize, max_weight: usize, max_requests: usize) -> Self {
        let queue = Mutex::new(QuestionQueue { questions: BTreeMap::new(), next_number: 0, weight: 0 });
        Self { queue, permits: Semaphore::new(max_requests), put_back: Notify::new(), weight, max_weight }
    }

    /// Asks a question. `request` sends the questions of one or more callers to persistence. It returns the answers in
    /// their order. If there are fewer answers than questions, the last questions are sent again. Fails as unavailable
    /// if too many questions wait, or if there is no answer within [`ANSWER_TIMEOUT`].
    ///
    /// The answer is not older than the call, because the request begins after the call.
    pub async fn ask<F>(&self, question: Q, request: impl Fn(Vec<Q>) -> F) -> Result<A, AuthorityError>
    where
        F: Future<Output = Result<Vec<A>, AuthorityError>>,
    {
        let unavailable = |why: &str| Err(AuthorityError::Unavailable(why.to_owned()));
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let (answer, answered) = oneshot::channel();
            let Some(_queued) = self.enqueue(PendingQuestion { question: question.clone(), answer }) else {
                return unavailable("too many questions are waiting");
            };
            // Declared after the queued question, so that the receiver is closed before the question is removed. Then
            // `distribute` cannot put back a question that nobody removes any more.
            let mut answered = answered;
            loop {
                let (permit, batch) = tokio::select! {
                    biased;
                    answer = &mut answered => match answer {
                        Ok(answer) => return answer,
                        // The caller that sent the request was cancelled, so the question is sent again.
                        Err(_) => break,
                    },
                    () = tokio::time::sleep_until(deadline) => {
                        return unavailable("there was no answer in time");
                    }
                    turn = self.next_turn() => turn,
                };
                let answers = request(batch.iter().map(|(_, waiting)| waiting.question.clone()).collect());
                self.distribute(batch, answers.await);
                drop(permit);
            }
        }
    }

    /// Waits until the caller may send a request. Returns its permit and its questions, of which there is at least one.
    async fn next_turn(&self) -> (Option<SemaphorePermit<'_>>, Vec<(u64, PendingQuestion<Q, A>)>) {
        loop {
            // Enabled before the queue is read, so that no later notification is missed.
            let mut put_back = pin!(self.put_back.notified());
            put_back.as_mut().enable();
            let permit = self.permits.acquire().await.ok();
            let batch = self.take_batch();
            if !batch.is_empty() {
                return (permit, batch);
            }
            drop(permit);
            // All questions are in running requests. Without this wait, a free permit would be taken again and again.
            put_back.await;
        }
    }

    /// Adds a question to the queue. Returns None if too many questions wait.
    fn enqueue(&self, waiting: PendingQuestion<Q, A>) -> Option<QuestionGuard<'_, Q, A>> {
        let mut queue = self.queue();
        if queue.weight >= self.max_weight * MAX_WAITING_REQUESTS {
            return None;
        }
        let number = queue.next_number;
        queue.next_number += 1;
        queue.weight += (self.weight)(&waiting.question);
        queue.questions.insert(number, waiting);
        Some(QuestionGuard { combiner: self, number })
    }

    /// Takes the questions of the next request, with their numbers: the first, and others up to the maximum weight.
    fn take_batch(&self) -> Vec<(u64, PendingQuestion<Q, A>)> {
        let mut queue = self.queue();
        let (mut batch, mut weight) = (Vec::new(), 0);
        while let Some(first) = queue.questions.first_entry() {
            let with_next = weight + (self.weight)(&first.get().question);
            if !batch.is_empty() && with_next > self.max_weight {
                break;
            }
            weight = with_next;
            batch.push(first.remove_entry());
        }
        queue.weight -= weight;
        batch
    }

    /// Sends the answers to the callers of the questions. Puts questions without an answer back into the queue.
    fn distribute(
        &self,
        mut batch: Vec<(u64, PendingQuestion<Q, A>)>,
        answers: Result<Vec<A>, AuthorityError>,
    ) {
        let answers: Vec<_> = match answers {
            Ok(answers) if answers.is_empty() => {
                let incomplete = || AuthorityError::Unavailable("the answer is incomplete".to_owned());
                batch.iter().map(|_| Err(incomplete())).collect()
            }
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let unanswered = batch.split_off(answers.len().min(batch.len()));
        for ((_, waiting), answer) in batch.into_iter().zip(answers) {
            // Sending fails if the caller was cancelled.
            let _ = waiting.answer.send(answer);
        }
        if unanswered.is_empty() {
            return;
        }
        let mut queue = self.queue();
        // A question whose caller no longer waits is left out, because nobody would remove it from the queue.
        for (number, waiting) in unanswered.into_iter().filter(|(_, waiting)| !waiting.answer.is_closed()) {
            queue.weight += (self.weight)(&waiting.question);
            queue.questions.insert(number, waiting);
        }
        drop(queue);
        self.put_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::task::JoinSet;

    use super::*;

    /// Asks `count` questions concurrently. The answer to a question is twice its number. Each request answers only its
    /// first `answered_at_once` questions. Returns the answers by question, and the number of questions in each
    /// request.
    async fn ask_all(
        count: usize,
        answered_at_once: usize,
    ) -> (Vec<(usize, Result<usize, AuthorityError>)>, Vec<usize>) {
        let combiner = Arc::new(RequestCombiner::new(|_| 1, 4, 1));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut callers = JoinSet::new();
        for question in 0..count {
            let (combiner, requests) = (combiner.clone(), requests.clone());
            let request = move |questions: Vec<usize>| {
                requests.lock().unwrap().push(questions.len());
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(questions.into_iter().take(answered_at_once).map(|question| question * 2).collect())
                }
            };
            callers.spawn(async move { (question, combiner.ask(question, request).await) });
        }
        let mut answers = callers.join_all().await;
        answers.sort_by_key(|(question, _)| *question);
        (answers, Arc::into_inner(requests).unwrap().into_inner().unwrap())
    }

    fn doubled(count: usize) -> Vec<(usize, Result<usize, AuthorityError>)> {
        (0..count).map(|question| (question, Ok(question * 2))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn questions_during_a_request_share_the_next_one() {
        let (answers, requests) = ask_all(10, usize::MAX).await;
        assert_eq!(answers, doubled(10));
        assert!(requests.len() <= 4 && requests.iter().all(|count| *count <= 4), "{requests:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_running_requests_is_limited() {
        const MAX_REQUESTS: usize = 2;
        let combiner = Arc::new(RequestCombiner::new(|_| 1, 4, MAX_REQUESTS));
        let (running, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for question in 0..20 {
            let (combiner, running, highest) = (combiner.clone(), running.clone(), highest.clone());
            let request = move |questions: Vec<usize>| {
                highest.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let running = running.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    running.fetch_sub(1, Ordering::Relaxed);
                    Ok(questions)
                }
            };
            callers.spawn(async move { combiner.ask(question, request).await });
        }
        assert!(callers.join_all().await.iter().all(Result::is_ok));
        assert_eq!(highest.load(Ordering::Relaxed), MAX_REQUESTS);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_without_an_answer_are_asked_again() {
        assert_eq!(ask_all(6, 1).await.0, doubled(6));
        let (answers, requests) = ask_all(2, 0).await;
        assert!(answers.iter().all(|(_, answer)| answer.is_err()) && requests.len() <= 2, "{requests:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn question_of_cancelled_request_is_asked_by_another_caller() {
        let combiner = RequestCombiner::new(|_| 1, 4, 1);
        // Both questions are queued while the lock is held, so the first request contains both.
        let turn = combiner.permits.acquire().await;
        let slow = |_: Vec<u32>| std::future::pending::<Result<Vec<u32>, AuthorityError>>();
        let cancelled = tokio::time::timeout(Duration::from_millis(10), combiner.ask(1, slow));
        let other = combiner.ask(2, |questions| async { Ok(questions) });
        let begin = async { drop(turn) };
        let (cancelled, answer, ()) = tokio::join!(cancelled, other, begin);
        assert!(cancelled.is_err());
        assert_eq!(answer, Ok(2));
    }

    fn is_unavailable<A>(answer: &Result<A, AuthorityError>) -> bool {
        matches!(answer, Err(AuthorityError::Unavailable(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn question_without_answer_in_time_is_unavailable() {
        let combiner = RequestCombiner::new(|_| 1, 4, 1);
        let _turn = combiner.permits.acquire().await;
        let begun = Instant::now();
        let answer = combiner.ask(1, |questions| async { Ok(questions) });
        let answer = tokio::time::timeout(2 * ANSWER_TIMEOUT, answer).await.expect("it waits too long");
        assert!(
            is_unavailable(&answer) && begun.elapsed() < ANSWER_TIMEOUT + Duration::from_secs(1),
            "{answer:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_caller_takes_its_question_out_of_the_queue() {
        let combiner = RequestCombiner::new(|_| 1, 4, 1);
        let turn = combiner.permits.acquire().await;
        let echo = |questions: Vec<u32>| async { Ok(questions) };
        let cancelled = tokio::time::timeout(Duration::from_millis(10), combiner.ask(1, echo));
        let other = tokio::time::timeout(Duration::from_secs(1), combiner.ask(2, echo));
        let check = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let queue = combiner.queue();
            let waiting: Vec<u32> = queue.questions.values().map(|waiting| waiting.question).collect();
            assert_eq!((waiting, queue.weight), (vec![2], 1));
            drop(turn);
        };
        let (cancelled, answer, ()) = tokio::join!(cancelled, other, check);
        assert!(cancelled.is_err());
        assert_eq!((answer.unwrap(), combiner.queue().weight), (Ok(2), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn full_queue_refuses_questions_until_others_are_answered() {
        const MAX: usize = 4 * MAX_WAITING_REQUESTS;
        let combiner = Arc::new(RequestCombiner::new(|_| 1, 4, 1));
        let echo = |questions: Vec<usize>| async { Ok(questions) };
        let turn = combiner.permits.acquire().await;
        let mut callers = JoinSet::new();
        for question in 0..MAX {
            let combiner = combiner.clone();
            callers.spawn(async move { combiner.ask(question, echo).await });
        }
        while combiner.queue().questions.len() < MAX {
            tokio::task::yield_now().await;
        }
        let refused = tokio::time::timeout(Duration::from_secs(1), combiner.ask(MAX, echo)).await;
        assert!(is_unavailable(&refused.expect("it waits")));
        drop(turn);
        assert!(callers.join_all().await.iter().all(Result::is_ok));
        assert_eq!((combiner.ask(MAX, echo).await, combiner.queue().weight), (Ok(MAX), 0));
    }
}
