//! The threads that commit while the engine is open.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::queues::RETRY;
use super::{Engine, Step, WalCommitter};

/// Starts all threads. They end when the engine's queues are stopped.
pub(crate) fn spawn(engine: &Arc<Engine>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    let committer = WalCommitter::new(engine);
    threads.push(start("log-wal", engine, move |engine| run_wal(engine, committer)));
    for _ in 0..engine.options.direct_threads.max(1) {
        threads.push(start("log-direct", engine, |engine| {
            while let Some(work) = engine.queues.wait_direct() {
                engine.run_direct(&work);
            }
        }));
    }
    threads.push(start("log-checkpoint", engine, run_checkpoints));
    for _ in 0..engine.options.compaction.threads.max(1) {
        threads.push(start("log-compact", engine, |engine| {
            while !engine.queues.is_stopped() {
                if !engine.compact_next() {
                    engine.queues.pause(engine.options.compaction.backoff);
                }
            }
        }));
    }
    threads
}

fn start(
    name: &'static str,
    engine: &Arc<Engine>,
    run: impl FnOnce(&Engine) + Send + 'static,
) -> JoinHandle<()> {
    let engine = Arc::clone(engine);
    let guarded = move || {
        let _guard = FailOnPanic { name, engine: &engine };
        run(&engine);
    };
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(guarded).expect("a process that cannot start a thread cannot run a broker")
}

/// A thread that panics ends the log as a failed disk does: whoever waits for its work is told, not left
/// waiting.
struct FailOnPanic<'a> {
    name: &'static str,
    engine: &'a Engine,
}

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.engine.fail(format!(
                "its thread {} has panicked, which is a bug; the panic stands in the broker's output. Nothing \
                 more is acknowledged; restart the broker",
                self.name
            ));
        }
    }
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
            Err(fault) => {
                engine.report(&fault);
                if !fault.is_passing() {
                    return;
                }
                engine.refuse_appends();
                engine.queues.pause(RETRY);
            }
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
                let over = engine.end_stall();
                engine.queues.checkpoint_done();
                if !over {
                    engine.queues.pause(RETRY);
                    engine.queues.request_checkpoint();
                }
            }
            Err(fault) => {
                engine.report(&fault);
                if !fault.is_passing() {
                    return;
                }
                if engine.wal.lock().as_ref().is_none_or(|writer| !writer.has_free_file()) {
                    engine.refuse_appends();
                }
                engine.queues.pause(RETRY);
                engine.queues.request_checkpoint();
            }
        }
    }
}
