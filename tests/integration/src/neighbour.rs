//! A client that keeps the rules while another one breaks them: it must be served as if it were alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use millrace_protocol::compression::Codec;

use crate::raw::{Connection, batch};

/// Longest time that one of the neighbour's requests may take, on a busy test machine in the dev profile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Produces to a topic of its own, over and over, until it is asked how it went.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Duration)>,
}

impl Neighbour {
    pub fn move_in(address: SocketAddr) -> Self {
        Connection::open(address).expect("the neighbour connects").create_topic("neighbour", &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut served, mut slowest) = (0, Duration::ZERO);
            let value = [b'x'; 100];
            let records = batch(&value, Codec::None);
            while !told.load(Ordering::Relaxed) || served == 0 {
                // A new connection each time: being accepted is part of being served.
                let started = Instant::now();
                let mut connection = Connection::open(address).expect("the neighbour connects");
                let (error, offset) = connection.produce("neighbour", &records);
                assert_eq!((error, offset), (0, served as i64), "the neighbour's record");
                served += 1;
                slowest = slowest.max(started.elapsed());
            }
            (served, slowest)
        });
        Self { stop, thread }
    }

    /// Ends the neighbour's work; fails the test unless it was served all the time.
    pub fn expect_well_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (served, slowest) = self.thread.join().expect("the neighbour was served");
        println!("the neighbour was served {served} times, at worst in {slowest:?}");
        assert!(slowest < PATIENCE, "the neighbour had to wait {slowest:?}");
    }
}
