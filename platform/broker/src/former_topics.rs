//! Names of topics that were deleted since the start: one that is made again is the same topic to its producers, which
//! go on numbering their records. Bounded: when there are too many, those known are forgotten, and producers of their
//! successors are asked to begin anew.

use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::Mutex;

const TOPICS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct FormerTopics(Mutex<HashSet<Arc<str>>>);

impl FormerTopics {
    pub(crate) fn note(&self, topic: &Arc<str>) {
        let mut former = self.0.lock();
        if former.len() >= TOPICS_MAX {
            former.clear();
        }
        former.insert(Arc::clone(topic));
    }

    /// Whether there was a topic of this name.
    pub(crate) fn had(&self, topic: &str) -> bool {
        self.0.lock().contains(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_topics_are_known_by_name_and_the_memory_of_them_is_bounded() {
        let former = FormerTopics::default();
        former.note(&"t".into());
        assert!(former.had("t") && !former.had("u"));
        for number in 0..3 * TOPICS_MAX {
            former.note(&number.to_string().into());
            assert!(former.had(&number.to_string()));
            assert!(former.0.lock().len() <= TOPICS_MAX);
        }
    }
}
