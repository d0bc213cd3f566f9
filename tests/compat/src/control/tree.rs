//! A decoded message as a tree of named values, made from what `Debug` prints of it: the messages are
//! generated, and this shows every field of theirs without naming one.

/// A value in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    Struct(Vec<(String, Tree)>),
    List(Vec<Tree>),
    /// A number, a text in its quotes, `None`, or an id.
    Atom(String),
}

impl Tree {
    /// The tree of a value; one that prints otherwise than derived code does is a fault of the caller.
    pub fn of(value: &impl std::fmt::Debug) -> Self {
        let text = format!("{value:?}");
        let mut parser = Parser { rest: &text };
        let tree = parser.value();
        assert!(parser.rest.is_empty(), "cannot read '{}' in {text}", parser.rest);
        tree
    }

    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Struct(fields) = self else { return None };
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// A field that is a list, to be changed.
    pub fn list(&mut self, name: &str) -> Option<&mut Vec<Self>> {
        let Self::Struct(fields) = self else { return None };
        match fields.iter_mut().find(|(field, _)| field == name) {
            Some((_, Self::List(items))) => Some(items),
            _ => None,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> Tree {
        if self.eats("[") {
            return Tree::List(self.until("]", Self::value));
        }
        // A map: of the tagged fields that nobody knows.
        if self.eats("{") {
            return Tree::Struct(self.until("}", Self::entry));
        }
        if self.rest.starts_with(['"', 'b']) && self.rest.trim_start_matches('b').starts_with('"') {
            return Tree::Atom(self.quoted());
        }
        let end = self.rest.find([' ', ',', '(', '[', ']', ')', '{', '}']).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        if self.eats(" {") {
            return Tree::Struct(self.until("}", Self::entry));
        }
        if self.eats("(") {
            let mut values = self.until(")", Self::value);
            // A type around one value says nothing about it: ids, names, optional values.
            return if values.len() == 1 { values.remove(0) } else { Tree::List(values) };
        }
        Tree::Atom(word)
    }

    fn entry(&mut self) -> (String, Tree) {
        let end = self.rest.find(':').expect("a field has a name");
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end + 1..];
        self.eats(" ");
        (name, self.value())
    }

    fn until<T>(&mut self, end: &str, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut all = Vec::new();
        loop {
            self.eats(" ");
            if self.eats(end) {
                return all;
            }
            all.push(one(self));
            self.eats(",");
        }
    }

    fn quoted(&mut self) -> String {
        let start = self.rest.find('"').expect("it was seen") + 1;
        let mut escaped = false;
        let end = self.rest[start..].find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let end = start + end.expect("a text ends") + 1;
        let text = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        text
    }

    fn eats(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Message {
        id: Option<i32>,
        name: Option<&'static str>,
        list: Vec<(i8, &'static str)>,
        nested: Option<Box<Message>>,
    }

    fn atom(text: &str) -> Tree {
        Tree::Atom(text.to_owned())
    }

    #[test]
    fn nested_values_keep_their_names_and_texts_their_quotes() {
        let inner = Message { id: None, name: Some("a \"b\", c\\"), list: Vec::new(), nested: None };
        let outer = Message { id: Some(-3), name: None, list: vec![(1, "x")], nested: Some(Box::new(inner)) };
        let tree = Tree::of(&outer);
        assert_eq!(tree.field("id"), Some(&atom("-3")));
        assert_eq!(tree.field("name"), Some(&atom("None")));
        assert_eq!(tree.field("list"), Some(&Tree::List(vec![Tree::List(vec![atom("1"), atom("\"x\"")])])));
        let inner = tree.field("nested").unwrap();
        assert_eq!(inner.field("name"), Some(&atom(r#""a \"b\", c\\""#)));
        assert_eq!(inner.field("nested"), Some(&atom("None")));
    }
}
