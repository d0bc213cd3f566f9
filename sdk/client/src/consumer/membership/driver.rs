//! The task that drives a member's core: sends what it says, has the application do what it asks for, and looks after
//! the time. It decides nothing but which protocol there is, and that a consumer nobody polls has to leave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_base::{Random, TopicId};
use millrace_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::wire::Link;
use super::{Committer, Control, Event, MemberState, place};
use crate::cluster::{Coordinated, Image, metadata_request};
use crate::consumer::shared::Shared;
use crate::error::{GroupError, RequestError};
use crate::group::member::{Command, Incoming, Member, Outgoing};
use crate::group::{
    ClassicMember, ConsumerMember, GroupMetadata, GroupProtocol, Subscription, TopicPartition,
};

/// Pause before another attempt to reach the coordinator or to read metadata.
const PAUSE: Duration = Duration::from_millis(200);

/// What came of a request, and the link to send the next one on.
type Exchanged = (Option<Link>, Result<Incoming, RequestError>);

/// What was looked up.
enum Found {
    Protocol(Result<Link, RequestError>),
    Names(Vec<(TopicId, Arc<str>)>),
    Counts(BTreeMap<Arc<str>, i32>),
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    state: Arc<MemberState>,
    committer: Committer,
    control: mpsc::UnboundedReceiver<Control>,
    events: mpsc::UnboundedSender<Event>,
    of: Coordinated,
    /// None until it is known which protocol the coordinator serves.
    core: Option<Box<dyn Member>>,
    subscription: Option<Subscription>,
    link: Option<Link>,
    sending: Option<BoxFuture<'static, Exchanged>>,
    /// What the application is at.
    step: Option<BoxFuture<'static, ()>>,
    lookup: Option<BoxFuture<'static, Found>>,
    /// Topics whose numbers of partitions this member's assignment rests on.
    counted: Vec<Arc<str>>,
    next_count: Instant,
    next_commit: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        state: Arc<MemberState>,
        committer: Committer,
        control: mpsc::UnboundedReceiver<Control>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let of = Coordinated::Group(state.identity().group);
        let next_commit = shared.settings.auto_commit.map(|interval| Instant::now() + interval);
        Self {
            shared,
            state,
            committer,
            control,
            events,
            of,
            core: None,
            subscription: None,
            link: None,
            sending: None,
            step: None,
            lookup: None,
            counted: Vec::new(),
            next_count: Instant::now(),
            next_commit,
        }
    }

    /// Runs until the consumer is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let wake = self.wake(now);
            let commands = tokio::select! {
                control = self.control.recv() => match control {
                    Some(control) => self.on_control(control).await,
                    None => return self.leave().await,
                },
                (link, answer) = finished(&mut self.sending) => {
                    self.link = link;
                    self.with_core(|core| core.on_answer(answer, Instant::now()))
                }
                () = finished(&mut self.step) => self.with_core(|core| core.on_done(Instant::now())),
                found = finished(&mut self.lookup) => self.on_found(found),
                () = tokio::time::sleep_until(wake.into()) => self.on_time().await,
            };
            self.execute(commands);
        }
    }

    fn wake(&self, now: Instant) -> Instant {
        let limit = self.shared.settings.max_poll_interval;
        let mut wake = self.state.poll_deadline(limit, now);
        if !self.is_member() {
            wake = wake.max(now + limit);
        }
        let core = self.core.as_ref().and_then(|core| core.deadline());
        let count = (!self.counted.is_empty()).then_some(self.next_count);
        for moment in [core, count, self.next_commit].into_iter().flatten() {
            wake = wake.min(moment);
        }
        wake
    }

    fn with_core(&mut self, work: impl FnOnce(&mut dyn Member) -> Vec<Command>) -> Vec<Command> {
        self.core.as_mut().map_or_else(Vec::new, |core| work(&mut **core))
    }

    async fn on_control(&mut self, control: Control) -> Vec<Command> {
        match control {
            Control::Subscribe(subscription) => {
                self.subscription = Some(subscription);
                self.take_part()
            }
            Control::TakePartAgain => self.take_part(),
            Control::Leave { done } => {
                self.subscription = None;
                self.leave().await;
                let _ = done.send(());
                Vec::new()
            }
        }
    }

    /// Subscribes; finds out first which protocol there is.
    fn take_part(&mut self) -> Vec<Command> {
        let Some(subscription) = self.subscription.clone() else { return Vec::new() };
        if self.core.is_some() {
            return self.with_core(|core| core.subscribe(subscription, Instant::now()));
        }
        match self.shared.settings.group_protocol {
            GroupProtocol::Classic => self.begin(false),
            GroupProtocol::Consumer => self.begin(true),
            GroupProtocol::Auto => {
                self.look_for_protocol();
                Vec::new()
            }
        }
    }

    fn begin(&mut self, consumer_protocol: bool) -> Vec<Command> {
        let settings = self.shared.settings.group_settings(self.state.identity().group);
        let core: Box<dyn Member> = if consumer_protocol {
            let id = Random::system().uuid().simple().to_string();
            Box::new(ConsumerMember::new(settings, Arc::from(id)))
        } else {
            Box::new(ClassicMember::new(settings))
        };
        self.core = Some(core);
        self.take_part()
    }

    fn look_for_protocol(&mut self) {
        let (shared, of) = (Arc::clone(&self.shared), self.of.clone());
        self.lookup = Some(
            async move {
                loop {
                    match Link::open(&shared.cluster, &of).await {
                        Err(error) if error.is_retriable() => {
                            shared.cluster.forget_coordinator(&of);
                            tokio::time::sleep(PAUSE).await;
                        }
                        opened => return Found::Protocol(opened),
                    }
                }
            }
            .boxed(),
        );
    }

    fn on_found(&mut self, found: Found) -> Vec<Command> {
        let now = Instant::now();
        match found {
            Found::Protocol(Ok(link)) => {
                let consumer_protocol = link.serves_consumer_groups();
                self.link = Some(link);
                self.begin(consumer_protocol)
            }
            Found::Protocol(Err(error)) => vec![Command::Fail(error.into())],
            Found::Names(names) => self.with_core(|core| core.on_names(&names, now)),
            Found::Counts(counts) => {
                self.next_count = now + self.shared.cluster.settings.metadata_max_age;
                self.with_core(|core| core.on_counts(&counts, now))
            }
        }
    }

    async fn on_time(&mut self) -> Vec<Command> {
        let now = Instant::now();
        if let (Some(at), Some(interval)) = (self.next_commit, self.shared.settings.auto_commit)
            && at <= now
        {
            self.next_commit = Some(now + interval);
            if !self.state.commit_is_due.swap(true, Ordering::AcqRel) {
                let _ = self.events.send(Event::CommitDue);
            }
        }
        if !self.counted.is_empty() && self.next_count <= now && self.lookup.is_none() {
            let counted = self.counted.clone();
            self.count(counted);
        }
        let limit = self.shared.settings.max_poll_interval;
        if self.state.poll_deadline(limit, now) <= now && self.is_member() {
            tracing::warn!(group = %self.state.identity().group, "nobody polled for {limit:?}: the group is left");
            // Before the application is told, so that its next poll takes part again.
            self.state.given_up.store(true, Ordering::Release);
            self.leave().await;
            return Vec::new();
        }
        self.with_core(|core| core.on_time(now))
    }

    fn is_member(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.identity().is_some())
    }

    fn execute(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Send(request) => self.send(request),
                Command::FindCoordinator => {
                    self.link = None;
                    self.shared.cluster.forget_coordinator(&self.of);
                }
                Command::Revoke(partitions) => self.revoke(partitions),
                Command::Assign(partitions) => self.assign(partitions),
                Command::Lose(partitions) => {
                    self.step = None;
                    let _ = self.events.send(Event::Lost { partitions });
                }
                Command::NameTopics(topics) => self.name(topics),
                Command::CountPartitions(topics) => self.count(topics),
                Command::Fail(error) => self.on_failure(error),
            }
        }
        self.publish_identity();
    }

    /// Brokers may know the newer protocol and not serve it, which only its first answer tells.
    fn on_failure(&mut self, error: GroupError) {
        let unserved = error.code() == Some(ErrorCode::UnsupportedVersion.code());
        if unserved && self.shared.settings.group_protocol == GroupProtocol::Auto {
            let commands = self.begin(false);
            return self.execute(commands);
        }
        self.step = None;
        let _ = self.events.send(Event::Failed(error));
    }

    fn publish_identity(&self) {
        let group = self.state.identity().group;
        let identity = self.core.as_ref().and_then(|core| core.identity());
        *self.state.identity.lock() = match identity {
            Some((member_id, generation)) => GroupMetadata {
                group,
                member_id,
                generation,
                instance_id: self.shared.settings.group_instance_id.clone(),
            },
            None => GroupMetadata::outside(group),
        };
    }

    fn send(&mut self, request: Outgoing) {
        self.sending = Some(self.exchange(request).boxed());
    }

    fn exchange(&self, request: Outgoing) -> impl Future<Output = Exchanged> + Send + use<> {
        let link = self.link.clone().filter(|link| !link.is_closed());
        let (shared, of) = (Arc::clone(&self.shared), self.of.clone());
        async move {
            let link = match link {
                Some(link) => Ok(link),
                None => Link::open(&shared.cluster, &of).await,
            };
            let link = match link {
                Ok(link) => link,
                Err(error) => return (None, Err(error)),
            };
            let timeout = shared.cluster.settings.request_timeout;
            let answer = link.exchange(request, timeout, shared.settings.max_poll_interval).await;
            (Some(link), answer)
        }
    }

    fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        let (done, answered) = oneshot::channel();
        let _ = self.events.send(Event::Revoke { partitions, done });
        let committer = self.committer.clone();
        self.step = Some(
            async move {
                let offsets = answered.await.unwrap_or_default();
                if let Err(error) = committer.commit(offsets).await {
                    tracing::warn!(%error, "commit before partitions are given up: they are read again from there");
                }
            }
            .boxed(),
        );
    }

    fn assign(&mut self, partitions: Vec<TopicPartition>) {
        let places = place::places(Arc::clone(&self.shared), self.state.identity().group, partitions);
        let events = self.events.clone();
        self.step = Some(
            async move {
                let places = places.await;
                let (done, taken) = oneshot::channel();
                let _ = events.send(Event::Assigned { places, done });
                let _ = taken.await;
            }
            .boxed(),
        );
    }

    fn name(&mut self, topics: Vec<TopicId>) {
        let shared = Arc::clone(&self.shared);
        self.lookup = Some(
            async move {
                let image = read_image(&shared, None).await;
                let known = image.topics.values().map(|topic| (topic.id, Arc::clone(&topic.name)));
                Found::Names(known.filter(|(id, _)| topics.contains(id)).collect())
            }
            .boxed(),
        );
    }

    fn count(&mut self, topics: Vec<Arc<str>>) {
        self.counted.clone_from(&topics);
        let shared = Arc::clone(&self.shared);
        self.lookup = Some(
            async move {
                let names: Vec<String> = topics.iter().map(ToString::to_string).collect();
                let image = read_image(&shared, Some(&names)).await;
                let count = |topic: &Arc<crate::cluster::TopicImage>| {
                    (Arc::clone(&topic.name), i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
                };
                Found::Counts(image.topics.values().map(count).collect())
            }
            .boxed(),
        );
    }

    /// Leaves the group, if there is one to leave; what was owned is lost.
    async fn leave(&mut self) {
        (self.sending, self.step, self.lookup) = (None, None, None);
        self.counted.clear();
        let Some(core) = &mut self.core else { return };
        let lost = core.owned();
        let request = core.leave();
        if !lost.is_empty() {
            let _ = self.events.send(Event::Lost { partitions: lost });
        }
        self.publish_identity();
        if let Some(request) = request {
            // The lane may hold a join that is not answered yet.
            self.link = None;
            let (_, answer) = self.exchange(request).await;
            if let Err(error) = answer {
                tracing::debug!(%error, "leave the group");
            }
        }
    }
}

/// Metadata as they are now, asked for until there is an answer.
async fn read_image(shared: &Shared, names: Option<&[String]>) -> Image {
    loop {
        let asked_at = Instant::now();
        let response = shared.cluster.ask_any(|broker| {
            let request = metadata_request(names, false);
            async move { broker.request(request).await }
        });
        match response.await {
            Ok(response) => return Image::from_response(response, asked_at),
            Err(error) => tracing::debug!(%error, "read metadata for a group"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The outcome of what is in `slot`, which is empty then; never, while there is nothing in it.
async fn finished<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let outcome = future.await;
            *slot = None;
            outcome
        }
        None => std::future::pending().await,
    }
}
