//! The cluster as the client sees it: its brokers, its topics, and requests to them.

mod broker;
mod coordinator;
mod image;
mod versions;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use broker::BrokerInfo;
pub(crate) use broker::{Broker, pieces};
pub(crate) use coordinator::Coordinated;
pub(crate) use image::{Image, PartitionImage, TopicImage, metadata_request};
pub(crate) use versions::Versions;

use crate::error::{ConnectError, RequestError};
use crate::net::Dialer;
use crate::settings::ClientBuilder;

/// Pause between attempts while a topic is being created or elects a leader.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// How long a topic that is unknown or without leader is waited for.
const SETTLE_TIME: Duration = Duration::from_secs(5);

pub(crate) struct Cluster {
    pub(crate) settings: ClientBuilder,
    dialer: Arc<Dialer>,
    image: RwLock<Arc<Image>>,
    brokers: Mutex<HashMap<i32, Arc<Broker>>>,
    /// The one that answered first; serves metadata until the brokers are known.
    bootstrap: Arc<Broker>,
    coordinators: Mutex<HashMap<Coordinated, i32>>,
    /// Topics that are asked for in every refresh.
    followed: Mutex<BTreeSet<String>>,
    /// Held while metadata is fetched, so that many callers share one answer.
    refreshing: tokio::sync::Mutex<()>,
}

