//! The session of each partition. Sessions end together or for single partitions.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::log::keys::{PARTITIONS, Partition, PartitionSet};

/// For each partition its session, or none. Reads take no lock.
pub struct Slots<S> {
    slots: [ArcSwapOption<S>; PARTITIONS as usize],
    /// Locked by every change. Otherwise a session that is discarded while it is being stored could stay in some slots.
    changes: SyncMutex<()>,
}

impl<S> Slots<S> {
    pub fn new() -> Self {
        Self { slots: std::array::from_fn(|_| ArcSwapOption::empty()), changes: SyncMutex::new(()) }
    }

    fn slot(&self, partition: Partition) -> &ArcSwapOption<S> {
        &self.slots[usize::from(partition.0)]
    }

    /// The session of a partition.
    pub fn get(&self, partition: Partition) -> Option<Arc<S>> {
        self.slot(partition).load_full()
    }

    fn lock_changes(&self) -> std::sync::MutexGuard<'_, ()> {
        // A poisoned lock is usable, because each slot is changed as a whole.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives partitions a session.
    pub fn store(&self, partitions: PartitionSet, session: &Arc<S>) {
        let _changes = self.lock_changes();
        partitions.iter().for_each(|partition| self.slot(partition).store(Some(session.clone())));
    }

    /// Empties those slots of `ended` whose session fulfils the condition. The other slots with such a session get the
    /// result of `without`, a session that serves only them. Returns whether a slot was emptied.
    pub fn end(
        &self,
        ended: PartitionSet,
        is_meant: impl Fn(&S) -> bool,
        without: impl FnOnce(PartitionSet) -> S,
    ) -> bool {
        let _changes = self.lock_changes();
        let is_held = |partition: &Partition| self.slot(*partition).load().as_deref().is_some_and(&is_meant);
        let (emptied, kept): (Vec<Partition>, Vec<Partition>) =
            Partition::all().filter(is_held).partition(|partition| ended.contains(*partition));
        emptied.iter().for_each(|partition| self.slot(*partition).store(None));
        if !emptied.is_empty() && !kept.is_empty() {
            let session = Arc::new(without(kept.iter().copied().collect()));
            kept.iter().for_each(|partition| self.slot(*partition).store(Some(session.clone())));
        }
        !emptied.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session with a name and its partitions.
    type Named = (&'static str, PartitionSet);

    fn set(partitions: &[u16]) -> PartitionSet {
        partitions.iter().copied().map(Partition).collect()
    }

    fn names(slots: &Slots<Named>, partitions: &[u16]) -> Vec<Option<&'static str>> {
        partitions.iter().map(|partition| slots.get(Partition(*partition)).map(|held| held.0)).collect()
    }

    fn end(slots: &Slots<Named>, partitions: PartitionSet, name: &'static str) -> bool {
        slots.end(partitions, |held| held.0 == name, |left| (name, left))
    }

    #[test]
    fn discarded_session_ends_for_its_partitions_only() {
        let slots = Slots::new();
        slots.store(set(&[0, 63]), &Arc::new(("first", set(&[0, 63]))));
        slots.store(set(&[5, 6]), &Arc::new(("second", set(&[5, 6]))));
        assert!(end(&slots, PartitionSet::ALL, "first"));
        assert_eq!(names(&slots, &[0, 63, 5, 6, 7]), [None, None, Some("second"), Some("second"), None]);
        assert!(!end(&slots, PartitionSet::ALL, "first"), "the session was discarded before");
    }

    #[test]
    fn late_discard_keeps_session_that_was_opened_since() {
        let slots = Slots::new();
        slots.store(PartitionSet::ALL, &Arc::new(("failed", PartitionSet::ALL)));
        slots.store(PartitionSet::ALL, &Arc::new(("reopened", PartitionSet::ALL)));
        assert!(!end(&slots, PartitionSet::ALL, "failed"));
        assert!(Partition::all().all(|partition| slots.get(partition).is_some()));
    }

    #[test]
    fn partition_that_ends_leaves_a_session_of_the_others() {
        let slots = Slots::new();
        slots.store(set(&[1, 2, 3]), &Arc::new(("first", set(&[1, 2, 3]))));
        slots.store(set(&[4]), &Arc::new(("second", set(&[4]))));
        assert!(end(&slots, set(&[2, 4]), "first"));
        assert_eq!(names(&slots, &[1, 2, 3, 4]), [Some("first"), None, Some("first"), Some("second")]);
        let left = slots.get(Partition(1)).unwrap();
        assert_eq!(left.1, set(&[1, 3]));
        assert!(Arc::ptr_eq(&left, &slots.get(Partition(3)).unwrap()));
        assert!(!end(&slots, set(&[2]), "first"), "it ended before");
    }
}
