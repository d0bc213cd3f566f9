//! Fetch sessions (KIP-227): a client names its partitions once, then only what changes.
//!
//! The cache is bounded twice, in sessions and in partitions over all of them. A client that gets no
//! session is answered in full each time, which costs bandwidth and nothing else. A full cache gives a
//! slot away when the session that was used longest ago has been idle for [`EVICTION_IDLE_MS`].

mod session;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use millrace_base::Random;
use millrace_protocol::ErrorCode;
use parking_lot::Mutex;
use prometheus::IntGauge;

pub(crate) use session::{FetchTarget, PartitionKey, Session, SessionMismatch, Told, TopicKey};

/// The session id of a request outside a session.
pub(crate) const NO_SESSION: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that closes a session, or asks for none.
const FINAL_EPOCH: i32 = -1;
/// Idle time after which a session may lose its slot (Kafka's
/// `min.incremental.fetch.session.eviction.ms`).
const EVICTION_IDLE_MS: i64 = 120_000;
/// Partitions over all sessions: about 200 bytes each.
const PARTITIONS_MAX: usize = 1_000_000;

/// The session part of a fetch request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRequest {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) uses_topic_ids: bool,
}

/// How a fetch is to be answered.
#[derive(Debug)]
pub(crate) enum FetchContext {
    /// In full, outside any session.
    Sessionless,
    /// In full; the answer opens a session if there is room.
    Opening { uses_topic_ids: bool },
    /// With what changed.
    Incremental { id: i32, session: Arc<Mutex<Session>> },
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    last_used_ms: i64,
    partitions: usize,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<i32, Entry>,
    partitions: usize,
}

