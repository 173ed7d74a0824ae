//! The request for the epochs of partitions, and its answer. A gateway of the previous version names no partitions: it
//! asks for all of them, and reads one epoch. Persistence of the previous version also answers one epoch for all.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::Epoch,
    log::{OpenedEpoch, keys::Partition},
};

json_types! {
    /// Asks for the epochs of partitions at the Redis process `run_id`. Opens a new epoch for the partitions whose
    /// epoch was opened last for another process.
    pub struct OpenEpochRequest {
        pub run_id: String,
        /// The numbers of the partitions. `None` means all, and that the caller reads only one epoch.
        #[serde(default)]
        pub partitions: Option<Vec<u16>>,
    }

    /// The open epochs, and the time since each was opened.
    pub struct OpenEpochAnswer {
        /// The epoch of all requested partitions that are not in the two lists.
        pub epoch: u64,
        pub age_ms: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub others: Vec<EpochOfPartitions>,
        /// The numbers of the requested partitions that the process does not serve, in a Redis Cluster.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub without_epoch: Vec<u16>,
    }

    /// An open epoch with the numbers of its partitions.
    pub struct EpochOfPartitions { pub epoch: u64, pub age_ms: u64, pub partitions: Vec<u16> }
}

impl OpenEpochAnswer {
    /// The answer for the requested partitions; `None` if none of them has an epoch.
    #[must_use]
    pub fn new(requested: &[Partition], opened: &[(Partition, OpenedEpoch)]) -> Option<Self> {
        let mut by_epoch: BTreeMap<Epoch, EpochOfPartitions> = BTreeMap::new();
        for (partition, opened) in opened {
            let of = by_epoch.entry(opened.epoch).or_insert_with(|| EpochOfPartitions {
                epoch: opened.epoch.0,
                age_ms: u64::try_from(opened.age.as_millis()).unwrap_or(u64::MAX),
                partitions: Vec::new(),
            });
            of.partitions.push(partition.0);
        }
        let (_, first) = by_epoch.pop_first()?;
        let is_opened = |partition: &Partition| opened.iter().any(|(opened, _)| opened == partition);
        let without_epoch = requested.iter().filter(|partition| !is_opened(partition)).map(|p| p.0).collect();
        let others = by_epoch.into_values().collect();
        Some(Self { epoch: first.epoch, age_ms: first.age_ms, others, without_epoch })
    }

    /// The epoch of each requested partition that has one.
    pub(super) fn epochs_of(&self, partitions: &[Partition]) -> Vec<(Partition, OpenedEpoch)> {
        let epoch_of = |partition: &Partition| {
            let other = self.others.iter().find(|other| other.partitions.contains(&partition.0));
            let (epoch, age_ms) =
                other.map_or((self.epoch, self.age_ms), |other| (other.epoch, other.age_ms));
            (*partition, OpenedEpoch { epoch: Epoch(epoch), age: Duration::from_millis(age_ms) })
        };
        let has_epoch = |partition: &&Partition| !self.without_epoch.contains(&partition.0);
        partitions.iter().filter(has_epoch).map(epoch_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(epoch: u64, age_ms: u64) -> OpenedEpoch {
        OpenedEpoch { epoch: Epoch(epoch), age: Duration::from_millis(age_ms) }
    }

    #[test]
    fn each_partition_gets_its_epoch_back() {
        let partitions = [9, 3, 63].map(Partition);
        let epochs = vec![
            (partitions[0], opened(7, 0)),
            (partitions[1], opened(5, 40)),
            (partitions[2], opened(7, 0)),
        ];
        let through_json = |requested: &[Partition]| -> OpenEpochAnswer {
            let answer = OpenEpochAnswer::new(requested, &epochs).unwrap();
            serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap()
        };
        assert_eq!(through_json(&partitions).epochs_of(&partitions), epochs);
        assert!(OpenEpochAnswer::new(&partitions, &[]).is_none());
        let more = [9, 3, 63, 4].map(Partition);
        assert_eq!(through_json(&more).epochs_of(&more), epochs, "the process does not serve partition 4");
    }

    #[test]
    fn one_epoch_is_answered_as_by_the_previous_version() {
        let all: Vec<Partition> = Partition::all().collect();
        let epochs: Vec<_> = all.iter().map(|partition| (*partition, opened(4, 12))).collect();
        let json = serde_json::to_string(&OpenEpochAnswer::new(&all, &epochs).unwrap()).unwrap();
        assert_eq!(json, r#"{"epoch":4,"age_ms":12}"#);
        let read: OpenEpochAnswer = serde_json::from_str(&json).unwrap();
        assert_eq!(read.epochs_of(&all), epochs);
        let previous: OpenEpochRequest = serde_json::from_str(r#"{"run_id":"r"}"#).unwrap();
        assert_eq!(previous.partitions, None);
    }
}
