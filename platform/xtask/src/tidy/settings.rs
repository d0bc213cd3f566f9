//! Settings keep their word: one that is said to be applied has a reader, and one without effect has none.

use std::collections::BTreeSet;

use super::Source;

/// Where settings are listed, each with its `effect` before the field that it is assigned to.
const TABLES: [&str; 2] = ["platform/config/src/topic_settings.rs", "platform/config/src/broker/settings.rs"];

const CONFIG: &str = "platform/config";

/// A row of a table.
#[derive(Debug, PartialEq, Eq)]
struct Setting<'a> {
    line: usize,
    name: &'a str,
    applied: bool,
    field: &'a str,
}

pub fn check(sources: &[Source]) -> Vec<String> {
    let product = sources.iter().filter(|source| {
        source.is_rust()
            && source.path.starts_with("platform")
            && !source.path.starts_with(CONFIG)
            && !source.path.iter().any(|part| part == "tests")
    });
    let read: BTreeSet<&str> = product.flat_map(|source| fields_read(&source.text)).collect();
    let mut findings = Vec::new();
    for table in sources.iter().filter(|source| TABLES.iter().any(|path| source.path.as_os_str() == *path)) {
        for Setting { line, name, applied, field } in settings(&table.text) {
            let what = match (applied, read.contains(field)) {
                (true, false) => format!("'{name}' is said to be applied, but nothing reads `{field}`"),
                (false, true) => format!("'{name}' is said to have no effect, but something reads `{field}`"),
                _ => continue,
            };
            findings.push(table.finding_at(line, what));
        }
    }
    findings
}

/// The rows of a table; one whose `assign` calls a function has its field in the function.
fn settings(table: &str) -> Vec<Setting<'_>> {
    let (mut settings, mut name, mut line_of_name, mut applied) = (Vec::new(), None, 0, false);
    for (index, line) in table.lines().enumerate() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("name: \"") {
            (name, line_of_name) = (rest.strip_suffix("\","), index + 1);
        } else if let Some(effect) = line.strip_prefix("effect: ") {
            applied = effect == "Applied,";
        } else if let Some((path, _)) = line
            .strip_prefix("assign: |c, v| ")
            .unwrap_or(line)
            .strip_prefix("c.")
            .and_then(|rest| rest.split_once(" = "))
            && let Some(name) = name.take()
        {
            let field = path.rsplit('.').next().unwrap_or(path);
            settings.push(Setting { line: line_of_name, name, applied, field });
        }
    }
    settings
}

/// Every word that follows a dot and is not called.
fn fields_read(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        (!word.is_empty() && !after.starts_with('(')).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::{Setting, fields_read, settings};

    #[test]
    fn rows_are_read_with_their_effect_and_field() {
        let table = "Setting {\n name: \"a.ms\",\n effect: Applied,\n assign: |c, v| {\n c.part.a_ms = v.integer();\n";
        assert_eq!(settings(table), [Setting { line: 2, name: "a.ms", applied: true, field: "a_ms" }]);
        let table = table.replace("Applied", "TIERED");
        assert!(!settings(&table)[0].applied);
    }

    #[test]
    fn what_is_called_is_no_field() {
        assert_eq!(fields_read("a.b_c + d.e(f.g)").collect::<Vec<_>>(), ["b_c", "g"]);
    }
}