impl Sessions {
    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.by_id.remove(&id) {
            self.partitions -= entry.partitions;
        }
    }

    /// Whether there is a free slot, or an idle session had to give way for one.
    fn make_room(&mut self, slots: usize, now_ms: i64) -> bool {
        if self.by_id.len() < slots {
            return true;
        }
        let oldest = self.by_id.iter().min_by_key(|(id, entry)| (entry.last_used_ms, **id));
        let idle = oldest.filter(|(_, entry)| now_ms - entry.last_used_ms > EVICTION_IDLE_MS);
        let Some(id) = idle.map(|(id, _)| *id) else { return false };
        self.remove(id);
        true
    }

    fn unused_id(&self, random: &Random) -> i32 {
        loop {
            let id = (random.bits() & 0x7fff_ffff) as i32;
            if id != NO_SESSION && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

/// All sessions of this broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    random: Random,
    sessions: Mutex<Sessions>,
    open: IntGauge,
    open_partitions: IntGauge,
}

impl FetchSessions {
    /// `open` and `open_partitions` show how many there are.
    pub(crate) fn new(slots: usize, random: Random, open: IntGauge, open_partitions: IntGauge) -> Self {
        Self { slots, random, sessions: Mutex::default(), open, open_partitions }
    }

    fn show(&self, sessions: &Sessions) {
        self.open.set(sessions.by_id.len() as i64);
        self.open_partitions.set(sessions.partitions as i64);
    }

    /// Takes in the session part of a request. Gives how to answer and everything to read.
    pub(crate) fn begin(
        &self,
        request: SessionRequest,
        targets: Vec<FetchTarget>,
        forgotten: &[PartitionKey],
        now_ms: i64,
    ) -> Result<(FetchContext, Vec<FetchTarget>), ErrorCode> {
        let targets = once(targets);
        let mut sessions = self.sessions.lock();
        let begun = Self::begin_locked(&mut sessions, request, targets, forgotten, now_ms);
        self.show(&sessions);
        begun
    }

    fn begin_locked(
        sessions: &mut Sessions,
        request: SessionRequest,
        targets: Vec<FetchTarget>,
        forgotten: &[PartitionKey],
        now_ms: i64,
    ) -> Result<(FetchContext, Vec<FetchTarget>), ErrorCode> {
        if matches!(request.epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            sessions.remove(request.id);
            let context = if request.epoch == FINAL_EPOCH {
                FetchContext::Sessionless
            } else {
                FetchContext::Opening { uses_topic_ids: request.uses_topic_ids }
            };
            return Ok((context, targets));
        }
        let Sessions { by_id, partitions } = &mut *sessions;
        let Some(entry) = by_id.get_mut(&request.id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if *partitions + targets.len() > PARTITIONS_MAX {
            sessions.remove(request.id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let session = entry.session.clone();
        let mut state = session.lock();
        state.update(request.epoch, request.uses_topic_ids, targets, forgotten).map_err(|mismatch| {
            match mismatch {
                SessionMismatch::Epoch => ErrorCode::InvalidFetchSessionEpoch,
                SessionMismatch::TopicIds => ErrorCode::FetchSessionTopicIdError,
            }
        })?;
        let targets = state.targets();
        *partitions = *partitions - entry.partitions + targets.len();
        (entry.partitions, entry.last_used_ms) = (targets.len(), now_ms);
        drop(state);
        if targets.is_empty() {
            sessions.remove(request.id);
            return Ok((FetchContext::Sessionless, targets));
        }
        Ok((FetchContext::Incremental { id: request.id, session }, targets))
    }

    /// Opens a session that has been told `told` about its partitions. Gives its id, or [`NO_SESSION`]
    /// when there is no room.
    pub(crate) fn open(
        &self,
        uses_topic_ids: bool,
        targets: Vec<FetchTarget>,
        told: impl IntoIterator<Item = (PartitionKey, Told)>,
        now_ms: i64,
    ) -> i32 {
        if targets.is_empty() {
            return NO_SESSION;
        }
        let mut sessions = self.sessions.lock();
        if sessions.partitions + targets.len() > PARTITIONS_MAX || !sessions.make_room(self.slots, now_ms) {
            return NO_SESSION;
        }
        let mut session = Session::new(uses_topic_ids, targets);
        for (key, told) in told {
            session.tell(&key, told);
        }
        let (id, partitions) = (sessions.unused_id(&self.random), session.len());
        let session = Arc::new(Mutex::new(session));
        sessions.by_id.insert(id, Entry { session, last_used_ms: now_ms, partitions });
        sessions.partitions += partitions;
        self.show(&sessions);
        id
    }
}

/// Each partition once, in the place where it was named first and as it was named last, as in Kafka and in a session.
fn once(targets: Vec<FetchTarget>) -> Vec<FetchTarget> {
    let mut seen = HashSet::with_capacity(targets.len());
    let repeated = targets.iter().any(|target| !seen.insert(&target.key));
    drop(seen);
    if !repeated {
        return targets;
    }
    let mut places = HashMap::new();
    let mut unique: Vec<FetchTarget> = Vec::new();
    for target in targets {
        let place = *places.entry(target.key.clone()).or_insert(unique.len());
        match unique.get_mut(place) {
            Some(named_before) => *named_before = target,
            None => unique.push(target),
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use millrace_base::LeaderEpoch;
    use millrace_protocol::StrBytes;

    use super::*;

    fn target(partition: i32) -> FetchTarget {
        FetchTarget {
            key: (TopicKey::Name(StrBytes::from_static_str("t")), partition),
            fetch_offset: 0,
            max_bytes: 1,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
        }
    }

    fn request(id: i32, epoch: i32) -> SessionRequest {
        SessionRequest { id, epoch, uses_topic_ids: false }
    }

    fn sessions(slots: usize) -> FetchSessions {
        FetchSessions::new(
            slots,
            Random::system(),
            IntGauge::new("s", "s").unwrap(),
            IntGauge::new("p", "p").unwrap(),
        )
    }

    fn counts(sessions: &FetchSessions) -> (i64, i64) {
        (sessions.open.get(), sessions.open_partitions.get())
    }

    #[test]
    fn a_session_goes_from_open_to_incremental_to_closed() {
        let sessions = sessions(1);
        let id = sessions.open(false, vec![target(0), target(1)], [], 0);
        assert_eq!(counts(&sessions), (1, 2));
        let (context, targets) = sessions.begin(request(id, 1), vec![target(2)], &[], 0).unwrap();
        assert!(matches!(context, FetchContext::Incremental { .. }));
        assert_eq!((targets.len(), counts(&sessions)), (3, (1, 3)));
        let repeated = sessions.begin(request(id, 1), vec![], &[], 0).unwrap_err();
        assert_eq!(repeated, ErrorCode::InvalidFetchSessionEpoch);
        sessions.begin(request(id, FINAL_EPOCH), vec![], &[], 0).unwrap();
        assert_eq!(counts(&sessions), (0, 0));
        let gone = sessions.begin(request(id, 2), vec![], &[], 0).unwrap_err();
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
    }

    #[test]
    fn a_partition_that_is_named_twice_is_read_once_from_where_it_was_named_last() {
        let sessions = sessions(1);
        let later = |partition| FetchTarget { fetch_offset: 7, ..target(partition) };
        for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
            let named = vec![target(0), target(1), later(0), later(2), target(2)];
            let (_, targets) = sessions.begin(request(NO_SESSION, epoch), named, &[], 0).unwrap();
            let read: Vec<_> = targets.iter().map(|target| (target.key.1, target.fetch_offset)).collect();
            assert_eq!(read, [(0, 7), (1, 0), (2, 0)]);
        }
    }

    #[test]
    fn a_session_without_partitions_ends() {
        let sessions = sessions(1);
        let id = sessions.open(false, vec![target(0)], [], 0);
        let (context, _) = sessions.begin(request(id, 1), vec![], &[target(0).key], 0).unwrap();
        assert!(matches!(context, FetchContext::Sessionless));
        assert_eq!(counts(&sessions), (0, 0));
    }

    #[test]
    fn a_full_cache_gives_only_idle_slots_away() {
        let sessions = sessions(1);
        let first = sessions.open(false, vec![target(0)], [], 0);
        assert_ne!(first, NO_SESSION);
        assert_eq!(sessions.open(false, vec![target(0)], [], EVICTION_IDLE_MS), NO_SESSION);
        assert_ne!(sessions.open(false, vec![target(0)], [], EVICTION_IDLE_MS + 1), NO_SESSION);
        let evicted = sessions.begin(request(first, 1), vec![], &[], 0).unwrap_err();
        assert_eq!(evicted, ErrorCode::FetchSessionIdNotFound);
    }
}
