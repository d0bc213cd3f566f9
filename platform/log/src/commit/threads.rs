//! The threads that commit while the engine is open.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::queues::RETRY;
use super::{Engine, Step, WalCommitter};

/// Starts all threads. They end when the engine's queues are stopped.
pub(crate) fn spawn(engine: &Arc<Engine>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    if let Some(committer) = WalCommitter::new(engine) {
        let engine = Arc::clone(engine);
        threads.push(start("log-wal", move || run_wal(&engine, committer)));
    }
    for _ in 0..engine.options.direct_threads.max(1) {
        let engine = Arc::clone(engine);
        threads.push(start("log-direct", move || {
            while let Some(work) = engine.queues.wait_direct() {
                engine.run_direct(&work);
            }
        }));
    }
    let engine = Arc::clone(engine);
    threads.push(start("log-checkpoint", move || run_checkpoints(&engine)));
    threads
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).expect("a process that cannot start a thread cannot run a broker")
}

fn run_wal(engine: &Engine, mut committer: WalCommitter) {
    loop {
        if committer.is_idle() && !engine.queues.wait_wal() {
            return;
        }
        match committer.step() {
            Ok(Step::Done | Step::Idle) => {}
            Ok(Step::NeedsCheckpoint) => {
                if !engine.queues.await_checkpoint() {
                    return;
                }
            }
            Err(fault) => return engine.report(&fault),
        }
        if engine.queues.is_stopped() {
            return;
        }
    }
}

fn run_checkpoints(engine: &Engine) {
    while engine.queues.wait_checkpoint() {
        engine.queues.take_checkpoint();
        match engine.run_checkpoint(false) {
            Ok(()) => {
                engine.disk_has_room();
                engine.queues.checkpoint_done();
            }
            Err(fault) => {
                engine.report(&fault);
                if !fault.is_disk_full() {
                    return;
                }
                if engine.wal.lock().as_ref().is_some_and(|writer| !writer.has_free_file()) {
                    engine.set_wal_stuck();
                }
                engine.queues.pause(RETRY);
                engine.queues.request_checkpoint();
            }
        }
    }
}
