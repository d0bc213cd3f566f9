//! A decision in the making: the group as the records so far make it, and the records.

use std::borrow::Cow;

use super::super::format::consumer::Part;
use super::ConsumerGroup;

/// See the module's text. The group is copied when the first record is added, so that one that changes nothing costs
/// nothing.
pub(super) struct Draft<'g> {
    group: Cow<'g, ConsumerGroup>,
    parts: Vec<Part>,
}

impl<'g> Draft<'g> {
    pub fn new(group: Option<&'g ConsumerGroup>) -> Self {
        let group = group.map_or_else(|| Cow::Owned(ConsumerGroup::default()), Cow::Borrowed);
        Self { group, parts: Vec::new() }
    }

    pub fn group(&self) -> &ConsumerGroup {
        &self.group
    }

    pub fn push(&mut self, part: Part) {
        self.group.to_mut().apply(&part);
        self.parts.push(part);
    }

    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }
}
