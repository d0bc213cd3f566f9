//! Where a database's servers are: the addresses of their names, of which a grant by name opens not all.

use std::io::ErrorKind;

use millrace_plugin_host::{DatabaseError, resolve};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

const PORT: u16 = 5432;

/// Whether there are servers, and either all of them by name or number, or all of them by a socket's path: the driver
/// takes addresses for all servers or for none.
pub(super) fn can_be_placed(config: &Config) -> bool {
    let hosts = config.get_hosts();
    let paths = hosts.iter().filter(|host| is_path(host)).count();
    paths == 0 && !(hosts.is_empty() && config.get_hostaddrs().is_empty())
        || paths == hosts.len() && paths > 0
}

/// The same database with the address of each of its servers. A server without one is left out while there is
/// another.
pub(super) async fn placed(config: &Config) -> Result<Config, DatabaseError> {
    let hosts = config.get_hosts();
    if !config.get_hostaddrs().is_empty() || hosts.iter().any(is_path) {
        // The operator has named the very addresses.
        return Ok(config.clone());
    }
    let mut placed = without_servers(config);
    let mut failure = None;
    for (index, host) in hosts.iter().enumerate() {
        let Host::Tcp(name) = host else { continue };
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        if let Ok(address) = name.parse() {
            placed.host(name).hostaddr(address).port(port);
            continue;
        }
        match resolve(name).await {
            Ok(found) => found.into_iter().for_each(|address| {
                placed.host(name).hostaddr(address.ip()).port(port);
            }),
            Err(error) => {
                let why = format!("find the server `{name}`: {error}");
                failure = Some(match error.kind() {
                    ErrorKind::PermissionDenied => DatabaseError::Target(why),
                    _ => DatabaseError::Unavailable(why),
                });
            }
        }
    }
    match failure {
        Some(failure) if placed.get_hosts().is_empty() => Err(failure),
        _ => Ok(placed),
    }
}

const fn is_path(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

/// The driver has no way to take servers out.
fn without_servers(config: &Config) -> Config {
    let mut same = Config::new();
    if let Some(user) = config.get_user() {
        same.user(user);
    }
    if let Some(password) = config.get_password() {
        same.password(password);
    }
    if let Some(name) = config.get_dbname() {
        same.dbname(name);
    }
    if let Some(options) = config.get_options() {
        same.options(options);
    }
    if let Some(name) = config.get_application_name() {
        same.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        same.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        same.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        same.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        same.keepalives_retries(retries);
    }
    same.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn addresses(connection: &str) -> Result<Vec<String>, DatabaseError> {
        let placed = placed(&connection.parse().unwrap()).await?;
        let of_each = placed.get_hostaddrs().iter().zip(placed.get_ports());
        Ok(of_each.map(|(address, port)| format!("{address}:{port}")).collect())
    }

    #[tokio::test]
    async fn a_name_leads_where_a_grant_by_name_may_lead() {
        let by_number = addresses("postgres://u@127.0.0.1:7,[::1]:8/d").await;
        assert_eq!(by_number, Ok(vec!["127.0.0.1:7".to_owned(), "::1:8".to_owned()]));
        let here = addresses("postgres://u@localhost/d").await.unwrap();
        assert!(here.contains(&"127.0.0.1:5432".to_owned()), "{here:?}");
        // A number to the system's resolver, and a name to us.
        let closed = addresses("postgres://u@2130706433/d").await;
        let Err(DatabaseError::Target(reason)) = closed else { panic!("{closed:?}") };
        assert!(reason.contains("leads to 127.0.0.1"), "{reason}");
        // One that is closed does not stand in the way of another.
        assert_eq!(addresses("host=2130706433,10.0.0.7 user=u").await, Ok(vec!["10.0.0.7:5432".to_owned()]));
    }

    #[test]
    fn nothing_but_the_servers_is_changed() {
        let text = "host=h port=1 user=u password=p dbname=d options=-c application_name=a sslmode=require \
                    connect_timeout=3 tcp_user_timeout=4 keepalives_idle=5 keepalives_interval=6 \
                    keepalives_retries=7 target_session_attrs=read-write channel_binding=disable \
                    load_balance_hosts=random";
        let config: Config = text.parse().unwrap();
        let mut same = without_servers(&config);
        assert!(same.get_hosts().is_empty());
        same.host("h").port(1);
        assert_eq!(same, config);
    }
}