impl Cluster {
    pub(crate) async fn connect(settings: ClientBuilder) -> Result<Arc<Self>, ConnectError> {
        let dialer = Arc::new(Dialer::new(&settings)?);
        let mut last = ConnectError::NoBootstrap;
        for address in settings.bootstrap.iter().filter(|address| !address.is_empty()) {
            let (host, port) = split_address(address)?;
            let broker = Arc::new(Broker::new(-1, host, port, &settings, Arc::clone(&dialer)));
            match broker.control().await {
                Ok(_) => {
                    let cluster = Arc::new(Self {
                        dialer,
                        image: RwLock::default(),
                        brokers: Mutex::default(),
                        coordinators: Mutex::default(),
                        bootstrap: broker,
                        followed: Mutex::default(),
                        refreshing: tokio::sync::Mutex::default(),
                        settings: settings.clone(),
                    });
                    cluster.refresh_once(&[], false).await.map_err(|error| handshake(address, error))?;
                    return Ok(cluster);
                }
                Err(error) => last = handshake(address, error),
            }
        }
        match last {
            last @ (ConnectError::NoBootstrap | ConnectError::Tls { .. }) => Err(last),
            last if settings.bootstrap.len() > 1 => Err(ConnectError::NoneAnswered { last: Box::new(last) }),
            last => Err(last),
        }
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.read())
    }

    /// The topic as last seen; fetched if it never was. Waits a moment for one that is just being created.
    pub(crate) async fn topic(&self, name: &str, auto_create: bool) -> Result<Arc<TopicImage>, RequestError> {
        if let Some(topic) = self.image().topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        self.followed.lock().insert(name.to_owned());
        let started = Instant::now();
        loop {
            self.refresh(Some(name), Instant::now(), auto_create).await?;
            let image = self.image();
            match image.topics.get(name) {
                Some(topic) if topic.has_leaders() || started.elapsed() > SETTLE_TIME => {
                    return Ok(Arc::clone(topic));
                }
                Some(_) => {}
                None if auto_create && started.elapsed() < SETTLE_TIME => {}
                None => {
                    self.followed.lock().remove(name);
                    return Err(image
                        .refusals
                        .get(name)
                        .cloned()
                        .unwrap_or_else(|| RequestError::UnknownTopic { topic: name.to_owned() }));
                }
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Fetches metadata of all followed topics, and of `name`, unless that happened after `seen`: the moment
    /// at which the caller found the present picture wrong.
    pub(crate) async fn refresh(
        &self,
        name: Option<&str>,
        seen: Instant,
        auto_create: bool,
    ) -> Result<(), RequestError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let image = self.image();
        let known =
            name.is_none_or(|name| image.topics.contains_key(name) || image.refusals.contains_key(name));
        if known && image.asked_at.is_some_and(|at| at > seen) {
            return Ok(());
        }
        let mut names: BTreeSet<String> = self.followed.lock().clone();
        names.extend(name.map(str::to_owned));
        let names: Vec<_> = names.into_iter().collect();
        self.refresh_once(&names, auto_create).await
    }

    async fn refresh_once(&self, names: &[String], auto_create: bool) -> Result<(), RequestError> {
        let asked_at = Instant::now();
        let request = metadata_request(Some(names), auto_create);
        let response = self.ask_any(|broker| {
            let request = request.clone();
            async move { broker.request(request).await }
        });
        let image = Arc::new(Image::from_response(response.await?, asked_at));
        self.adopt_brokers(&image);
        *self.image.write() = image;
        Ok(())
    }

    /// Forgets connections to brokers that moved or went.
    fn adopt_brokers(&self, image: &Image) {
        let mut brokers = self.brokers.lock();
        brokers.retain(|id, broker| image.brokers.iter().any(|known| known.id == *id && broker.is_at(known)));
        for known in &image.brokers {
            brokers.entry(known.id).or_insert_with(|| {
                let dialer = Arc::clone(&self.dialer);
                let bootstrap_is_it = self.bootstrap.is_at(known);
                if bootstrap_is_it {
                    return Arc::clone(&self.bootstrap);
                }
                Arc::new(Broker::new(known.id, known.host.clone(), known.port, &self.settings, dialer))
            });
        }
    }

    /// The brokers that may be asked what any of them answers. Those that are connected come first: an answer
    /// from them comes at once.
    pub(crate) fn candidates(&self) -> Vec<Arc<Broker>> {
        let mut candidates: Vec<Arc<Broker>> = self.brokers.lock().values().cloned().collect();
        candidates.sort_by_key(|broker| !broker.is_connected());
        candidates.push(Arc::clone(&self.bootstrap));
        candidates
    }

    /// Asks brokers one after the other until one answers.
    pub(crate) async fn ask_any<T, F>(&self, ask: impl Fn(Arc<Broker>) -> F) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        let mut last = RequestError::Closed;
        for broker in self.candidates() {
            match ask(broker).await {
                Err(error) if error.is_retriable() && error.code().is_none() => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    pub(crate) fn broker(&self, id: i32) -> Option<Arc<Broker>> {
        self.brokers.lock().get(&id).cloned()
    }

    /// The broker that changes metadata; any broker where the cluster does not say.
    pub(crate) fn controller(&self) -> Arc<Broker> {
        let controller = self.image().controller.and_then(|id| self.broker(id));
        controller.or_else(|| self.any()).unwrap_or_else(|| Arc::clone(&self.bootstrap))
    }

    fn any(&self) -> Option<Arc<Broker>> {
        self.brokers.lock().values().next().cloned()
    }

    /// The leader of a partition; asks again when it is not known.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Result<Arc<Broker>, RequestError> {
        let seen = Instant::now();
        if let Some(broker) = self.known_leader(&*self.topic(topic, false).await?, partition)? {
            return Ok(broker);
        }
        self.refresh(Some(topic), seen, false).await?;
        self.known_leader(&*self.topic(topic, false).await?, partition)?
            .ok_or_else(|| RequestError::NoLeader { topic: topic.to_owned(), partition })
    }

    pub(crate) fn known_leader(
        &self,
        topic: &TopicImage,
        partition: i32,
    ) -> Result<Option<Arc<Broker>>, RequestError> {
        let found = usize::try_from(partition).ok().and_then(|index| topic.partitions.get(index));
        let found = found.ok_or_else(|| RequestError::NoSuchPartition {
            topic: topic.name.to_string(),
            partition,
            count: topic.partitions.len(),
        })?;
        Ok(found.leader.and_then(|id| self.broker(id)))
    }

    /// Drops what is known of a topic, after it was created, changed or deleted through this client.
    pub(crate) fn forget(&self, topic: &str) {
        self.followed.lock().remove(topic);
        let mut image = self.image.write();
        let mut changed = Image::clone(&image);
        changed.topics.remove(topic);
        changed.refusals.remove(topic);
        *image = Arc::new(changed);
    }

    pub(crate) async fn close(&self) {
        let brokers: Vec<_> = self.brokers.lock().drain().map(|(_, broker)| broker).collect();
        for broker in brokers {
            broker.close().await;
        }
        self.bootstrap.close().await;
        self.dialer.close().await;
    }
}

fn handshake(address: &str, error: RequestError) -> ConnectError {
    match error {
        RequestError::Connect(error) => error,
        other => ConnectError::Handshake { address: address.to_owned(), reason: other.to_string() },
    }
}

fn split_address(address: &str) -> Result<(String, u16), ConnectError> {
    let bad = || ConnectError::BadAddress { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(bad());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(split_address("localhost:9092").unwrap(), ("localhost".to_owned(), 9092));
        assert_eq!(split_address("[::1]:9092").unwrap(), ("::1".to_owned(), 9092));
        for bad in ["localhost", ":9092", "localhost:", "localhost:90920", "localhost:kafka"] {
            assert!(split_address(bad).is_err(), "{bad}");
        }
    }
}
