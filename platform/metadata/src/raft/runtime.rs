//! openraft's runtime: tokio's, with random numbers of the node's own.
//!
//! openraft draws them where it has no node at hand, so they belong to the task: what runs [`within`] a [`Random`] and
//! all that it spawns draw from that. Outside of any they are the system's.

use std::future::Future;
use std::time::Duration;

use millrace_base::Random;
use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand_core::{Error, RngCore, impls};
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static RANDOM: Random;
}

/// Has `future`, and what it spawns, draw from `random`.
pub(super) fn within<F: Future>(random: Random, future: F) -> TaskLocalFuture<Random, F> {
    RANDOM.scope(random, future)
}

fn current() -> Random {
    RANDOM.try_with(Random::clone).unwrap_or_default()
}

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeRuntime;

/// Draws for openraft.
pub(crate) struct NodeRandom(Random);

impl RngCore for NodeRandom {
    fn next_u32(&mut self) -> u32 {
        (self.0.bits() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.bits()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        impls::fill_bytes_via_next(self, dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl AsyncRuntime for NodeRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = NodeRandom;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(within(current(), future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        NodeRandom(current())
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}

#[cfg(test)]
mod tests {
    use openraft::Config;

    use super::*;

    async fn timeouts() -> Vec<u64> {
        let config =
            Config { election_timeout_min: 1000, election_timeout_max: 100_000, ..Config::default() };
        let mut drawn = vec![config.new_rand_election_timeout::<NodeRuntime>()];
        let spawned = NodeRuntime::spawn(async move { config.new_rand_election_timeout::<NodeRuntime>() });
        drawn.push(spawned.await.unwrap());
        drawn
    }

    #[tokio::test]
    async fn election_timeouts_follow_from_the_seed_of_the_node_also_in_its_tasks() {
        let drawn = within(Random::seeded(1), timeouts()).await;
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(within(Random::seeded(1), timeouts()).await, drawn);
        assert_ne!(within(Random::seeded(2), timeouts()).await, drawn);
        // Without a node they are the system's.
        assert_ne!(timeouts().await, timeouts().await);
    }
}
