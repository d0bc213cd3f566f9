//! What a state log keeps: a machine whose every change is a record with a key.

/// A record as a machine writes it. Without a value it says that what has this key is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// State that is made of the records of one partition, and of nothing else: applied in their order they always give
/// the same.
///
/// Of the records of one key only the last may count, since those before it are deleted.
pub trait Machine: Default + Send + Sync + 'static {
    /// A record, decoded.
    type Change: Send + Sync;
    /// A place in the order of the state's records.
    type Cursor: Clone + Send + Sync;

    /// `None` for what this version does not know: the log keeps it for those who do.
    fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self::Change>;

    fn apply(&mut self, change: &Self::Change);

    /// The state's first record behind `after`, in a fixed order; all of them give the state again.
    fn next_record(&self, after: Option<&Self::Cursor>) -> Option<(Self::Cursor, StateRecord)>;
}

/// What a machine has decided about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<R> {
    /// Written together: all of them or none.
    pub records: Vec<StateRecord>,
    /// What the asker is told once the records, and all that the decision rests on, are on all in-sync replicas.
    pub reply: R,
}
