//! Every Rust file opens with `//!` that says what it is for.

use super::Source;

pub fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.is_rust() && !opens_with_header(&source.text))
        .map(|source| {
            source.finding("opens without `//!`: say its purpose, its invariants, what it never does")
        })
        .collect()
}

fn opens_with_header(text: &str) -> bool {
    text.lines()
        .find(|line| !line.starts_with("#!["))
        .and_then(|line| line.strip_prefix("//! "))
        .is_some_and(|words| words.len() > 10)
}

#[cfg(test)]
mod tests {
    use super::opens_with_header;

    #[test]
    fn a_header_has_words() {
        assert!(opens_with_header("//! What the broker never does.\n"));
        assert!(opens_with_header("#![no_main]\n//! What the broker never does.\n"));
        assert!(!opens_with_header("//! x\n"));
        assert!(!opens_with_header("use std::fs;\n//! Too late to be read.\n"));
        assert!(!opens_with_header(""));
    }
}
