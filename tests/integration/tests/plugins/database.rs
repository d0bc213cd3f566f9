//! A PostgreSQL server of the test's own: a new cluster in a temporary directory, on a free loopback port, ended
//! and removed with the test.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use millrace_test_harness::{Program, eventually_async, free_port};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::support::PATIENCE;

/// Debian's packages keep each version's programs in a directory of its own.
const INSTALLED: &str = "/usr/lib/postgresql";
/// The server refuses to run as root; the packages make this user.
const USER: &str = "postgres";
const PASSWORD: &str = "correct horse";

/// A server that can be stopped and started again.
pub struct Database {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Database {
    /// `None` if PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        let programs = programs()?;
        let directory = TempDir::with_prefix("millrace-postgres-").unwrap();
        if geteuid().is_root() {
            let id = |flag: &str| Program::new("id").arguments([flag, USER]).succeed().unwrap();
            let (user, group) = (id("-u").trim().parse().unwrap(), id("-g").trim().parse().unwrap());
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let mut database = Self { programs, directory, port: free_port(), server: None };
        let mut initdb = database.command("initdb");
        initdb.args(["--username=millrace", "--auth=scram-sha-256", "--no-sync", "--pwfile"]).arg(&password);
        initdb.arg("--pgdata").arg(database.data());
        Program::from(initdb).succeed().unwrap();
        database.restart().await;
        Some(database)
    }

    /// Starts the server and waits until it answers.
    pub async fn restart(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let log =
            fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-F"]);
        server.arg("-k").arg(self.directory.path());
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(server.spawn().unwrap());
        self.client().await;
    }

    /// Ends all connections and the server.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        server.wait().unwrap();
    }

    /// As a deployment is granted it.
    pub fn url(&self) -> String {
        format!("postgres://millrace:{}@127.0.0.1:{}/postgres", PASSWORD.replace(' ', "%20"), self.port)
    }

    /// A connection, as soon as the server takes one.
    pub async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = eventually_async("the database to answer", PATIENCE, || async {
            tokio_postgres::connect(&self.url(), NoTls).await.ok()
        })
        .await;
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.directory.path());
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- the database's log\n{log}\n---");
        }
        self.end(Signal::QUIT);
    }
}

/// The programs of the newest version that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(Path::new(INSTALLED)).ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| number(path))?;
    let programs = newest.join("bin");
    programs.join("postgres").exists().then_some(programs)
}
