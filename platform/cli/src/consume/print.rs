//! Writes records to standard output, a batch at a time.

use std::io::{self, BufWriter, Stdout, Write};

use millrace_client::RecordBatch;

use super::format::RecordFormat;

/// Prints records until there are enough.
pub struct Printer {
    out: BufWriter<Stdout>,
    format: RecordFormat,
    printed: u64,
    max: Option<u64>,
}

impl Printer {
    pub fn new(format: RecordFormat, max: Option<u64>) -> Self {
        Self { out: BufWriter::with_capacity(64 * 1024, io::stdout()), format, printed: 0, max }
    }

    /// Prints a batch and flushes, so that whoever reads along sees it at once. Returns where to go on behind it.
    pub fn print_batch(&mut self, batch: &RecordBatch) -> io::Result<i64> {
        let mut next = batch.last_offset() + 1;
        for record in batch.records() {
            if self.is_done() {
                next = record.offset();
                break;
            }
            self.format.write(&mut self.out, &record)?;
            self.printed += 1;
        }
        self.out.flush()?;
        Ok(next)
    }

    pub fn is_done(&self) -> bool {
        self.max.is_some_and(|max| self.printed >= max)
    }

    pub const fn printed(&self) -> u64 {
        self.printed
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
