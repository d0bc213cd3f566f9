//! One instance for one input partition: started when there is work for it, replaced after it failed.
//!
//! While a call runs, the store is the call's; it comes back when the call ends well. So a call that fails,
//! and one whose future is dropped halfway, leave nothing behind that a later one could see.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;
use wasmtime::component::{ComponentType, Func, Lower};
use wasmtime::{Store, UpdateDeadline};

use super::meter::{Meter, Metered};
use super::outcome::{Call, Failure, Stop, Usage, failure};
use super::state::State;
use crate::Deployment;
use crate::imports::mix;
use crate::library::Loaded;
use crate::packing::Collector;

/// What the guest's `start` is told.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Context<'a> {
    deployment: &'a str,
    version: u32,
    topic: &'a str,
    partition: u32,
    outputs: &'a [String],
    config: &'a [(String, String)],
    #[component(name = "block-bytes-max")]
    block_bytes_max: u32,
}

/// What one call is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// What the guest's clock shows.
    pub now_ms: i64,
    /// Offset of the batch: what its random numbers begin with.
    pub base_offset: i64,
    pub input_bytes: usize,
}

/// An instance that runs.
pub(crate) struct Live {
    pub store: Store<State>,
    /// The kind's function.
    pub export: Func,
    meter: Arc<Meter>,
    /// Keeps the code in memory.
    _loaded: Arc<Loaded>,
}

pub(crate) struct Instance {
    deployment: Arc<Deployment>,
    partition: u32,
    live: Option<Live>,
    /// What the random numbers of a batch begin with, but for its offset.
    seed: u64,
}

impl Instance {
    pub fn new(deployment: Arc<Deployment>, partition: u32) -> Self {
        let seed = mix(deployment.seed() as u64 ^ mix(u64::from(partition)));
        Self { deployment, partition, live: None, seed }
    }

    pub const fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether it holds an instance, which is to say memory.
    pub const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Gives back the instance; the next call starts another.
    pub fn release(&mut self) {
        self.live = None;
    }

