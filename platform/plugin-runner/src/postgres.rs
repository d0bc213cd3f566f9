//! PostgreSQL databases that deployments are granted.
//!
//! One connection a database, made for its first rows and again when it breaks, and used by one call at a
//! time. The rows of a call are written in one transaction: all or none.
//!
//! With `sslmode=require` the connection is encrypted and the server's certificate is checked against the
//! system's authorities; without it the connection is plain. A server's name leads where the name of a granted
//! host may lead, and nowhere else. Nothing that is said here names a password.

mod decimal;
mod servers;
mod statement;
mod tls;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_plugin_host::{Database, DatabaseError, Upsert};
use tokio::sync::Mutex;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Statement};

use tls::Tls;
use value::Parameter;

/// How long one server may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After so long without a sign of life a connection is asked for one, and given up if none comes.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Prepared statements that are kept; a sink has one or two.
const STATEMENTS_MAX: usize = 16;

/// A connection string that names no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection string is malformed; write postgres://user:password@host:port/database, with special \
     characters of the password as %XX, and sslmode=disable, prefer or require if any"
)]
pub struct NotADatabase;

/// See the module's text.
pub struct PostgresDatabase {
    config: Config,
    /// Taken out while a call uses it, so that a call that is given up leaves none behind.
    idle: Mutex<Option<Connection>>,
}

/// Without the password.
impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDatabase")
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

struct Connection {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl PostgresDatabase {
    /// A database by its connection string; connects to nothing yet.
    pub fn new(connection: &str) -> Result<Self, NotADatabase> {
        // The parser's own words may quote a part of the password.
        let mut config: Config = connection.parse().map_err(|_| NotADatabase)?;
        if !servers::can_be_placed(&config) {
            return Err(NotADatabase);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("millrace");
        }
        config.keepalives_idle(KEEPALIVE).tcp_user_timeout(KEEPALIVE);
        Ok(Self { config, idle: Mutex::default() })
    }

    async fn write(&self, upsert: Upsert) -> Result<u64, DatabaseError> {
        statement::check(&upsert)?;
        if upsert.rows.is_empty() {
            return Ok(0);
        }
        let mut idle = self.idle.lock().await;
        let mut connection = match idle.take().filter(|connection| !connection.client.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let written = connection.write(&upsert).await;
        // After an error that a statement is to blame for, the connection is as good as before.
        if matches!(written, Ok(_) | Err(DatabaseError::Refused(_) | DatabaseError::Target(_)))
            && !connection.client.is_closed()
        {
            if written.is_err() {
                connection.statements.clear();
            }
            *idle = Some(connection);
        }
        written
    }

    async fn connect(&self) -> Result<Connection, DatabaseError> {
        let unavailable = DatabaseError::Unavailable;
        let config = servers::placed(&self.config).await?;
        let client = if config.get_ssl_mode() == SslMode::Require {
            let tls = tokio::task::spawn_blocking(Tls::of_system).await;
            let tls = tls.map_err(|error| unavailable(error.to_string()))?.map_err(unavailable)?;
            let (client, connection) = config.connect(tls).await.map_err(|error| failed(&error))?;
            tokio::spawn(connection);
            client
        } else {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| failed(&error))?;
            tokio::spawn(connection);
            client
        };
        Ok(Connection { client, statements: HashMap::new() })
    }
}

impl Database for PostgresDatabase {
    fn upsert(&self, upsert: Upsert) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        Box::pin(self.write(upsert))
    }
}

impl Connection {
    async fn write(&mut self, upsert: &Upsert) -> Result<u64, DatabaseError> {
        let rows = statement::last_of_each_key(upsert);
        let at_once = statement::rows_per_statement(upsert.columns.len());
        let transaction = self.client.transaction().await.map_err(|error| failed(&error))?;
        let mut written = 0;
        for rows in rows.chunks(at_once) {
            let sql = statement::sql(upsert, rows.len());
            let statement = match self.statements.get(&sql) {
                Some(statement) => statement.clone(),
                None => {
                    let prepared = transaction.prepare(&sql).await.map_err(|error| failed(&error))?;
                    if self.statements.len() >= STATEMENTS_MAX {
                        self.statements.clear();
                    }
                    self.statements.insert(sql, prepared.clone());
                    prepared
                }
            };
            let columns = upsert.columns.iter().cycle().zip(statement.params());
            let values = rows.iter().copied().flatten();
            let parameters = values
                .zip(columns)
                .map(|(value, (column, ty))| Parameter::new(value, column, ty))
                .collect::<Result<Vec<_>, _>>()?;
            let parameters: Vec<&(dyn ToSql + Sync)> =
                parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
            let executed = transaction.execute(&statement, &parameters).await;
            written += executed.map_err(|error| failed(&error))?;
        }
        transaction.commit().await.map_err(|error| failed(&error))?;
        Ok(written)
    }
}

