//! The limits of the backlog, which is the records of a partition that wait to be stored.

/// Limits at which this process refuses appends. 0 means no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogLimits {
    /// Number of records of one partition that may wait to be stored; further appends are refused as overloaded.
    pub max_backlog_records: u64,
    /// Bytes of the records of one partition that may wait to be stored. One call may exceed this limit.
    pub max_backlog_bytes: u64,
}

impl LogLimits {
    /// The default of [`LogLimits::max_backlog_bytes`]: 16 MiB, which is 1 GiB for all partitions. 10,000 records of
    /// 1.6 KiB fit, so messages of usual size reach the default limit of records first.
    pub const DEFAULT_BACKLOG_BYTES: u64 = 16 * 1024 * 1024;
    /// The lowest value of the setting. It is far above what Redis needs for a stream of one record.
    pub const MIN_BACKLOG_BYTES: u64 = 1024 * 1024;
}