    /// Runs `call` in the instance, which is started first if there is none. What the call put out is handed
    /// to `conclude` with what it returned.
    pub async fn run<R, T>(
        &mut self,
        work: Work,
        call: impl for<'a> FnOnce(&'a mut Live) -> CallFuture<'a, R>,
        conclude: impl FnOnce(R, Collector) -> Result<T, Failure>,
    ) -> Call<T> {
        let began = Instant::now();
        let mut usage = Usage { input_bytes: work.input_bytes, ..Usage::default() };
        let mut live = match self.live.take() {
            Some(live) => live,
            None => {
                usage.cold_start = true;
                match Self::start(&self.deployment, self.partition, self.seed, &mut usage).await {
                    Ok(live) => {
                        usage.starting = began.elapsed();
                        live
                    }
                    Err(failure) => {
                        usage.elapsed = began.elapsed();
                        usage.starting = usage.elapsed;
                        return Call { result: Err(failure), usage };
                    }
                }
            }
        };
        let seed = mix(self.seed ^ work.base_offset as u64);
        live.store.data().scope.set(work.now_ms, seed);
        let result = bounded(&self.deployment, &mut live, &mut usage, call).await;
        usage.elapsed = began.elapsed();
        let output = std::mem::take(&mut live.store.data_mut().output);
        usage.output_bytes = output.bytes();
        usage.output_records = output.records();
        let result = match result {
            Ok(returned) => {
                // The guest is as it should be, whatever its answer is worth.
                self.live = Some(live);
                conclude(returned, output)
            }
            Err(failure) => Err(failure),
        };
        Call { result, usage }
    }

    /// Starts an instance and tells it where it is. Apart from `self`, which no two threads may share.
    async fn start(
        deployment: &Arc<Deployment>,
        partition: u32,
        seed: u64,
        usage: &mut Usage,
    ) -> Result<Live, Failure> {
        let host = deployment.host();
        let loaded = host.library().get(deployment.module()).await.map_err(Failure::Load)?;
        let linked = deployment.link(&loaded).map_err(Failure::Load)?.clone();

        let mut store = Store::new(&host.engine().engine, State::new(deployment, partition));
        store.limiter(|state| &mut state.memory);
        let busy_limit = deployment.limits().busy;
        store.epoch_deadline_callback(move |store| {
            if store.data().meter.call_busy_now() > busy_limit {
                return Err(Stop::Timeout.into());
            }
            // Whoever else waits for this thread gets a turn.
            Ok(UpdateDeadline::Yield(1))
        });
        // Before the first batch there is no record whose time it could be.
        store.data().scope.set(0, seed);
        let meter = Arc::clone(&store.data().meter);

        let deadline = deployment.limits().elapsed;
        let instantiated = async {
            store.set_epoch_deadline(1);
            meter.begin_call();
            Metered::new(Arc::clone(&meter), &host.engine().ticker, linked.instantiate_async(&mut store))
                .await
        };
        let instantiated = timeout(deadline, instantiated).await;
        let instance = match instantiated {
            Err(_) => return Err(Failure::Elapsed { limit: deadline }),
            Ok(Ok(instance)) => instance,
            Ok(Err(error)) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                return Err(Failure::Busy(error.to_string()));
            }
            Ok(Err(error)) => {
                return Err(failure(&error, deployment.limits(), store.data().memory.refused));
            }
        };
        usage.busy += meter.call_busy();
        host.count_start();

        let missing = |name| Failure::Malformed(format!("the module has no export `{name}`"));
        let export = deployment.kind().export();
        let start = instance.get_func(&mut store, "start").ok_or_else(|| missing("start"))?;
        let export = instance.get_func(&mut store, export).ok_or_else(|| missing(export))?;
        let mut live = Live { store, export, meter, _loaded: loaded };
        let own = Arc::clone(deployment);
        let told = bounded(deployment, &mut live, usage, |live| {
            Box::pin(async move {
                let context = own.context(partition);
                let start = start.typed::<(Context<'_>,), (Result<(), String>,)>(&live.store)?;
                Ok(start.call_async(&mut live.store, (context,)).await?.0)
            })
        });
        told.await?.map_err(Failure::StartRefused)?;
        live.store.data_mut().output = Collector::default();
        Ok(live)
    }
}

/// A call that runs in a [`Live`].
pub(crate) type CallFuture<'a, R> = std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// Runs `call` within the deployment's limits.
async fn bounded<R>(
    deployment: &Deployment,
    live: &mut Live,
    usage: &mut Usage,
    call: impl for<'a> FnOnce(&'a mut Live) -> CallFuture<'a, R>,
) -> Result<R, Failure> {
    let limits = deployment.limits();
    live.store.set_epoch_deadline(1);
    live.store.data_mut().memory.refused = false;
    let meter = Arc::clone(&live.meter);
    meter.begin_call();
    let ticker = &deployment.host().engine().ticker;
    let returned = timeout(limits.elapsed, Metered::new(Arc::clone(&meter), ticker, call(live))).await;
    usage.busy += meter.call_busy();
    let memory = &live.store.data().memory;
    usage.memory_peak = memory.peak();
    match returned {
        Err(_) => Err(Failure::Elapsed { limit: limits.elapsed }),
        Ok(Ok(returned)) => Ok(returned),
        Ok(Err(error)) => Err(failure(&error, limits, memory.refused)),
    }
}

impl Deployment {
    fn context(&self, partition: u32) -> Context<'_> {
        let spec = self.spec();
        Context {
            deployment: &spec.name,
            version: spec.version,
            topic: &spec.topic,
            partition,
            outputs: &spec.outputs,
            config: &spec.config,
            block_bytes_max: u32::try_from(spec.limits.block_bytes).unwrap_or(u32::MAX),
        }
    }
}
