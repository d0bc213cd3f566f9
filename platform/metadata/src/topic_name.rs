//! Which names a topic may have: Kafka's rules (its `Topic` class), so that every Kafka client agrees.

use std::borrow::Cow;

use millrace_base::limits::TOPIC_NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// A name that no topic can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum TopicNameError {
    #[error("a topic's name cannot be empty")]
    Empty,
    #[error("a topic cannot be called '{0}'")]
    Reserved(String),
    #[error("a topic's name has at most {max} characters, this one has {length}", max = TOPIC_NAME_BYTES_MAX)]
    TooLong { length: usize },
    #[error("topic name '{name}' is refused: allowed are letters, digits, '.', '_' and '-' (ASCII)")]
    InvalidCharacter { name: String },
}

/// Checks a name by itself; [`crate::apply`] also refuses names that collide with another topic's.
pub fn validate(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Reserved(name.to_owned()));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { length: name.len() });
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(TopicNameError::InvalidCharacter { name: name.to_owned() });
    }
    Ok(())
}

/// The form under which two names collide: metric names cannot tell '.' from '_'.
pub fn collision_key(name: &str) -> Cow<'_, str> {
    if name.contains('.') { Cow::Owned(name.replace('.', "_")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_accepts_are_accepted() {
        for name in ["a", "orders", "Orders-2.eu_west", "_", "-", "...", &"x".repeat(249)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_kafka_refuses_are_refused() {
        assert_eq!(validate(""), Err(TopicNameError::Empty));
        assert_eq!(validate(".."), Err(TopicNameError::Reserved("..".into())));
        assert_eq!(validate(&"x".repeat(250)), Err(TopicNameError::TooLong { length: 250 }));
        for name in ["a b", "a/b", "ü", "a\0", "a:b", "a\n"] {
            assert!(matches!(validate(name), Err(TopicNameError::InvalidCharacter { .. })), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a-b"), collision_key("a_b"));
    }
}
