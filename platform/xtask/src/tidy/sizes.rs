//! Files and functions stay small enough to be read in one sitting.
//!
//! Relies on rustfmt's layout: a function ends at the first closing brace that stands as far in as its head.

use super::Source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 80;

pub fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(
                source.finding(format!("{lines} lines, {FILE_LINES_MAX} at most: split it by purpose")),
            );
        }
        for (line, name, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                let what = format!("`{name}` has {length} lines, {FUNCTION_LINES_MAX} at most");
                findings.push(source.finding_at(line, what));
            }
        }
    }
    findings
}

/// The functions that have a body: first line (from 1), name, and length in lines.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = indentation(line);
        let end = lines[index..].iter().position(|line| {
            indentation(line) == indent && (line.trim_start().starts_with('}') || line.ends_with(['}', ';']))
        });
        if let Some(length) = end {
            functions.push((index + 1, name, length + 1));
        }
    }
    functions
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            return name.split(['(', '<']).next();
        }
        let (word, after) = rest.split_once(' ')?;
        let qualifier =
            word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word);
        if !qualifier {
            return None;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::functions;

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let text = "impl A {\n    pub(crate) async fn long<T>(\n        a: T,\n    ) -> u8 {\n        1\n    }\n\n    \
                    fn short() {}\n}\n\ntrait B {\n    fn bodiless(&self);\n}\n";
        assert_eq!(functions(text), [(2, "long", 5), (8, "short", 1), (12, "bodiless", 1)]);
    }

    #[test]
    fn a_comment_about_a_function_is_none() {
        assert!(functions("// the fn that\n/// fn here\nlet fnord = 1;\n").is_empty());
    }
}
