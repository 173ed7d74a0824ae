//! The decision of a seed: which base, which seq to go on from, whether the tail may stay. Pure.
//! Promises that all that is at or below the base of an epoch is the same in it as in the epochs before.

use tidings_shared::{
    ids::{Epoch, Seq},
    log::{Bases, Survival},
};

/// What is known of a room when it is seeded.
#[derive(Debug, Clone, Default)]
pub struct Survived {
    /// Epoch and seq of its hash, when there is one.
    pub hash: Option<(Epoch, Seq)>,
    /// Seq of the tail's last record.
    pub tail_last: Option<Seq>,
}

/// What the seed writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedPlan {
    pub base: Seq,
    /// The base has no row yet.
    pub is_new: bool,
    /// Head to go on from.
    pub seq: Seq,
    /// The bases of all epochs of the room, this one's included.
    pub bases: Bases,
    pub survived: Survival,
    /// Of what goes on only the records are left, not what the room was by then: until all of it is stored nobody
    /// could tell whether it was archived, or who was removed.
    pub waits: bool,
}

/// Decides. `stored_head` and `bases` (of all epochs with a row) were read under the partition's lock.
#[must_use]
pub fn plan(epoch: Epoch, survived: &Survived, stored_head: Seq, bases: &Bases) -> SeedPlan {
    let (hash_epoch, hash_seq) = survived.hash.unwrap_or_default();
    // What the hash counts beyond the base of an epoch later than its own is of a history that was given up.
    let earlier = bases.0.iter().copied().filter(|(of, _)| *of < epoch).collect();
    let counted = Bases(earlier).limit_of(hash_epoch).map_or(hash_seq, |limit| limit.min(hash_seq));
    let existing = bases.0.iter().find(|(of, _)| *of == epoch).map(|(_, base)| *base);
    let base = existing.unwrap_or_else(|| stored_head.max(counted));
    let seq = base.max(stored_head);
    let mut bases = bases.clone();
    if existing.is_none() {
        bases.0.push((epoch, base));
    }
    let whole = survived.hash.is_some() && hash_seq == counted && counted == seq;
    // All that is stored was in the hash's history too, and so was all up to where it goes on from.
    let marked = survived.hash.is_some() && counted >= base && base == seq;
    let survived = match survived.tail_last == Some(seq) {
        true if whole => Survival::HashAndTail,
        false if whole => Survival::Hash,
        _ if marked => Survival::Marks,
        _ => Survival::Nothing,
    };
    let waits = survived == Survival::Marks && stored_head < seq;
    SeedPlan { base, is_new: existing.is_none(), seq, bases, survived, waits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(text: &str) -> Bases {
        Bases::decode(text)
    }

    fn survived(epoch: u64, seq: u64, tail: u64) -> Survived {
        Survived { hash: Some((Epoch(epoch), Seq(seq))), tail_last: Some(Seq(tail)) }
    }

    #[test]
    fn what_redis_kept_beyond_the_stored_head_is_counted() {
        let plan = plan(Epoch(2), &survived(1, 9, 9), Seq(5), &bases("1:0"));
        assert_eq!(
            (plan.base, plan.seq, plan.is_new, plan.survived),
            (Seq(9), Seq(9), true, Survival::HashAndTail)
        );
        assert!(!plan.waits, "the hash tells what is not stored yet");
        assert_eq!(plan.bases, bases("1:0,2:9"));
    }

    #[test]
    fn an_empty_redis_goes_on_from_the_stored_head() {
        let plan = plan(Epoch(2), &Survived::default(), Seq(5), &bases("1:0"));
        assert_eq!(
            (plan.base, plan.seq, plan.is_new, plan.survived),
            (Seq(5), Seq(5), true, Survival::Nothing)
        );
    }

    #[test]
    fn what_survived_counts_only_up_to_the_base_of_every_epoch_in_between() {
        // The process of epoch 1 comes back with 9 events, but epoch 2 went on from 6.
        let plan = plan(Epoch(3), &survived(1, 9, 9), Seq(5), &bases("1:0,2:6"));
        assert_eq!((plan.base, plan.seq, plan.survived), (Seq(6), Seq(6), Survival::Marks));
        assert!(plan.waits, "what the room is at 6 is known once 6 is stored");
        let stored = super::plan(Epoch(3), &survived(1, 9, 9), Seq(6), &bases("1:0,2:6"));
        assert!(stored.survived == Survival::Marks && !stored.waits);
        let lower_later = super::plan(Epoch(4), &survived(1, 9, 9), Seq(5), &bases("1:0,2:8,3:6"));
        assert_eq!(lower_later.base, Seq(6));
    }

    #[test]
    fn a_base_that_stands_is_kept_and_the_head_goes_on_from_what_is_stored() {
        let plan = plan(Epoch(2), &survived(1, 20, 20), Seq(14), &bases("1:0,2:9"));
        assert_eq!((plan.base, plan.seq, plan.is_new), (Seq(9), Seq(14), false));
        assert_eq!(plan.bases, bases("1:0,2:9"));
        assert_eq!(plan.survived, Survival::Nothing, "what survived is of the epoch before");
    }

    #[test]
    fn a_tail_stays_only_when_it_ends_exactly_at_the_head_and_no_mark_where_more_is_stored() {
        let survival =
            |survived: &Survived, head| plan(Epoch(2), survived, Seq(head), &bases("1:0")).survived;
        assert_eq!(survival(&survived(1, 9, 8), 5), Survival::Hash);
        assert_eq!(survival(&survived(1, 9, 9), 10), Survival::Nothing);
        let given_up = super::plan(Epoch(3), &survived(1, 9, 9), Seq(8), &bases("1:0,2:6")).survived;
        assert_eq!(given_up, Survival::Nothing, "what is stored at 8 is not what the hash holds a mark of");
        let no_hash = Survived { hash: None, tail_last: Some(Seq(5)) };
        assert_eq!(survival(&no_hash, 5), Survival::Nothing);
    }
}
