//! When a snapshot is due: by bytes, so that replaying the log never takes much longer than reading the snapshot.

/// Bytes of entries below which no snapshot is taken.
const BYTES_MIN: u64 = 4 << 20;

/// And this many times the last snapshot's bytes, so that writing snapshots stays a fraction of all that is written.
const TIMES: u64 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotPolicy {
    snapshot_bytes: u64,
    fixed: Option<u64>,
}

impl SnapshotPolicy {
    /// After a snapshot of so many bytes, 0 when there is none.
    pub(crate) fn new(snapshot_bytes: u64) -> SnapshotPolicy {
        SnapshotPolicy { snapshot_bytes, fixed: None }
    }

    /// After so many bytes of entries each time.
    pub(crate) fn after(bytes: u64) -> SnapshotPolicy {
        SnapshotPolicy { snapshot_bytes: 0, fixed: Some(bytes) }
    }

    /// The policy after a snapshot of so many bytes was taken.
    pub(crate) fn taken(self, snapshot_bytes: u64) -> SnapshotPolicy {
        SnapshotPolicy { snapshot_bytes, ..self }
    }

    /// Whether a log of so many bytes asks for a snapshot.
    pub(crate) fn is_due(&self, log_bytes: u64) -> bool {
        let limit = self.fixed.unwrap_or_else(|| BYTES_MIN.max(self.snapshot_bytes.saturating_mul(TIMES)));
        log_bytes > limit
    }
}
