//! One replica of one partition, as decisions: events in, [`Command`]s out.
//!
//! [`Replica`] knows no lock, no task, no clock (time is a number that comes with an event), no file and no network. Its
//! driver holds the log, the connections and those who wait. It hands in one event at a time and runs the commands in
//! their order before the next event; [`Command::FetchFrom`], [`Command::ProposeIsr`], [`Command::Truncate`],
//! [`Command::Reset`] and [`Command::WakeAt`] may be only begun, and are reported later. What the log holds is looked up through [`History`]. A partition with one replica is the
//! same code with an in-sync set (ISR) of itself; its appends and syncs allocate nothing.
//!
//! # Rules
//!
//! - **Logs are compared by epoch, never by length** (KIP-101, KIP-279). A follower tells the epoch of its last record
//!   with each fetch; the leader names the point from which on the logs differ (KIP-595); the follower cuts its log there,
//!   or at the end of its own largest epoch below, and asks again. It never truncates to its high watermark.
//! - **Requests are fenced by leader epoch** (KIP-320), fetches of replicas also by broker epoch (KIP-903).
//! - **Only the controller changes the ISR** (AlterPartition, KIP-497). From its proposal until the answer a leader
//!   counts whoever is in the committed set or in the proposed one: the *maximal* set. A proposal names the leader epoch
//!   and the partition epoch that it was made from, and there is one at a time. An answer that is lost leaves it standing
//!   and it is made again; one that is outdated leaves it standing until the next assignment.
//! - **A replica counts with what it has fsynced.** A follower fetches only from an offset below which it has everything
//!   durably, so that the fetch acknowledges it.
//! - **The high watermark** is what every member of the maximal ISR, the leader included, has durably. In a new leader
//!   epoch it rests until that reaches where the epoch began: then everything from earlier epochs is committed by this
//!   leader, and nobody who counts is one that it has not heard of.
//! - **Below the effective `min.insync.replicas`** appends with `acks=all` are refused, those that wait are failed as
//!   "after append", and the high watermark rests (KIP-966): so whoever leaves the ISR has every committed record for as
//!   long as it stays eligible to lead. Who is eligible is the controller's to keep.
//! - **Into the ISR** a follower is proposed when it fetches from the high watermark or beyond and from where the leader
//!   epoch began or beyond, under the identity that the metadata know (KIP-841, KIP-903). **Out of it** it is proposed when
//!   it has not caught up for [`Timing::lag_max_ms`], or at once if it has lost what it acknowledged.
//! - **A replica that came back empty or older** shows another directory, or fetches below what it had acknowledged to
//!   this leader, or, as a member of the ISR, below the high watermark. It counts for nothing until it is out of the ISR;
//!   then it may catch up as any other.
//! - **A restart** begins with the high watermark that was kept beside the log, as far as the log goes.
//! - **An append is answered by the leadership that took it.** One whose leadership ended before it came to wait is
//!   refused at once, even if the replica leads again: its records may be gone.
//!
//! # Invariants ([`Replica::validate`], and the property test)
//!
//! - 0 ≤ high watermark ≤ durable end ≤ log end.
//! - The high watermark never falls, but for a follower's that truncates below it, which takes an unclean election.
//! - A leader's high watermark is never beyond what a trusted member of the maximal ISR has acknowledged to it.
//! - At most one fetch and one proposal are under way.

mod assignment;
mod command;
mod follower;
mod history;
mod isr;
mod leader;
mod on_append;
mod on_assignment;
mod on_cut;
mod on_durable;
mod on_fetch_answer;
mod on_isr_answer;
mod on_replica_fetch;
mod on_time;
mod replica;
mod standing;

pub use assignment::{Assignment, Identity, Member};
pub use command::{Command, IsrProposal, Refused, Waiters};
pub use history::{Divergence, History, divergence, shared_end};
pub use on_fetch_answer::{FetchAnswer, FetchOutcome};
pub use on_isr_answer::IsrAnswer;
pub use on_replica_fetch::{ReplicaFetch, Served};
pub use replica::{Pointers, Replica, RoleKind, Timing};
pub use standing::Standing;
