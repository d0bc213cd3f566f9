//! Results on standard output: text for people, JSON for programs. Everything else goes to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// What results look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    #[default]
    Text,
    Json,
}

/// Prints one result.
pub fn print(
    output: OutputFormat,
    json: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let mut line = match output {
        OutputFormat::Text => text(),
        OutputFormat::Json => serde_json::to_string(json)?,
    };
    if !line.is_empty() && !line.ends_with('\n') {
        line.push('\n');
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Says something to the person at the terminal, if there is one.
pub fn note(message: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{message}");
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let rows = [["orders".to_owned(), "3".to_owned()], ["a".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME    N\norders  3\na\n");
    }
}
