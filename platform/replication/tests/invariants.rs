//! Three replicas, a controller and whatever may happen between them: what was committed is never lost or changed.
//!
//! Nothing is timed and nothing is real but the cores: logs are lists of epochs (an epoch and an offset name one record,
//! since one replica leads an epoch), messages are function calls that may fail.

mod support;

use millrace_base::{BrokerId, LeaderEpoch, Offset};
use millrace_replication::{
    Assignment, Command, FetchAnswer, FetchOutcome, History as _, IsrAnswer, IsrProposal, Pointers, Replica,
    ReplicaFetch, RoleKind, Served,
};
use proptest::prelude::*;
use support::{LAG_MAX_MS, Log, TIMING, assignment, identity};

/// Something that happens, to one of the three replicas.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize),
    Sync(usize),
    /// The fetch that is under way reaches its leader, and the answer its follower, unless it is lost.
    Fetch(usize, bool),
    /// The replica learns what the metadata say.
    Learn(usize),
    /// The controller decides on the proposal that is under way; the answer may be lost.
    Decide(usize, bool),
    /// The controller makes it the leader if it is in sync.
    Elect(usize),
    /// What is not durable is gone; the high watermark is as old as it was kept, or forgotten.
    Crash(usize, bool),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = 0..3usize;
    let step = prop_oneof![
        4 => replica.clone().prop_map(Step::Append),
        6 => replica.clone().prop_map(Step::Sync),
        10 => (replica.clone(), any::<bool>()).prop_map(|(at, lost)| Step::Fetch(at, lost)),
        5 => replica.clone().prop_map(Step::Learn),
        3 => (replica.clone(), any::<bool>()).prop_map(|(at, lost)| Step::Decide(at, lost)),
        1 => replica.clone().prop_map(Step::Elect),
        1 => (replica, any::<bool>()).prop_map(|(at, forgets)| Step::Crash(at, forgets)),
        3 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

struct Node {
    id: i32,
    replica: Replica,
    log: Log,
    fetch: Option<(BrokerId, FetchAnswer, LeaderEpoch)>,
    proposal: Option<IsrProposal>,
}

impl Node {
    fn run(&mut self, command: Command, fetched: &[i32], now_ms: i64, out: &mut Vec<Command>) {
        match command {
            Command::BeginEpoch(epoch) => self.log.begin(epoch.0),
            Command::Truncate { to } => {
                self.log.truncate(to);
                self.replica.on_cut(Some(to), &self.log, now_ms, out);
            }
            Command::FetchFrom { leader, leader_epoch, offset, last_fetched_epoch } => {
                let answer = FetchAnswer { leader_epoch, offset, outcome: FetchOutcome::Failed };
                self.fetch = Some((leader, answer, last_fetched_epoch));
            }
            Command::ProposeIsr(proposal) => self.proposal = Some(proposal),
            Command::AppendFetched => {
                fetched.iter().for_each(|epoch| self.log.append(*epoch, 1));
                self.replica.on_append_fetched(self.log.log_end(), &self.log, out);
            }
            Command::Reset { .. } | Command::RaiseLogStart { .. } => panic!("no log starts beyond 0"),
            Command::FollowEpoch(_)
            | Command::PublishHighWatermark(_)
            | Command::Fail { .. }
            | Command::WakeAt(_) => {}
        }
    }
}

struct World {
    metadata: Assignment,
    nodes: Vec<Node>,
    /// The epochs of all records that any leader has called committed.
    committed: Vec<i32>,
    now_ms: i64,
}

impl World {
    fn new() -> Self {
        let node = |id| {
            let log = Log::default();
            let replica = Replica::new(BrokerId(id), TIMING, &log, 0);
            Node { id, replica, log, fetch: None, proposal: None }
        };
        let nodes = (1..=3).map(node).collect();
        Self { metadata: assignment(1, 1, 1, &[1, 2, 3]), nodes, committed: Vec::new(), now_ms: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(at) => self.append(at),
            Step::Sync(at) => {
                let log = &mut self.nodes[at].log;
                log.durable_end = log.log_end();
                let end = log.durable_end;
                self.event(at, &[], |node, _, out| node.replica.on_durable(end, &node.log, out));
            }
            Step::Fetch(at, lost) => self.fetch(at, lost),
            Step::Learn(at) => {
                let metadata = self.metadata.clone();
                self.event(at, &[], |node, now_ms, out| {
                    node.replica.on_assignment(metadata, &node.log, now_ms, out);
                });
            }
            Step::Decide(at, lost) => self.decide(at, lost),
            Step::Elect(at) => {
                let id = BrokerId(at as i32 + 1);
                if self.metadata.isr.contains(&id) {
                    self.elect(id);
                }
            }
            Step::Crash(at, forgets) => self.crash(at, forgets),
            Step::Wait => {
                self.now_ms += LAG_MAX_MS / 3;
                for at in 0..3 {
                    self.event(at, &[], |node, now_ms, out| node.replica.on_time(&node.log, now_ms, out));
                }
            }
        }
    }

    fn elect(&mut self, leader: BrokerId) {
        self.metadata.leader = Some(leader);
        self.metadata.leader_epoch.0 += 1;
        self.metadata.partition_epoch += 1;
    }

    /// Hands in an event, runs the commands, checks what has to hold.
    fn event(&mut self, at: usize, fetched: &[i32], event: impl FnOnce(&mut Node, i64, &mut Vec<Command>)) {
        let before = (self.nodes[at].replica.assignment().leader_epoch, self.nodes[at].replica.pointers());
        let mut out = Vec::new();
        event(&mut self.nodes[at], self.now_ms, &mut out);
        let mut position = 0;
        while let Some(command) = out.get(position).cloned() {
            self.nodes[at].run(command, fetched, self.now_ms, &mut out);
            position += 1;
        }
        self.check(at, before);
    }

    fn check(&mut self, at: usize, (epoch, before): (LeaderEpoch, Pointers)) {
        let node = &self.nodes[at];
        node.replica.validate().expect("the replica's own invariants hold");
        let high_watermark = node.replica.pointers().high_watermark;
        if node.replica.role() == RoleKind::Leader && node.replica.assignment().leader_epoch == epoch {
            assert!(high_watermark >= before.high_watermark, "the high watermark of an epoch fell");
        }
        assert!(high_watermark >= before.high_watermark, "no election was unclean");
        assert!(high_watermark <= node.log.durable_end);
        let here = &node.log.records[..high_watermark as usize];
        let common = here.len().min(self.committed.len());
        assert_eq!(
            here[..common],
            self.committed[..common],
            "broker {} has other committed records",
            node.id
        );
        if here.len() > common {
            self.committed = here.to_vec();
            let isr = &self.metadata.isr;
            let holds = |node: &&Node| node.log.records[..node.log.durable_end as usize].starts_with(here);
            for member in self.nodes.iter().filter(|node| isr.contains(&BrokerId(node.id))) {
                assert!(holds(&member), "broker {} is in sync without what is committed", member.id);
            }
        }
    }

    fn append(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let standing = node.replica.standing();
        if standing.check_leader(LeaderEpoch::UNKNOWN).and(standing.check_in_sync()).is_ok() {
            let epoch = standing.leader_epoch();
            node.log.append(epoch.0, 1);
            let end = node.log.log_end();
            node.replica.on_append(epoch, end, true).expect("it leads");
        }
    }

    fn fetch(&mut self, at: usize, lost: bool) {
        let Some((leader, mut answer, last_fetched_epoch)) = self.nodes[at].fetch.take() else { return };
        let leader = leader.0 as usize - 1;
        let fetch = ReplicaFetch {
            replica: BrokerId(at as i32 + 1),
            identity: identity(at as i32 + 1),
            leader_epoch: answer.leader_epoch,
            offset: answer.offset,
            last_fetched_epoch,
        };
        let mut served = Ok(Served::Records);
        self.event(leader, &[], |node, now_ms, out| {
            served = node.replica.on_replica_fetch(&fetch, &node.log, now_ms, out);
        });
        let mut records = Vec::new();
        let from = &self.nodes[leader];
        answer.outcome = match served {
            _ if lost => FetchOutcome::Failed,
            Ok(Served::Records) => {
                records.extend(from.log.records[answer.offset as usize..].iter().take(3));
                FetchOutcome::Records {
                    end: answer.offset + records.len() as Offset,
                    high_watermark: from.replica.pointers().high_watermark,
                    log_start: 0,
                }
            }
            Ok(Served::Diverging(divergence)) => FetchOutcome::Diverging(divergence),
            Err(_) => FetchOutcome::Failed,
        };
        self.event(at, &records, |node, now_ms, out| {
            node.replica.on_fetch_answer(&answer, &node.log, now_ms, out);
        });
    }

    fn decide(&mut self, at: usize, lost: bool) {
        let Some(proposal) = self.nodes[at].proposal.take() else { return };
        let known = (self.metadata.leader_epoch, self.metadata.partition_epoch);
        let mut answer = IsrAnswer::Outdated;
        if (proposal.leader_epoch, proposal.partition_epoch) == known {
            self.metadata.isr = proposal.isr.iter().map(|(id, _)| *id).collect();
            self.metadata.partition_epoch += 1;
            let partition_epoch = self.metadata.partition_epoch;
            answer = IsrAnswer::Committed { isr: self.metadata.isr.clone(), partition_epoch };
        }
        let answer = if lost { IsrAnswer::Unknown } else { answer };
        self.event(at, &[], |node, now_ms, out| {
            node.replica.on_isr_answer(&proposal, answer, now_ms, out);
        });
    }

    fn crash(&mut self, at: usize, forgets: bool) {
        let node = &mut self.nodes[at];
        let kept = if forgets { 0 } else { node.replica.pointers().high_watermark };
        node.log.truncate(node.log.durable_end);
        node.replica = Replica::new(BrokerId(node.id), TIMING, &node.log, kept);
        (node.fetch, node.proposal) = (None, None);
        if self.metadata.leader == Some(BrokerId(node.id)) {
            // As a broker asks for when it starts after a crash: no offset stands for two records of one epoch.
            self.elect(BrokerId(self.nodes[at].id));
        }
    }

    /// With nothing in the way any more everything that the leader has is committed.
    fn heal(&mut self) {
        for _ in 0..60 {
            for at in 0..3 {
                let steps =
                    [Step::Learn(at), Step::Sync(at), Step::Fetch(at, false), Step::Decide(at, false)];
                steps.into_iter().for_each(|step| self.take(step));
            }
            self.now_ms += TIMING.retry_ms;
            for at in 0..3 {
                self.event(at, &[], |node, now_ms, out| node.replica.on_time(&node.log, now_ms, out));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_stays_and_progress_returns(steps in steps(), few in any::<bool>()) {
        let mut world = World::new();
        world.metadata.min_insync_replicas = if few { 1 } else { 2 };
        (0..3).for_each(|at| world.take(Step::Learn(at)));
        for step in steps {
            world.take(step);
        }
        world.heal();
        let leader = world.metadata.leader.expect("there is always one").0 as usize - 1;
        let end = world.nodes[leader].log.log_end();
        for node in &world.nodes {
            prop_assert_eq!(&node.log.records, &world.nodes[leader].log.records, "broker {}", node.id);
            prop_assert_eq!(node.replica.pointers(), Pointers { high_watermark: end, durable_end: end, log_end: end });
        }
        prop_assert_eq!(world.metadata.isr.len(), 3);
    }
}
