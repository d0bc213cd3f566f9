//! A client's producers in a program of their own.
//!
//! All programs obey one protocol of lines. They are given the broker's address and told on standard input:
//!
//! ```text
//! producer NAME MODE TOPIC PARTITION   make a producer and connect it; MODE is idempotent, all or leader,
//!                                      PARTITION a number, or `key` for the client's own choice by key
//! go COUNT                             all of them send COUNT records each, or until `end` if it is 0
//! end                                  stop sending
//! ```
//!
//! A record's label is `NAME:NUMBER`, its value the label, `:` and dots up to 600 bytes, and its key `NAME:` and the
//! number modulo 64. What is told on
//! standard output, in the order in which the client learns it, is described at [`Journal`]; `done` follows when
//! all records of a round are settled, and then the next round's producers may be made. The programs end with
//! their input.
//!
//! Settings are the client's own but for: no linger and batches of one record, so that as many requests are in
//! flight as there may be; metadata half a second old at most, and asked for again
//! after some 10 ms while it lacks something; a delivery may take two minutes, longer than any
//! trouble here.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use millrace_test_harness::{Broker, eventually, tool};

use super::journal::{Journal, Mode};
use crate::java;

/// For anything that a client is waited for, on a slow machine under load.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Who produces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    Librdkafka,
    Java,
    FranzGo,
    /// The project's own SDK over `quic` or `tcp`; the program lies where the test's build left it.
    Sdk {
        program: &'static str,
        transport: &'static str,
    },
}

impl Client {
    fn command(&self, broker: &Broker) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::Librdkafka => {
                let mut python = Command::new(tool("confluent-kafka")?.join("bin/python"));
                python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/confluent_kafka_producers.py"));
                python
            }
            Self::Java => java(concat!(env!("CARGO_MANIFEST_DIR"), "/java/Producers.java"))?,
            Self::FranzGo => Command::new(tool("franz-go")?.join("producers")),
            Self::Sdk { program, transport } => {
                let mut sdk = Command::new(program);
                sdk.env("MILLRACE_CA", broker.ca_file()).env("MILLRACE_TRANSPORT", transport);
                sdk
            }
        };
        command.arg(broker.bootstrap());
        Ok(command)
    }

    /// Whether it says when the broker appended a record, rather than when it heard of that.
    pub(crate) const fn tells_append_time(&self) -> bool {
        matches!(self, Self::Librdkafka | Self::Java)
    }
}

/// The program and what it has said. Dropping it ends the program.
pub(crate) struct Producers {
    child: Child,
    input: ChildStdin,
    journal: Arc<Mutex<Journal>>,
    rounds: usize,
    errors: tempfile::NamedTempFile,
}

impl Producers {
    pub(crate) fn start(client: &Client, broker: &Broker) -> anyhow::Result<Self> {
        let errors = tempfile::NamedTempFile::new().context("create a file for standard error")?;
        let mut command = client.command(broker)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).open(errors.path())?)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let input = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let journal = Arc::new(Mutex::new(Journal::default()));
        let written = Arc::clone(&journal);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                written.lock().unwrap_or_else(PoisonError::into_inner).take(&line);
            }
        });
        Ok(Self { child, input, journal, rounds: 0, errors })
    }

    /// Makes a producer that sends to `partition`, or by key.
    pub(crate) fn add(
        &mut self,
        name: &str,
        mode: Mode,
        topic: &str,
        partition: Option<i32>,
    ) -> anyhow::Result<()> {
        self.journal().producers.insert(name.to_owned(), mode);
        let partition = partition.map_or_else(|| "key".to_owned(), |partition| partition.to_string());
        self.say(&format!("producer {name} {} {topic} {partition}", mode.word()))
    }

    /// Has all new producers send `count` records each.
    pub(crate) fn go(&mut self, count: usize) -> anyhow::Result<()> {
        self.rounds += 1;
        self.say(&format!("go {count}"))
    }

    /// Has all producers send until [`Self::end`].
    pub(crate) fn go_on(&mut self) -> anyhow::Result<()> {
        self.go(0)
    }

    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.say("end")
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").with_context(|| format!("the producers have ended: {}", self.errors()))
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the journal is such as `condition` wants it.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Journal) -> bool) {
        let mut ended = None;
        eventually(what, LIMIT, || {
            let met = condition(&self.journal());
            if !met && let Ok(Some(status)) = self.child.try_wait() {
                ended = Some(status);
            }
            (met || ended.is_some()).then_some(())
        });
        assert!(ended.is_none(), "the producers ended with {ended:?} amid {what}: {}", self.errors());
    }

    /// Waits until every record of the round is settled.
    pub(crate) fn until_done(&mut self) {
        let rounds = self.rounds;
        self.until("the producers to be done", |journal| journal.rounds >= rounds);
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.errors.path()).unwrap_or_default()
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let journal = self.journal();
            let failed = &journal.failed[journal.failed.len().saturating_sub(10)..];
            eprintln!("{} acknowledged; given up at last: {failed:#?}", journal.acknowledged.len());
            eprintln!("--- what the client said\n{}\n---", self.errors());
        }
    }
}
