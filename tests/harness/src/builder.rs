//! What a test may choose about its broker before it starts.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::binary::millrace_binary;
use crate::http;
use crate::ports::free_port;

/// How long a start may take, recovery after a crash included, on a slow machine under load.
const READY_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct BrokerBuilder {
    settings: Vec<(String, Vec<String>)>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    wrapper: Vec<String>,
}

/// A broker that ended instead of starting.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub log: String,
}

/// What of a broker outlives the process: a restart finds it again.
#[derive(Debug)]
pub(crate) struct Home {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub log: PathBuf,
    /// Removed with everything in it when the test is over.
    _directory: TempDir,
}

impl BrokerBuilder {
    /// A line `key = value` under `[table]` of the configuration file; `value` is TOML.
    #[must_use]
    pub fn setting(mut self, table: &str, line: impl Into<String>) -> Self {
        match self.settings.iter_mut().find(|(name, _)| name == table) {
            Some((_, lines)) => lines.push(line.into()),
            None => self.settings.push((table.to_owned(), vec![line.into()])),
        }
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses this directory instead of a temporary one; it stays when the test is over.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Starts the broker through this command, which must become it (`exec`), so that signals reach it.
    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts a broker that must not start, and returns how it ended.
    pub fn start_refused(self) -> anyhow::Result<Refusal> {
        let home = self.home()?;
        let child = self.spawn(&home)?;
        match wait_until_ready(child, &home)? {
            Err(refusal) => Ok(refusal),
            Ok(mut child) => {
                child.kill()?;
                child.wait()?;
                bail!("the broker started though it must not:\n{}", read_log(&home.log))
            }
        }
    }

    pub(crate) fn home(&self) -> anyhow::Result<Home> {
        let directory = TempDir::with_prefix("millrace-test-").context("create a temporary directory")?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| directory.path().join("data"));
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = directory.path().join("broker.log");
        Ok(Home { data_dir, listen: address(), http: address(), log, _directory: directory })
    }

    /// Starts the process on `home`, whose log grows across restarts.
    pub(crate) fn spawn(&self, home: &Home) -> anyhow::Result<Child> {
        let log =
            File::options().create(true).append(true).open(&home.log).context("open the broker's log")?;
        let mut words = self.wrapper.clone();
        words.push(millrace_binary().display().to_string());
        words.extend(self.arguments(home)?);
        Command::new(&words[0])
            .args(&words[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start '{}'", words.join(" ")))
    }

    fn arguments(&self, home: &Home) -> anyhow::Result<Vec<String>> {
        let (listen, http) = (home.listen.to_string(), home.http.to_string());
        let data_dir = home.data_dir.display().to_string();
        if self.settings.is_empty() {
            let words = ["dev", "--data-dir", &data_dir, "--listen", &listen, "--http", &http];
            return Ok(words.map(str::to_owned).to_vec());
        }
        let mut settings = self.clone();
        settings = settings.setting("node", format!("data_dir = {data_dir:?}"));
        settings = settings.setting("listen", format!("address = {listen:?}"));
        settings = settings.setting("http", format!("address = {http:?}"));
        let mut text = String::new();
        for (table, lines) in &settings.settings {
            text.push_str(&format!("[{table}]\n{}\n\n", lines.join("\n")));
        }
        let file = home.log.with_file_name("millrace.toml");
        fs::write(&file, text).context("write the broker's configuration")?;
        Ok(vec!["server".to_owned(), "--config".to_owned(), file.display().to_string()])
    }
}

/// Waits for the broker to say that it is ready, or to end.
pub(crate) fn wait_until_ready(mut child: Child, home: &Home) -> anyhow::Result<Result<Child, Refusal>> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Err(Refusal { status, log: read_log(&home.log) }));
        }
        if http::get(home.http, "/readyz").is_ok_and(|(status, _)| status == 200) {
            return Ok(Ok(child));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("the broker was not ready after {READY_LIMIT:?}:\n{}", read_log(&home.log));
        }
        millrace_test_wait::pause();
    }
}

pub(crate) fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