/// What the guest is told: whether trying again may help, and what the server says.
fn failed(error: &tokio_postgres::Error) -> DatabaseError {
    match error.as_db_error() {
        Some(said) if is_passing(said.code()) => DatabaseError::Unavailable(text(said)),
        Some(said) if is_of_rows(said.code()) => DatabaseError::Refused(text(said)),
        Some(said) => DatabaseError::Target(text(said)),
        None => {
            // The driver's own words, and below them the system's.
            let cause = std::error::Error::source(error).map_or_else(String::new, |why| format!(": {why}"));
            DatabaseError::Unavailable(format!("{error}{cause}"))
        }
    }
}

fn text(said: &DbError) -> String {
    let detail = said.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("{}{detail} [SQLSTATE {}]", said.message(), said.code().code())
}

/// Whether what the rows hold is to blame: two rows that only the database takes for one (a statement cannot write a
/// row twice; alone each is taken), data exceptions, violated constraints, a check of a view, and what a trigger
/// raises. Whatever else a server refuses, it refuses for every row, and leaving rows out would lose them.
fn is_of_rows(code: &SqlState) -> bool {
    ["21", "22", "23", "44", "P0"].iter().any(|class| code.code().starts_with(class))
}

/// Whether the same statement may work later.
fn is_passing(code: &SqlState) -> bool {
    // Connection, resources (too many connections, disk full), operator's intervention (shutdown, restart).
    let classes = ["08", "53", "57"];
    let codes = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // What was the primary is a standby now.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    classes.iter().any(|class| code.code().starts_with(class)) || codes.contains(code)
}

#[cfg(test)]
mod tests {
    use millrace_plugin_host::Value;

    use super::*;

    #[test]
    fn a_connection_string_is_checked_and_its_password_never_told() {
        let database =
            PostgresDatabase::new("postgres://u:hunter2@db.example:5433/shop?sslmode=require").unwrap();
        assert_eq!(database.config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        assert!(!format!("{database:?}").contains("hunter2"));
        for wrong in [
            "",
            "postgres://",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunt%zzer2@h:x/d",
            "host=h port=x",
            "host=h,/run/postgresql",
        ] {
            let error = PostgresDatabase::new(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunt"), "{error}");
        }
    }

    #[test]
    fn what_may_work_later_is_told_apart() {
        for passing in ["08006", "57P01", "57P03", "40001", "40P01", "53300", "53100", "55P03", "25006"] {
            assert!(is_passing(&SqlState::from_code(passing)), "{passing}");
        }
        for lasting in ["23505", "23502", "42P01", "42703", "22P02", "28P01", "3D000", "42501"] {
            assert!(!is_passing(&SqlState::from_code(lasting)), "{lasting}");
        }
        for of_rows in ["21000", "22003", "22P02", "23502", "23505", "P0001"] {
            assert!(is_of_rows(&SqlState::from_code(of_rows)), "{of_rows}");
        }
        for of_target in ["42P01", "42703", "42501", "28000", "28P01", "3D000"] {
            assert!(!is_of_rows(&SqlState::from_code(of_target)), "{of_target}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_unavailable() {
        // Nobody listens at a port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let database = PostgresDatabase::new(&format!("postgres://u:hunter2@127.0.0.1:{port}/d")).unwrap();
        let rows = vec![vec![Value::Int(1)]];
        let upsert = Upsert { table: "t".into(), columns: vec!["a".into()], key: vec![], rows };
        let error = database.upsert(upsert.clone()).await.unwrap_err();
        let DatabaseError::Unavailable(message) = error else { panic!("{error:?}") };
        assert!(!message.contains("hunter2"), "{message}");
        // Without rows nobody is asked.
        assert_eq!(database.upsert(Upsert { rows: vec![], ..upsert }).await, Ok(0));
    }
}
