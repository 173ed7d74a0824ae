//! Admits reads: every `GET` and `HEAD` of a caller. A user has a few slots, and a read holds one until its answer is
//! sent. So a client that does not read its answers occupies little memory, and the pages that one user reads cost other
//! users little CPU time. The rate limit of reads counts requests and the size of their answers.
//! Back ends (scopes `tidings.admin` and `tidings.feed`) have none of these limits.

use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, ResponseError};
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;
use tidings_shared::request_slots::{RequestSlots, SlotGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::allowance::{RateLimitKind, RateLimiters};
use super::problem::Problem;
use crate::query::Viewer;

/// How many reads of one user may run, or have answers that are not fully sent. As a page ends at about 1 MiB, this also
/// limits the unsent bytes of a user.
const MAX_READS_PER_USER: usize = 4;
/// How long a read waits for a slot and for its tokens. It uses no database connection while it waits.
const READ_WAIT_TIMEOUT: Duration = Duration::from_secs(3);
/// A read takes one token, and one more for each of these bytes of its answer.
const BYTES_PER_TOKEN: u64 = 128 * 1024;
/// Unsent bytes of large answers to users of this process, in KiB.
const MAX_UNSENT_KIB: usize = 48 * 1024;
/// Size of the parts in which a body is sent, that of actix's write buffer. So the permit is held until the last part is
/// in that buffer. Answers up to this size are not counted as unsent, so large answers that are not read cannot stop
/// small reads of other users.
const PART_BYTES: usize = 32 * 1024;

/// The slots and the rate of reads.
pub struct ReadSlots {
    users: RequestSlots,
    /// Slots of reads whose statements may take long. They are fewer than the connections to PostgreSQL.
    pub slow: RequestSlots,
    unsent_kib: Arc<Semaphore>,
    allowance: Arc<RateLimiters>,
}

impl ReadSlots {
    /// Creates the slots, of which `slow` are for slow reads. One user may hold a quarter of these.
    pub fn new(slow: usize, allowance: Arc<RateLimiters>) -> Self {
        Self {
            users: RequestSlots::per_user(MAX_READS_PER_USER),
            slow: RequestSlots::new(slow, slow.div_ceil(4)),
            unsent_kib: Arc::new(Semaphore::new(MAX_UNSENT_KIB)),
            allowance,
        }
    }

    /// Waits for a slot of the user and for a token. Refuses with `rate_limited` after [`READ_WAIT_TIMEOUT`].
    pub async fn admit(self: &Arc<Self>, user: &UserId, is_back_end: bool) -> Result<ReadPermit, Refusal> {
        let deadline = Instant::now() + READ_WAIT_TIMEOUT;
        let (slots, user) = (self.clone(), user.clone());
        let mut permit = ReadPermit { slots, user, is_back_end, slot: None, unsent: None };
        permit.acquire_slot().await?;
        // Waits with the slot, so the requests of a user above the rate wait in one queue and are refused slowly.
        permit.take_tokens(NonZeroU32::MIN, deadline).await?;
        Ok(permit)
    }

    /// Admits a read whose statements may take long, in addition to [`ReadSlots::admit`]: it takes a second token, and
    /// waits for one of the slots that all users share. Refuses with `rate_limited` if the user reads too much, and
    /// with `overloaded` if all users together do.
    pub async fn admit_slow(&self, viewer: Viewer<'_>) -> Result<SlotGuard, Refusal> {
        let deadline = Instant::now() + READ_WAIT_TIMEOUT;
        self.allowance.wait_for_tokens(RateLimitKind::Reads, viewer, NonZeroU32::MIN, deadline).await?;
        self.slow.acquire_within(viewer.user, "searches and reads of lists", READ_WAIT_TIMEOUT).await
    }
}

/// An admitted read: the slot of its user, and later the bytes of its answer. It is an extension of the request until
/// the body of the answer takes it.
pub struct ReadPermit {
    slots: Arc<ReadSlots>,
    user: UserId,
    is_back_end: bool,
    slot: Option<SlotGuard>,
    unsent: Option<OwnedSemaphorePermit>,
}

impl ReadPermit {
    /// Waits for a slot of the user. A back end needs none.
    pub async fn acquire_slot(&mut self) -> Result<(), Refusal> {
        if !self.is_back_end {
            let acquired = self.slots.users.acquire_within(&self.user, "reads", READ_WAIT_TIMEOUT);
            self.slot = Some(acquired.await?);
        }
        Ok(())
    }

    /// Releases the slot for other reads of the user, while this read waits for something else.
    pub fn release_slot(&mut self) {
        self.slot = None;
    }

    async fn take_tokens(&self, tokens: NonZeroU32, deadline: Instant) -> Result<(), Refusal> {
        let viewer = Viewer { user: &self.user, admin: self.is_back_end };
        self.slots.allowance.wait_for_tokens(RateLimitKind::Reads, viewer, tokens, deadline).await
    }

    /// Counts an answer in memory as unsent, and takes its tokens. Waits up to [`READ_WAIT_TIMEOUT`] for tokens, and then
    /// lets the answer pass without them, because the work is already done. Refuses with `overloaded` if this process
    /// has too many unsent bytes.
    async fn charge(&mut self, size: BodySize) -> Result<(), Refusal> {
        let BodySize::Sized(bytes) = size else { return Ok(()) };
        if bytes > PART_BYTES as u64 && !self.is_back_end {
            let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            let Ok(unsent) = self.slots.unsent_kib.clone().try_acquire_many_owned(kib) else {
                return Err(Refusal::overloaded(
                    "too many answers of this node are not yet read by their clients; retry",
                ));
            };
            self.unsent = Some(unsent);
        }
        let tokens = u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
        if let Some(tokens) = NonZeroU32::new(tokens) {
            let deadline = Instant::now() + READ_WAIT_TIMEOUT;
            if self.take_tokens(tokens, deadline).await.is_err() {
                sleep_until(deadline).await;
            }
        }
        Ok(())
    }
}

/// Charges the answer of an admitted read. Runs before the middleware of entity tags replaces an unchanged answer by a
/// 304, because such an answer costs the same work.
pub async fn charge_answer(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let permit = response.request().extensions_mut().remove::<ReadPermit>();
    let Some(mut permit) = permit else { return Ok(response) };
    let size = response.response().body().size();
    if let Err(refusal) = permit.charge(size).await {
        return Ok(response.into_response(Problem::from(refusal).error_response()));
    }
    response.request().extensions_mut().insert(permit);
    Ok(response)
}

/// Keeps the permit of an admitted read until its answer has left or is dropped.
pub async fn hold_until_sent(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let permit = response.request().extensions_mut().remove::<ReadPermit>();
    let Some(permit) = permit else { return Ok(response) };
    Ok(response.map_body(|_, body| BoxBody::new(ReadBody::new(body, permit))))
}

/// The body of an answer, which holds the permit of its read.
struct ReadBody {
    body: BoxBody,
    /// The rest of the last piece of `body`.
    rest: Bytes,
    _permit: ReadPermit,
}

impl ReadBody {
    fn new(body: BoxBody, permit: ReadPermit) -> Self {
        Self { body, rest: Bytes::new(), _permit: permit }
    }
}

impl MessageBody for ReadBody {
    type Error = Box<dyn StdError>;

    /// The size of the whole body. actix asks for it before it takes the first part.
    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(piece)) => this.rest = piece,
                end => return Poll::Ready(end),
            }
        }
        let part = this.rest.split_to(this.rest.len().min(PART_BYTES));
        Poll::Ready(Some(Ok(part)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tidings_shared::error::ErrorCode;
    use tidings_shared::rate::Rate;

    use super::*;

    /// Slots with this rate per second, and a burst of four times as many.
    fn slots(per_second: u32) -> Arc<ReadSlots> {
        let rate = Rate::per_second(NonZeroU32::new(per_second).unwrap());
        Arc::new(ReadSlots::new(8, RateLimiters::start(|_| rate)))
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    async fn is_admitted(slots: &Arc<ReadSlots>, user: &UserId) -> bool {
        let admitted = tokio::time::timeout(Duration::from_millis(50), slots.admit(user, false)).await;
        admitted.is_ok_and(|permit| permit.is_ok())
    }

    #[tokio::test]
    async fn slot_is_held_until_the_last_part_is_taken() {
        let slots = slots(100_000);
        let (alice, bob) = (user("alice"), user("bob"));
        let mut bodies = Vec::new();
        for _ in 0..MAX_READS_PER_USER {
            let mut permit = slots.admit(&alice, false).await.unwrap();
            let text = Bytes::from(vec![b'x'; 2 * PART_BYTES + 1]);
            permit.charge(text.size()).await.unwrap();
            bodies.push(ReadBody::new(BoxBody::new(text), permit));
        }
        assert!(!is_admitted(&slots, &alice).await && is_admitted(&slots, &bob).await);
        assert!(slots.admit(&alice, true).await.is_ok(), "a back end has no slots of its own");
        assert_eq!(slots.unsent_kib.available_permits(), MAX_UNSENT_KIB - MAX_READS_PER_USER * 65);
        let mut body = bodies.pop().unwrap();
        assert!(matches!(body.size(), BodySize::Sized(bytes) if bytes == 2 * PART_BYTES as u64 + 1));
        let mut lengths = Vec::new();
        while let Some(part) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
            lengths.push(part.unwrap().len());
        }
        assert_eq!(lengths, [PART_BYTES, PART_BYTES, 1]);
        assert!(!is_admitted(&slots, &alice).await);
        drop(body);
        assert!(is_admitted(&slots, &alice).await);
        drop(bodies);
        assert_eq!(slots.unsent_kib.available_permits(), MAX_UNSENT_KIB);
    }

    #[tokio::test]
    async fn full_process_refuses_large_answers_only() {
        let slots = slots(100_000);
        let _full = slots.unsent_kib.clone().try_acquire_many_owned(u32::try_from(MAX_UNSENT_KIB).unwrap());
        let mut permit = slots.admit(&user("alice"), false).await.unwrap();
        assert!(permit.charge(BodySize::Sized(PART_BYTES as u64)).await.is_ok());
        let refused = permit.charge(BodySize::Sized(PART_BYTES as u64 + 1)).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Overloaded);
    }

    #[tokio::test]
    async fn large_answer_takes_tokens_of_its_user() {
        let slots = slots(1);
        let (alice, bob) = (user("alice"), user("bob"));
        let mut permit = slots.admit(&alice, false).await.unwrap();
        permit.charge(BodySize::Sized(3 * BYTES_PER_TOKEN)).await.unwrap();
        assert!(!is_admitted(&slots, &alice).await, "the bucket of four tokens is empty");
        assert!(is_admitted(&slots, &bob).await);
    }
}
