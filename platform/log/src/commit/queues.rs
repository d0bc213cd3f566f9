//! Partitions that wait for a commit, and the threads that wait for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Route;
use crate::partition::PartitionLog;

/// How long a commit that met an error that passes, a full disk most often, waits before it is tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

/// Each partition stands in at most one of these, once.
#[derive(Default)]
struct State {
    wal: VecDeque<Arc<PartitionLog>>,
    direct: VecDeque<Arc<PartitionLog>>,
    /// Their direct commit is stalled; tried again from the time on.
    stalled: VecDeque<(Instant, Arc<PartitionLog>)>,
    checkpoint: bool,
    stop: bool,
}

#[derive(Default)]
pub(crate) struct Queues {
    state: Mutex<State>,
    wal_work: Condvar,
    direct_work: Condvar,
    checkpoint_work: Condvar,
    checkpoint_done: Condvar,
    stopping: Condvar,
}

/// What a direct thread is to do next.
pub(crate) enum DirectWork {
    Commit(Arc<PartitionLog>),
    Retry(Arc<PartitionLog>),
}

impl Queues {
    pub fn push(&self, partition: Arc<PartitionLog>, route: Route) {
        let mut state = self.state.lock();
        match route {
            Route::Wal => {
                state.wal.push_back(partition);
                drop(state);
                self.wal_work.notify_one();
            }
            Route::Direct => {
                state.direct.push_back(partition);
                drop(state);
                self.direct_work.notify_one();
            }
        }
    }

    /// Moves all partitions that wait for the write-ahead log to the end of `into`.
    pub fn take_wal(&self, into: &mut VecDeque<Arc<PartitionLog>>) {
        into.append(&mut self.state.lock().wal);
    }

    /// Waits until a partition waits for the write-ahead log. False: the engine stops.
    pub fn wait_wal(&self) -> bool {
        self.wait(&self.wal_work, |state| !state.wal.is_empty())
    }

    pub fn stall(&self, partition: Arc<PartitionLog>) {
        self.state.lock().stalled.push_back((Instant::now() + RETRY, partition));
        self.direct_work.notify_one();
    }

    /// Work for a direct thread, if there is any right now; `retry_early` disregards the waiting time.
    pub fn try_direct(&self, retry_early: bool) -> Option<DirectWork> {
        next_direct(&mut self.state.lock(), retry_early)
    }

    /// Waits for work for a direct thread. `None`: the engine stops.
    pub fn wait_direct(&self) -> Option<DirectWork> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            if let Some(work) = next_direct(&mut state, false) {
                return Some(work);
            }
            match state.stalled.front().map(|(at, _)| *at) {
                Some(at) => {
                    self.direct_work.wait_until(&mut state, at);
                }
                None => self.direct_work.wait(&mut state),
            }
        }
    }

    pub fn request_checkpoint(&self) {
        self.state.lock().checkpoint = true;
        self.checkpoint_work.notify_one();
    }

    /// Takes the request for a checkpoint, if there is one.
    pub fn take_checkpoint(&self) -> bool {
        std::mem::take(&mut self.state.lock().checkpoint)
    }

    /// Waits for a request for a checkpoint. False: the engine stops.
    pub fn wait_checkpoint(&self) -> bool {
        self.wait(&self.checkpoint_work, |state| state.checkpoint)
    }

    /// Tells those who wait that a checkpoint was attempted.
    pub fn checkpoint_done(&self) {
        drop(self.state.lock());
        self.checkpoint_done.notify_all();
    }

    /// Requests a checkpoint and waits for the end of one. False: the engine stops.
    pub fn await_checkpoint(&self) -> bool {
        let mut state = self.state.lock();
        if state.stop {
            return false;
        }
        state.checkpoint = true;
        self.checkpoint_work.notify_one();
        self.checkpoint_done.wait(&mut state);
        !state.stop
    }

    /// Waits up to `duration`, less if the engine stops.
    pub fn pause(&self, duration: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + duration;
        while !state.stop && Instant::now() < until {
            self.stopping.wait_until(&mut state, until);
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Makes every thread end. Partitions that wait are let go.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        let queues = std::mem::replace(&mut *state, State { stop: true, ..State::default() });
        drop(state);
        let work = [&self.wal_work, &self.direct_work, &self.checkpoint_work];
        for condvar in work.into_iter().chain([&self.checkpoint_done, &self.stopping]) {
            condvar.notify_all();
        }
        // Dropped without the lock: the last handle of a partition may be among them.
        drop(queues);
    }

    fn wait(&self, condvar: &Condvar, ready: impl Fn(&State) -> bool) -> bool {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        while !state.stop && !ready(&state) {
            condvar.wait(&mut state);
        }
        !state.stop
    }
}

fn next_direct(state: &mut State, retry_early: bool) -> Option<DirectWork> {
    if let Some(partition) = state.direct.pop_front() {
        return Some(DirectWork::Commit(partition));
    }
    let (at, _) = state.stalled.front()?;
    if retry_early || *at <= Instant::now() {
        return state.stalled.pop_front().map(|(_, partition)| DirectWork::Retry(partition));
    }
    None
}
