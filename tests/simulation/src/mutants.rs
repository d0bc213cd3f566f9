//! Planted faults: each is a mistake that somebody has made in a system of this kind, and that the invariants catch.
//!
//! They sit where the simulator's hosts meet the real code: what goes into a core or comes out of it is changed on the
//! way. The real code has no switches for them.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Mutant {
    /// A follower cuts its log at its high watermark, and trusts what is left (before KIP-101).
    TruncateToHighWatermark,
    /// A follower says that it has what it has only written.
    CountBeforeSync,
    /// A leader takes followers out of the in-sync replicas without asking.
    ShrinkAlone,
    /// The controller elects whoever lives.
    ElectFromOutside,
    /// A restart begins with no high watermark.
    ForgetHighWatermark,
    /// Directories are never synced.
    SkipDirectorySync,
    /// A broker that lost its disk is still in sync.
    TrustAnEmptyReplica,
    /// A leader acknowledges when it has a batch itself.
    AcknowledgeAlone,
    /// A deposed leader tells those who wait that their batches are stored.
    AcknowledgeWhenDeposed,
    /// `acks=all` is taken with any number of in-sync replicas.
    IgnoreMinIsr,
    /// A follower goes on although its leader says that their logs differ.
    IgnoreDivergence,
    /// A leader that crashed goes on in the epoch that it had.
    KeepTheEpoch,
    /// A leader counts what a follower of an earlier epoch has.
    CountOldFetches,
    /// A new leader commits what is below its end before anybody has it.
    CommitOnElection,
    /// A leader shows readers what is not committed.
    ShowUncommitted,
    /// A coordinator tells a group that its offset is committed when it has written it.
    AnswerCommitsEarly,
    /// A coordinator tells a group of an offset that other replicas do not have.
    TellUncommittedOffsets,
    /// A new coordinator reads its log back as far as it knew it to be committed before.
    LoadToHighWatermark,
    /// A coordinator that is elected again goes on with the state that it had.
    KeepTheCoordinator,
}
