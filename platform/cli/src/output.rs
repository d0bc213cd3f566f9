//! Results on standard output: text for people, JSON for programs. Everything else goes to standard error.

use std::io::{self, IsTerminal, Write};
use std::thread;

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::oneshot;

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

/// Ends with [`io::ErrorKind::BrokenPipe`] once nobody reads standard output any more; a command that waits for
/// what to print next notices it by this alone. Never ends where that cannot happen, as with a file.
pub async fn reader_gone() -> io::Error {
    let (tell, told) = oneshot::channel();
    // A thread of its own, which nobody waits for: the runtime does not stop before its blocking tasks have ended.
    let watcher = thread::Builder::new().name("stdout-watch".to_owned());
    let watching = watcher.spawn(move || {
        if watch_reader() {
            tell.send(()).ok();
        }
    });
    if watching.is_ok() && told.await.is_ok() {
        return io::ErrorKind::BrokenPipe.into();
    }
    std::future::pending().await
}

/// Waits until standard output has lost its reader; `false` if that cannot be watched.
fn watch_reader() -> bool {
    let stdout = io::stdout();
    // Without any event asked for, errors and the hang-up are still reported.
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    loop {
        match poll(&mut watched, None) {
            Ok(_) => return watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
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
