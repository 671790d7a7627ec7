//! What a run found wrong.

use std::fmt;

/// A broken invariant of design/core.md, or one of the promises made there in prose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen, with both sides.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Returns a [`Violation`] from the function unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $invariant:expr, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::violation::Violation { invariant: $invariant, detail: format!($($detail)+) }.into());
        }
    };
}
pub(crate) use ensure;

/// The names. Those of the table in design/core.md, and those of its prose that have none there.
pub mod names {
    /// A store accepts an append only for the epoch that created the segment and no higher promise.
    pub const SINGLE_WRITER: &str = "SingleWriter";
    /// Each copy is a byte prefix of what its owner wrote.
    pub const PREFIX: &str = "Prefix";
    /// Each segment starts where its predecessor ended; epochs never fall.
    pub const CHAIN_CONTIGUOUS: &str = "ChainContiguous";
    /// A sealed end is at or above everything acknowledged, recorded losses apart.
    pub const SEAL_COVERS_ACKS: &str = "SealCoversAcks";
    /// Nobody reads at or above the committed offset; it never moves back, recorded losses apart.
    pub const COMMITTED_ONLY: &str = "CommittedOnly";
    /// A store counts as complete for a seal only after it has synced the segment.
    pub const SEALED_IS_SYNCED: &str = "SealedIsSynced";
    /// A copy that may have lost something stays not whole until its segment is sealed.
    pub const WHOLE_IS_STICKY: &str = "WholeIsSticky";
    /// A promise, once answered, is never forgotten, and is made before lengths are read.
    pub const FENCE_BEFORE_READ: &str = "FenceBeforeRead";
    /// While a seal is in flight nothing above the full set's last acknowledgement is acknowledged.
    pub const NO_ACK_IN_FLIGHT: &str = "NoAckInFlight";
    /// What was answered as synced survives whole.
    pub const SYNCED_SURVIVES: &str = "SyncedSurvives";
    /// After a crash of the process alone nothing acknowledged is missing.
    pub const CRASH_LOSES_NOTHING: &str = "CrashLosesNothing";
    /// A copy that lost nothing is called whole: else a loss is recorded that did not happen.
    pub const WHOLE_IS_KEPT: &str = "WholeIsKept";
    /// Each start's incarnation is above all earlier ones.
    pub const INCARNATION_RISES: &str = "IncarnationRises";
    /// The clean-stop marker is there after a clean stop, and only then.
    pub const CLEAN_STOP_IS_TRUE: &str = "CleanStopIsTrue";
    /// Cluster and node ids are stable for ever.
    pub const IDENTITY_IS_STABLE: &str = "IdentityIsStable";
    /// A producer checkpoint that a seal covers is there.
    pub const CHECKPOINT_SURVIVES: &str = "CheckpointSurvives";
    /// A metadata command, once answered, is in the image for ever.
    pub const COMMAND_SURVIVES: &str = "CommandSurvives";
    /// A batch that an idempotent producer sent is stored once, and its retries are answered with its offsets.
    pub const STORED_ONCE: &str = "StoredOnce";
    /// What was acknowledged is there, but for losses that were recorded and that the faults explain.
    pub const PROMISED: &str = "Promised";
    /// What no fault hit does not fail; a power cut is not taken for damage.
    pub const WORKS_WITHOUT_FAULT: &str = "WorksWithoutFault";
    /// An assertion of the code under test.
    pub const PANIC: &str = "Panic";
}
