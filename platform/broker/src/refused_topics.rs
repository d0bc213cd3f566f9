//! Topics that could not be created when clients asked for them, so that each is a warning once and not as often as they
//! ask. Bounded: when there are too many, those known are forgotten, and may be warned about again.

use hashbrown::HashMap;
use parking_lot::Mutex;

const TOPICS_MAX: usize = 1_000;

/// Names, and why they were refused last.
#[derive(Debug, Default)]
pub(crate) struct RefusedTopics(Mutex<HashMap<String, String>>);

impl RefusedTopics {
    /// Notes a refusal; whether it is not the one that this topic had before.
    pub(crate) fn is_new(&self, topic: &str, reason: &str) -> bool {
        let mut refused = self.0.lock();
        if refused.get(topic).is_some_and(|known| known == reason) {
            return false;
        }
        if refused.len() >= TOPICS_MAX {
            refused.clear();
        }
        refused.insert(topic.to_owned(), reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_and_the_memory_of_them_is_bounded() {
        let refused = RefusedTopics::default();
        assert!(refused.is_new("t", "too few brokers"));
        assert!(!refused.is_new("t", "too few brokers"));
        assert!(refused.is_new("t", "the disk is full"), "another reason");
        for number in 0..3 * TOPICS_MAX {
            assert!(refused.is_new(&number.to_string(), "too few brokers"));
            assert!(refused.0.lock().len() <= TOPICS_MAX);
        }
    }
}
