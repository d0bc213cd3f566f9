//! Writes that meet an error that passes: the disk is full, there is no file or memory left.
//!
//! openraft ends a node whose storage reports an error, whatever the error. So none that passes is reported: the
//! write is done again, with room from the reserve, until it succeeds or the node is shut down. Meanwhile
//! [`Patience::stall`] tells why, so that commands are refused and nobody waits for what may not come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millrace_disk::{Need, Reserve, is_passing, way_out};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a write is being waited for.
pub(crate) type Stall = Option<Arc<str>>;

/// For the writes of one kind, of which there is one at a time. Clones share one.
#[derive(Clone)]
pub(crate) struct Patience(Arc<Shared>);

struct Shared {
    reserve: Arc<Reserve>,
    stall: watch::Sender<Stall>,
    stopped: Mutex<bool>,
    stopping: Condvar,
}

impl Patience {
    pub(crate) fn new(reserve: Arc<Reserve>) -> Self {
        let stall = watch::Sender::new(None);
        Self(Arc::new(Shared { reserve, stall, stopped: Mutex::new(false), stopping: Condvar::new() }))
    }

    /// Does `write`, which must be sound to repeat after an error that passes. Such an error comes back only once
    /// [`Self::stop`] was called. Blocking.
    pub(crate) fn write<T>(&self, what: &str, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let outcome = self.attempt(what, &mut write);
            if !passes(&outcome) || !self.pause() {
                return outcome;
            }
        }
    }

    /// As [`Self::write`], without blocking between two tries.
    pub(crate) async fn write_stepped<T>(
        &self,
        what: &str,
        mut write: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let outcome = self.attempt(what, &mut write);
            if !passes(&outcome) || *self.0.stopped.lock() {
                return outcome;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One try, after which the stall is what it showed.
    fn attempt<T>(&self, what: &str, write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let outcome = self.0.reserve.with_room(Need::Control, write);
        match &outcome {
            Err(error) if is_passing(error) => self.begin(what, error),
            _ => self.end(),
        }
        outcome
    }

    fn begin(&self, what: &str, error: &io::Error) {
        let reason = format!("{what}: {error}; {}", way_out(error));
        let before = self.0.stall.send_replace(Some(reason.as_str().into()));
        if before.is_none() {
            tracing::error!(reason, "the metadata is written again until this has passed");
        }
    }

    fn end(&self) {
        // Who waits for the end is not woken by every write.
        if self.0.stall.send_if_modified(|stall| stall.take().is_some()) {
            tracing::info!("it has passed: the metadata is written again");
        }
    }

    /// False: the node stops.
    fn pause(&self) -> bool {
        let mut stopped = self.0.stopped.lock();
        if !*stopped {
            self.0.stopping.wait_for(&mut stopped, PAUSE);
        }
        !*stopped
    }

    /// What is waited for, now and from now on.
    pub(crate) fn stall(&self) -> watch::Receiver<Stall> {
        self.0.stall.subscribe()
    }

    /// Nothing is waited for any more.
    pub(crate) fn stop(&self) {
        *self.0.stopped.lock() = true;
        self.0.stopping.notify_all();
    }
}

fn passes<T>(outcome: &io::Result<T>) -> bool {
    outcome.as_ref().is_err_and(is_passing)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use millrace_disk::Disk;
    use millrace_disk::sim::SimDisk;

    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_write_is_done_again_until_it_succeeds_and_says_what_it_waits_for() {
        let patience = Patience::new(Reserve::none());
        let stall = patience.stall();
        let mut tries = 0;
        let written = patience.write("write the log", || {
            tries += 1;
            if tries > 1 {
                assert!(stall.borrow().as_deref().is_some_and(|why| why.starts_with("write the log: ")));
            }
            if tries < 3 { Err(full()) } else { Ok(tries) }
        });
        assert_eq!(written.unwrap(), 3);
        assert_eq!(*patience.stall().borrow(), None);
    }

    #[test]
    fn the_reserve_is_given_up_before_anybody_waits() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let reserve = Reserve::new(disk, "/reserve".as_ref(), 64 * 1024);
        reserve.restore().unwrap();
        let patience = Patience::new(Arc::clone(&reserve));
        let stall = patience.stall();
        patience.write("write", || if reserve.is_whole() { Err(full()) } else { Ok(()) }).unwrap();
        assert!(!stall.has_changed().unwrap());
    }

    #[test]
    fn other_errors_and_the_end_of_the_node_come_back() {
        let patience = Patience::new(Reserve::none());
        let damage: io::Result<()> = patience.write("write", || Err(io::Error::other("damage")));
        assert_eq!(damage.unwrap_err().to_string(), "damage");
        let waiting = patience.clone();
        let waits = thread::spawn(move || waiting.write::<()>("write", || Err(full())));
        patience.stop();
        assert!(waits.join().unwrap().is_err());
    }
}
