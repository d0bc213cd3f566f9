//! A consumer's part in its group: a task that drives the member's core, and what it and the application tell each
//! other.
//!
//! The task never touches what the application reads: it asks, and the application's next poll does it. So callbacks
//! run in order, on the poll, and a consumer that does not poll is found out.

mod committer;
mod driver;
mod place;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_base::TopicId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(crate) use committer::Committer;

use crate::consumer::shared::Shared;
use crate::error::{FetchError, GroupError};
use crate::group::{CommitOffset, GroupMetadata, Subscription, TopicPartition};

/// From the application to the task.
pub(crate) enum Control {
    Subscribe(Subscription),
    /// The application polls again after it was given up.
    TakePartAgain,
    Leave {
        done: oneshot::Sender<()>,
    },
}

/// From the task to the application's poll.
pub(crate) enum Event {
    Assigned {
        places: Vec<Place>,
        done: oneshot::Sender<()>,
    },
    /// The answer is what to commit before others may have these.
    Revoke {
        partitions: Vec<TopicPartition>,
        done: oneshot::Sender<Vec<CommitOffset>>,
    },
    Lost {
        partitions: Vec<TopicPartition>,
    },
    CommitDue,
    Failed(GroupError),
}

/// Where to begin in a partition that was assigned.
pub(crate) struct Place {
    pub(crate) partition: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) start: Result<i64, FetchError>,
}

/// When the application was last seen polling.
#[derive(Debug)]
struct Polled {
    /// It is in a poll that waits.
    waiting: bool,
    last: Instant,
}

/// What both sides look at.
pub(crate) struct MemberState {
    identity: Mutex<GroupMetadata>,
    polled: Mutex<Polled>,
    /// The member has left because nobody polled.
    given_up: AtomicBool,
    commit_is_due: AtomicBool,
}

impl MemberState {
    pub(crate) fn new(outside: GroupMetadata) -> Self {
        Self {
            identity: Mutex::new(outside),
            polled: Mutex::new(Polled { waiting: false, last: Instant::now() }),
            given_up: AtomicBool::new(false),
            commit_is_due: AtomicBool::new(false),
        }
    }

    pub(crate) fn identity(&self) -> GroupMetadata {
        self.identity.lock().clone()
    }

    pub(crate) fn poll_begins(&self) {
        self.polled.lock().waiting = true;
    }

    pub(crate) fn poll_ends(&self) {
        *self.polled.lock() = Polled { waiting: false, last: Instant::now() };
    }

    /// When the application has gone without polling for too long, and the earliest moment to look at it again.
    fn poll_deadline(&self, max_interval: Duration, now: Instant) -> Instant {
        let polled = self.polled.lock();
        if polled.waiting { now + max_interval } else { polled.last + max_interval }
    }
}

/// The application's end.
pub(crate) struct Membership {
    pub(crate) state: Arc<MemberState>,
    pub(crate) committer: Committer,
    pub(crate) failed: Option<GroupError>,
    control: mpsc::UnboundedSender<Control>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    /// Something was subscribed to.
    pub(crate) active: bool,
}

impl Membership {
    pub(crate) fn start(shared: &Arc<Shared>, group: &Arc<str>) -> Self {
        let state = Arc::new(MemberState::new(GroupMetadata::outside(Arc::clone(group))));
        let (control, controlled) = mpsc::unbounded_channel();
        let (told, events) = mpsc::unbounded_channel();
        let committer = Committer::start(Arc::clone(&shared.cluster), Arc::clone(&state));
        let driver =
            driver::Driver::new(Arc::clone(shared), Arc::clone(&state), committer.clone(), controlled, told);
        tokio::spawn(driver.run());
        Self { state, committer, failed: None, control, events, active: false }
    }

    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        self.active = true;
        self.failed = None;
        self.state.given_up.store(false, Ordering::Release);
        // Fails only where the runtime has ended the task.
        let _ = self.control.send(Control::Subscribe(subscription));
    }

    /// A poll begins: a member that was given up takes part again.
    pub(crate) fn poll_begins(&self) {
        self.state.poll_begins();
        if self.state.given_up.swap(false, Ordering::AcqRel) {
            let _ = self.control.send(Control::TakePartAgain);
        }
    }

    pub(crate) fn commit_is_done(&self) {
        self.state.commit_is_due.store(false, Ordering::Release);
    }

    /// Leaves the group and waits for that, within the limits of a request.
    pub(crate) async fn leave(&mut self) {
        self.active = false;
        let (done, left) = oneshot::channel();
        if self.control.send(Control::Leave { done }).is_ok() {
            let _ = left.await;
        }
    }
}
