//! Runs the real binary: brokers on free ports over a directory of the test's own, and commands against them.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millrace_test_wait::eventually;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a loaded machine; only a test that fails waits for it.
const LIMIT: Duration = Duration::from_secs(60);

/// The program under test, cut off from the caller's environment.
pub fn millrace<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for name in ["MILLRACE_BOOTSTRAP", "MILLRACE_CA", "MILLRACE_TRANSPORT", "MILLRACE_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs a command with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the command");
    let mut stdin = child.stdin.take().expect("its standard input");
    let input = input.to_owned();
    let writer = thread::spawn(move || {
        // A command that fails early closes its input.
        stdin.write_all(&input).ok();
    });
    let output = child.wait_with_output().expect("wait for the command");
    writer.join().expect("the writer does not panic");
    output
}

/// What a command that must succeed prints.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that must fail says.
pub fn stderr(output: &Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    /// What it announced when it was ready.
    pub ready: Value,
    /// Everything it logged, line by line.
    log: mpsc::Receiver<String>,
}

/// A directory with a configuration for small machines.
pub struct Home(pub TempDir);

impl Home {
    pub fn new() -> Self {
        Self(TempDir::with_prefix("millrace-cli-").expect("a temporary directory"))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Starts a broker with `settings` (TOML) besides those that tests share.
    pub fn start_with(&self, settings: &str) -> Broker {
        Broker::spawn(millrace(["server".as_ref(), "--config".as_ref(), self.config(settings).as_os_str()]))
    }

    pub fn start(&self) -> Broker {
        self.start_with("")
    }

    pub fn config(&self, settings: &str) -> PathBuf {
        let path = self.0.path().join("millrace.toml");
        let shared = format!(
            "[node]\ndata_dir = '{}'\n[listen]\naddress = '127.0.0.1:0'\n[http]\naddress = '127.0.0.1:0'\n\
             [log]\nwal_bytes = '16MiB'\n",
            self.data_dir().display()
        );
        fs::write(&path, shared + settings).expect("write the configuration");
        path
    }
}

impl Broker {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .args(["--output", "json", "--log", "info,openraft=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the broker");
        let log = lines(child.stderr.take().expect("its standard error"));
        let announced = lines(child.stdout.take().expect("its standard output"));
        match announced.recv_timeout(LIMIT) {
            Ok(line) => {
                let ready = serde_json::from_str(&line).expect("an announcement in JSON");
                Self { child, ready, log }
            }
            Err(_) => {
                child.kill().ok();
                child.wait().ok();
                panic!("the broker did not start:\n{}", log.iter().collect::<Vec<_>>().join("\n"));
            }
        }
    }

    pub fn text(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready)).to_owned()
    }

    /// A command that reaches this broker.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = millrace(arguments);
        command.env("MILLRACE_BOOTSTRAP", self.text("listen")).env("MILLRACE_CA", self.text("ca"));
        command
    }

    /// What a command against this broker prints; it must succeed.
    pub fn stdout(&self, arguments: &[&str], input: &[u8]) -> String {
        stdout(&run(self.command(arguments), input))
    }

    /// What a command against this broker says; it must fail.
    pub fn stderr(&self, arguments: &[&str], input: &[u8]) -> String {
        stderr(&run(self.command(arguments), input))
    }

    /// What a command against this broker answers in JSON; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.stdout(&[arguments, &["--output", "json"]].concat(), b"");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then how it ended and what it logged.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal the broker");
        let status = eventually("the broker to stop after SIGTERM", LIMIT, || {
            self.child.try_wait().expect("wait for the broker")
        });
        (status, self.log.iter().collect::<Vec<_>>().join("\n"))
    }

    /// SIGKILL, as in a crash.
    pub fn kill(mut self) {
        self.child.kill().expect("kill the broker");
        self.child.wait().expect("wait for the broker");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            let log: Vec<String> = self.log.try_iter().collect();
            eprintln!("--- the broker's log\n{}\n---", log.join("\n"));
        }
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
