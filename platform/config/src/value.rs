//! A setting's value between its text and its typed field.

/// A value that has passed its setting's checks.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    /// Any whole number; sizes are bytes, durations milliseconds.
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// The accessors are for the tables' `assign` functions, whose kind guarantees the variant; the other
/// variants give a neutral value rather than a panic.
impl Value {
    pub fn boolean(&self) -> bool {
        matches!(self, Self::Boolean(true))
    }

    pub fn integer(&self) -> i64 {
        if let Self::Integer(number) = self { *number } else { 0 }
    }

    /// A number whose check keeps it within 32 bits.
    pub fn small(&self) -> u32 {
        u32::try_from(self.integer()).unwrap_or_default()
    }

    /// A number whose check keeps it from being negative.
    pub fn unsigned(&self) -> u64 {
        u64::try_from(self.integer()).unwrap_or_default()
    }

    /// A signed number of 32 bits, as its check guarantees.
    pub fn int(&self) -> i32 {
        i32::try_from(self.integer()).unwrap_or_default()
    }

    /// Kafka's way to say "unlimited" is -1.
    pub fn unless_negative(&self) -> Option<i64> {
        Some(self.integer()).filter(|number| *number >= 0)
    }

    /// Kafka's way to say "never" is the largest number.
    pub fn unless_max(&self) -> Option<u64> {
        Some(self.integer()).filter(|number| *number != i64::MAX).map(i64::unsigned_abs)
    }

    pub fn double(&self) -> f64 {
        if let Self::Double(number) = self { *number } else { 0.0 }
    }

    pub fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub fn list(&self) -> &[String] {
        if let Self::List(items) = self { items } else { &[] }
    }
}
