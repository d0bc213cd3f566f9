//! Asking the person at the terminal; programs are not asked.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, bail};

/// Goes on if there is nobody to ask, or if the answer is yes.
pub fn confirm(question: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("read the answer")?;
    if is_yes(&answer) {
        return Ok(());
    }
    bail!("nothing was done: answer 'y', or give --yes, to go on")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", "YES\n", " y "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yo\n"].into_iter().any(is_yes));
    }
}
