//! Decides the seed of a room: its base, its head, and which of its keys in Redis may stay. Pure.
//! Keeps the base invariant: all events at or below the base of an epoch are the same as in the earlier epochs.

use tidings_shared::{
    ids::{Epoch, Seq},
    log::{Bases, Survival},
};

/// The state of a room in Redis when it is seeded.
#[derive(Debug, Clone, Default)]
pub struct SurvivingState {
    /// The epoch and head in the room's hash; None if there is no hash.
    pub hash: Option<(Epoch, Seq)>,
    /// The seq of the last record in the room's tail; None if there is no tail.
    pub tail_last: Option<Seq>,
}

/// What the seed of a room writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedPlan {
    pub base: Seq,
    /// Whether the base still has to be written to the database.
    pub is_new: bool,
    /// The head of the room after the seed; the next event gets the next seq.
    pub seq: Seq,
    /// The bases of the room in all epochs, including the new one.
    pub bases: Bases,
    pub survived: Survival,
    /// Whether the seed must wait until PostgreSQL has stored all records up to `seq`. True if only the membership marks
    /// of the room's hash survive and PostgreSQL is behind: until then it is unknown whether the room is archived.
    pub must_wait: bool,
}

/// Decides the seed of a room. `stored_head` and `bases` (of all epochs of the room) were read under the partition's
/// lock.
#[must_use]
pub fn plan_seed(epoch: Epoch, survived: &SurvivingState, stored_head: Seq, bases: &Bases) -> SeedPlan {
    let (hash_epoch, hash_seq) = survived.hash.unwrap_or_default();
    // Later epochs may have continued from a lower base. Events of the hash above that base were abandoned and are not
    // valid.
    let earlier = bases.0.iter().copied().filter(|(of, _)| *of < epoch).collect();
    let surviving_seq =
        Bases(earlier).lowest_base_after(hash_epoch).map_or(hash_seq, |limit| limit.min(hash_seq));
    let existing = bases.0.iter().find(|(of, _)| *of == epoch).map(|(_, base)| *base);
    let base = existing.unwrap_or_else(|| stored_head.max(surviving_seq));
    let seq = base.max(stored_head);
    let mut bases = bases.clone();
    if existing.is_none() {
        bases.0.push((epoch, base));
    }
    let hash_is_whole = survived.hash.is_some() && hash_seq == surviving_seq && surviving_seq == seq;
    // The membership marks may stay if the valid events of the hash reach the base, and PostgreSQL has stored nothing
    // above the base. Otherwise a change that the hash does not contain may contradict a mark.
    let marks_may_stay = survived.hash.is_some() && surviving_seq >= base && base == seq;
    let survived = match survived.tail_last == Some(seq) {
        true if hash_is_whole => Survival::HashAndTail,
        false if hash_is_whole => Survival::Hash,
        _ if marks_may_stay => Survival::Marks,
        _ => Survival::Nothing,
    };
    let must_wait = survived == Survival::Marks && stored_head < seq;
    SeedPlan { base, is_new: existing.is_none(), seq, bases, survived, must_wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(text: &str) -> Bases {
        Bases::decode(text)
    }

    fn survived(epoch: u64, seq: u64, tail: u64) -> SurvivingState {
        SurvivingState { hash: Some((Epoch(epoch), Seq(seq))), tail_last: Some(Seq(tail)) }
    }

    #[test]
    fn records_kept_in_redis_beyond_stored_head_are_counted() {
        let plan = plan_seed(Epoch(2), &survived(1, 9, 9), Seq(5), &bases("1:0"));
        assert_eq!(
            (plan.base, plan.seq, plan.is_new, plan.survived),
            (Seq(9), Seq(9), true, Survival::HashAndTail)
        );
        assert!(!plan.must_wait, "the hash knows the state that is not stored yet");
        assert_eq!(plan.bases, bases("1:0,2:9"));
    }

    #[test]
    fn empty_redis_continues_from_stored_head() {
        let plan = plan_seed(Epoch(2), &SurvivingState::default(), Seq(5), &bases("1:0"));
        assert_eq!(
            (plan.base, plan.seq, plan.is_new, plan.survived),
            (Seq(5), Seq(5), true, Survival::Nothing)
        );
    }

    #[test]
    fn surviving_hash_counts_up_to_bases_of_later_epochs() {
        // The process of epoch 1 comes back with 9 events, but epoch 2 continued from 6.
        let plan = plan_seed(Epoch(3), &survived(1, 9, 9), Seq(5), &bases("1:0,2:6"));
        assert_eq!((plan.base, plan.seq, plan.survived), (Seq(6), Seq(6), Survival::Marks));
        assert!(plan.must_wait, "the state at 6 is known only when 6 is stored");
        let stored = super::plan_seed(Epoch(3), &survived(1, 9, 9), Seq(6), &bases("1:0,2:6"));
        assert!(stored.survived == Survival::Marks && !stored.must_wait);
        let lower_later = super::plan_seed(Epoch(4), &survived(1, 9, 9), Seq(5), &bases("1:0,2:8,3:6"));
        assert_eq!(lower_later.base, Seq(6));
    }

    #[test]
    fn existing_base_is_kept_and_head_continues_from_stored() {
        let plan = plan_seed(Epoch(2), &survived(1, 20, 20), Seq(14), &bases("1:0,2:9"));
        assert_eq!((plan.base, plan.seq, plan.is_new), (Seq(9), Seq(14), false));
        assert_eq!(plan.bases, bases("1:0,2:9"));
        assert_eq!(plan.survived, Survival::Nothing, "the surviving state belongs to the previous epoch");
    }

    #[test]
    fn tail_survives_only_when_it_ends_at_head() {
        let survival = |survived: &SurvivingState, head| {
            plan_seed(Epoch(2), survived, Seq(head), &bases("1:0")).survived
        };
        assert_eq!(survival(&survived(1, 9, 8), 5), Survival::Hash);
        assert_eq!(survival(&survived(1, 9, 9), 10), Survival::Nothing);
        let given_up = super::plan_seed(Epoch(3), &survived(1, 9, 9), Seq(8), &bases("1:0,2:6")).survived;
        assert_eq!(
            given_up,
            Survival::Nothing,
            "the event stored at 8 is not the one that the hash holds a mark of"
        );
        let no_hash = SurvivingState { hash: None, tail_last: Some(Seq(5)) };
        assert_eq!(survival(&no_hash, 5), Survival::Nothing);
    }
}
