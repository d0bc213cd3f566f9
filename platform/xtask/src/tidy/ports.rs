//! Below the binary nobody asks the operating system for files, moments, the day or random numbers by himself: there is
//! a port for each, which a test can drive. The places that still do are counted, and may only become fewer.
//!
//! Tests are left out, and so are the binary, the command line, and tools.

use std::path::Path;

use super::Source;

/// What the operating system is asked for.
struct Port {
    words: &'static [&'static str],
    /// Where else the port itself is.
    owners: &'static [&'static str],
    instead: &'static str,
    /// Lines that stand. Whoever takes one away lowers it.
    stand: usize,
}

const PORTS: [Port; 4] = [
    Port {
        words: &["std::fs", " fs::", "(fs::", "&fs::", "=fs::"],
        owners: &["platform/disk/"],
        instead: "millrace_disk::Disk",
        stand: 6,
    },
    Port {
        words: &["Instant::now("],
        owners: &["platform/base/src/monotonic.rs"],
        instead: "millrace_base::Monotonic, or a moment that is passed in",
        stand: 34,
    },
    Port {
        words: &["SystemTime::now("],
        owners: &["platform/base/src/clock.rs"],
        instead: "millrace_base::Clock",
        stand: 0,
    },
    Port {
        words: &["Uuid::new_v4(", "TopicId::random(", "rand::", "getrandom"],
        // Keys and nonces come from the system, whatever is simulated.
        owners: &[
            "platform/base/src/random.rs",
            "platform/base/src/ids.rs",
            "platform/disk/",
            "platform/plugin-runner/src/secrets.rs",
        ],
        instead: "millrace_base::Random",
        stand: 0,
    },
];

/// What is at the top, or no part of a broker.
const FREE: [&str; 5] = [
    "platform/server/",
    "platform/cli/",
    "platform/bench/",
    "platform/xtask/",
    "platform/plugin-runner/src/testing",
];

pub fn check(sources: &[Source]) -> Vec<String> {
    PORTS.iter().flat_map(|port| check_port(port, sources)).collect()
}

fn check_port(port: &Port, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| is_covered(&source.path)) {
        if port.owners.iter().any(|owner| source.path.to_string_lossy().starts_with(owner)) {
            continue;
        }
        for (index, line) in lines(&source.text) {
            if let Some(word) = port.words.iter().find(|word| line.contains(*word)) {
                found.push(source.finding_at(index + 1, format!("'{}': take {}", word.trim(), port.instead)));
            }
        }
    }
    if found.len() == port.stand {
        return Vec::new();
    }
    let count = format!(
        "{} lines go around {}, of which the checks expect {}: use it, or lower the number",
        found.len(),
        port.instead,
        port.stand
    );
    found.into_iter().chain([count]).collect()
}

/// Whether a file is a part of a broker below its binary, and no test.
fn is_covered(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let is_test = |part: &str| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs");
    name.starts_with("platform/")
        && name.ends_with(".rs")
        && path.iter().any(|part| part == "src")
        && !path.iter().any(|part| part.to_str().is_some_and(is_test))
        && !FREE.iter().any(|free| name.starts_with(free))
}

/// The lines that are no comments, up to the tests.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let until_tests = text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
    until_tests.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: PathBuf::from(path), text: text.to_owned() }
    }

    #[test]
    fn what_goes_around_a_port_is_found_and_tests_may() {
        let text = "let a = Instant::now();\n// Instant::now() is no call here\n#[cfg(test)]\nlet b = Instant::now();";
        let sources = [
            source("platform/broker/src/a.rs", text),
            source("platform/broker/src/a_tests.rs", text),
            source("platform/broker/tests/b.rs", text),
            source("platform/server/src/c.rs", text),
            source("platform/base/src/monotonic.rs", text),
        ];
        let port = Port { stand: 0, ..moments() };
        let found = check_port(&port, &sources);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("platform/broker/src/a.rs:1: 'Instant::now('"));
        assert!(check_port(&Port { stand: 1, ..moments() }, &sources).is_empty());
        assert_eq!(check_port(&Port { stand: 2, ..moments() }, &sources).len(), 2, "the number is lowered");
    }

    fn moments() -> Port {
        let [_, moments, ..] = PORTS;
        moments
    }
}
