//! Words that mark unfinished work or name somebody's machine, tests that wait on time, and files that are replaced
//! in another way than durably.

use super::Source;

/// Each in two halves, so that this list does not find itself.
const UNFINISHED: [(&str, &str); 6] =
    [("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")];

const MACHINE_PATHS: [(&str, &str); 3] = [("/ho", "me/"), ("/Us", "ers/"), ("C:", "\\")];

const SLEEPS: [(&str, &str); 2] = [("sle", "ep("), ("sleep_", "until(")];

/// Where tests may sleep: between two looks at a condition, and, in simulated time, as a peer that dawdles.
const WAITS_ON_CONDITIONS: [&str; 2] = ["tests/wait", "tests/fuzz"];

const RENAMES: [(&str, &str); 1] = [("fs::re", "name(")];

/// Where a file is replaced for everybody.
const REPLACES: &str = "platform/disk";

const MESSAGES: [(&str, &str); 1] = [("millrace_protocol::mess", "ages")];

/// How far Kafka's messages go into the broker: to the handlers, and to the one form of a new topic that two of them
/// share.
const KNOWS_MESSAGES: [&str; 2] = ["platform/broker/src/handlers", "platform/broker/src/topic_creation.rs"];

/// Crates of a broker's that know no message of Kafka's at all.
const INNER: [&str; 9] = [
    "broker",
    "log",
    "disk",
    "metadata",
    "replication",
    "coordinator",
    "plugin-host",
    "plugin-runner",
    "transport",
];

pub fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        if source.path.ends_with("Cargo.lock") {
            continue;
        }
        let mut tests = source.path.iter().any(|part| part == "tests");
        let may_sleep = WAITS_ON_CONDITIONS.iter().any(|path| source.path.starts_with(path));
        for (index, line) in source.text.lines().enumerate() {
            for word in found(line, &UNFINISHED) {
                findings.push(source.finding_at(index + 1, format!("'{word}' marks unfinished work")));
            }
            if source.is_rust()
                && source.path.starts_with("platform")
                && source.path.iter().any(|part| part == "src")
                && !source.path.starts_with(REPLACES)
                && let Some(word) = found(line, &RENAMES).first()
            {
                let what = format!("'{word}': files are replaced by `millrace_disk::replace`, durably");
                findings.push(source.finding_at(index + 1, what));
            }
            if is_inner(source)
                && let Some(word) = found(line, &MESSAGES).first()
            {
                let what = format!("'{word}': Kafka's messages stop at the broker's handlers");
                findings.push(source.finding_at(index + 1, what));
            }
            for word in found(line, &MACHINE_PATHS) {
                findings
                    .push(source.finding_at(index + 1, format!("'{word}' is a path on somebody's machine")));
            }
            tests |= line == "#[cfg(test)]";
            if tests
                && !may_sleep
                && source.is_rust()
                && let Some(word) = found(line, &SLEEPS).first()
            {
                let what = format!("'{word}': tests wait on conditions, see `eventually` in tests/wait");
                findings.push(source.finding_at(index + 1, what));
            }
        }
    }
    findings
}

/// Whether a file is shipped within a broker and below its handlers.
fn is_inner(source: &Source) -> bool {
    let inside = |name: &&str| source.path.starts_with(format!("platform/{name}/src"));
    source.is_rust()
        && INNER.iter().any(inside)
        && !KNOWS_MESSAGES.iter().any(|path| source.path.starts_with(path))
}

fn found(line: &str, words: &[(&str, &str)]) -> Vec<String> {
    words.iter().map(|(head, tail)| format!("{head}{tail}")).filter(|word| line.contains(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::{UNFINISHED, found};

    #[test]
    fn unfinished_work_is_found() {
        let line = format!("    {}!() // {}ME", "todo", "FIX");
        assert_eq!(found(&line, &UNFINISHED).len(), 2);
        assert!(found("the list of to-dos is empty", &UNFINISHED).is_empty());
    }
}
