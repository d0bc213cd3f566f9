//! One broker's configuration: the file's tables as typed structs.

mod checks;
mod load;
mod settings;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_base::BrokerId;
use millrace_base::limits::SMALL_REQUESTS_SHARE;

use crate::setting::SettingError;
use crate::topic::TopicConfig;

pub use load::LoadError;
pub use settings::BROKER_SETTINGS;

/// Everything a broker is told at its start. [`BROKER_SETTINGS`] documents each field.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    pub node: NodeConfig,
    pub listen: ListenConfig,
    pub http: HttpConfig,
    pub tls: TlsConfig,
    pub log: LogConfig,
    pub topics: TopicsConfig,
    pub limits: LimitsConfig,
    pub groups: GroupsConfig,
    pub transactions: TransactionsConfig,
    /// `[topic_defaults]`: what the operator overrode, by Kafka's names.
    pub topic_overrides: BTreeMap<String, String>,
    /// The settings of a topic without overrides of its own: Kafka's defaults with `topic_overrides`.
    pub topic_defaults: TopicConfig,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub id: BrokerId,
    /// `None`: generated at the first start and kept in the data directory.
    pub cluster_id: Option<String>,
    pub data_dir: PathBuf,
    pub rack: Option<String>,
    /// How long a stopping broker lets requests finish.
    pub shutdown_timeout: Duration,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// TCP for Kafka clients and UDP for QUIC. Port 0 picks a free one.
    pub address: SocketAddr,
    /// What clients are told to connect to. `None`: the address's own, or this machine's name where that
    /// is unspecified.
    pub advertised_host: Option<String>,
    /// `None`: the port that is listened on.
    pub advertised_port: Option<u16>,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Health and metrics.
    pub address: SocketAddr,
}

/// Whether TCP connections are encrypted. QUIC ones always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpTls {
    Off,
    /// Plain and TLS on the same port.
    Allowed,
    Required,
}

/// Whether clients show a certificate of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Optional,
    Required,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Given together with `key_file`; both `None`: generated under `<data_dir>/tls`.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Signs the certificates of clients.
    pub ca_file: Option<PathBuf>,
    /// Further names and addresses of a generated certificate.
    pub names: Vec<String>,
    pub tcp: TcpTls,
    pub client_auth: ClientAuth,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The write-ahead log's files together.
    pub wal_bytes: u64,
    /// Memory for the most recent records of all partitions.
    pub tail_bytes: u64,
    /// Memory for records that are not yet on disk; producers wait beyond it.
    pub pending_bytes: u64,
    /// Room on the disk that is given up so that a full one can be emptied.
    pub reserve_bytes: u64,
    pub retention_check_interval: Duration,
    /// Partitions that are compacted at the same time.
    pub cleaner_threads: u32,
    /// Memory for the keys of what is not compacted yet, all threads together.
    pub cleaner_dedupe_buffer_bytes: u64,
    /// Bytes that compaction reads and writes a second; `None`: without a limit.
    pub cleaner_io_bytes_per_second: Option<u64>,
    pub cleaner_backoff: Duration,
}

/// `[topics]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsConfig {
    /// Partitions of a topic whose creator leaves their number to the broker.
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    /// Whether asking for an unknown topic creates it.
    pub auto_create: bool,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    pub max_connections: u32,
    /// `None`: as many as `max_connections`.
    pub max_connections_per_ip: Option<u32>,
    pub max_request_bytes: u32,
    /// Requests of one TCP connection or QUIC stream that are answered at the same time.
    pub requests_in_flight: u32,
    /// Memory for requests that are being received or answered, all connections together.
    pub request_memory_bytes: u64,
    pub idle_timeout: Duration,
    /// Largest fetch response, whatever the consumer asks for.
    pub fetch_max_bytes: u32,
    /// Incremental fetch sessions kept (KIP-227).
    pub fetch_sessions: u32,
}

/// `[groups]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    pub initial_rebalance_delay: Duration,
    /// Members of a group.
    pub max_size: u32,
    pub consumer_session_timeout: Duration,
    pub consumer_heartbeat_interval: Duration,
    /// Members of a group to which the coordinator assigns.
    pub consumer_max_size: u32,
    pub offset_metadata_max_bytes: u32,
    pub offsets_retention: Duration,
    pub offsets_retention_check_interval: Duration,
}

/// `[transactions]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionsConfig {
    pub max_timeout: Duration,
    pub timeout_check_interval: Duration,
    pub id_expiration: Duration,
    pub id_expiration_check_interval: Duration,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        let mut config = Self::unset();
        for setting in BROKER_SETTINGS {
            if setting.default.is_empty() {
                continue;
            }
            let value = setting.parse(setting.default).expect("a test parses every default of the table");
            (setting.assign)(&mut config, &value);
        }
        config.log.tail_bytes = checks::tail_bytes_for(memory_bytes());
        config.limits.request_memory_bytes = checks::request_memory_for(memory_bytes());
        config
    }
}

impl BrokerConfig {
    /// One node on this machine with embedded defaults.
    pub fn dev(data_dir: &Path, listen: SocketAddr, http: SocketAddr) -> Self {
        let mut config = Self::default();
        config.node.data_dir = data_dir.to_owned();
        config.listen.address = listen;
        config.http.address = http;
        // On a laptop less is kept back.
        config.log.reserve_bytes = 16 << 20;
        // Who tries something out is alone, and does not like to wait.
        config.groups.initial_rebalance_delay = Duration::ZERO;
        config
    }

    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        load::load(path)
    }

    /// The settings of a topic with `overrides`, on top of this broker's defaults.
    pub fn topic_config(&self, overrides: &BTreeMap<String, String>) -> Result<TopicConfig, SettingError> {
        TopicConfig::from_overrides(&self.topic_defaults, overrides)
    }

    /// What TCP connections must do. A listener that requires a certificate of every client is closed to those that
    /// could show none: plain TCP.
    pub fn tcp_tls(&self) -> TcpTls {
        match self.tls.client_auth {
            ClientAuth::Required => TcpTls::Required,
            ClientAuth::None | ClientAuth::Optional => self.tls.tcp,
        }
    }

    /// What no single setting can check.
    fn check_relations(&self) -> Result<(), SettingError> {
        let path_text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        match (path_text(&self.tls.cert_file), path_text(&self.tls.key_file)) {
            (Some(cert), None) => {
                return Err(SettingError::value("tls.cert_file", &cert, "given together with tls.key_file"));
            }
            (None, Some(key)) => {
                return Err(SettingError::value("tls.key_file", &key, "given together with tls.cert_file"));
            }
            _ => {}
        }
        if self.tls.cert_file.is_some()
            && self.tls.client_auth != ClientAuth::None
            && self.tls.ca_file.is_none()
        {
            let allowed = "none, unless tls.ca_file names the CA that signs the clients' certificates";
            return Err(SettingError::value("tls.client_auth", "optional or required", allowed));
        }
        if self.tls.client_auth == ClientAuth::Required && self.tls.tcp == TcpTls::Off {
            let allowed =
                "allowed or required while tls.client_auth is required: certificates are shown over TLS";
            return Err(SettingError::value("tls.tcp", "off", allowed));
        }
        let GroupsConfig { session_timeout_min, session_timeout_max, .. } = &self.groups;
        if session_timeout_min > session_timeout_max {
            let value = format!("{}ms", session_timeout_min.as_millis());
            let allowed =
                format!("at most groups.session_timeout_max, which is {}ms", session_timeout_max.as_millis());
            return Err(SettingError::value("groups.session_timeout_min", &value, allowed));
        }
        let memory = self.limits.request_memory_bytes;
        if u64::from(self.limits.max_request_bytes) > memory - memory / SMALL_REQUESTS_SHARE as u64 {
            let allowed = format!(
                "at least limits.max_request_bytes, which is {}, besides the eighth that is kept for small requests",
                self.limits.max_request_bytes
            );
            return Err(SettingError::value("limits.request_memory_bytes", &memory.to_string(), allowed));
        }
        Ok(())
    }

    /// A value whose every field the table overwrites or leaves at "not given".
    fn unset() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            node: NodeConfig {
                id: BrokerId(0),
                cluster_id: None,
                data_dir: PathBuf::new(),
                rack: None,
                shutdown_timeout: Duration::ZERO,
            },
            listen: ListenConfig { address: anywhere, advertised_host: None, advertised_port: None },
            http: HttpConfig { address: anywhere },
            tls: TlsConfig {
                cert_file: None,
                key_file: None,
                ca_file: None,
                names: Vec::new(),
                tcp: TcpTls::Allowed,
                client_auth: ClientAuth::None,
            },
            log: LogConfig {
                wal_bytes: 0,
                tail_bytes: 0,
                pending_bytes: 0,
                reserve_bytes: 0,
                retention_check_interval: Duration::ZERO,
                cleaner_threads: 0,
                cleaner_dedupe_buffer_bytes: 0,
                cleaner_io_bytes_per_second: None,
                cleaner_backoff: Duration::ZERO,
            },
            topics: TopicsConfig { num_partitions: 0, default_replication_factor: 0, auto_create: false },
            limits: LimitsConfig {
                max_connections: 0,
                max_connections_per_ip: None,
                max_request_bytes: 0,
                requests_in_flight: 0,
                request_memory_bytes: 0,
                idle_timeout: Duration::ZERO,
                fetch_max_bytes: 0,
                fetch_sessions: 0,
            },
            groups: GroupsConfig {
                session_timeout_min: Duration::ZERO,
                session_timeout_max: Duration::ZERO,
                initial_rebalance_delay: Duration::ZERO,
                max_size: 0,
                consumer_session_timeout: Duration::ZERO,
                consumer_heartbeat_interval: Duration::ZERO,
                consumer_max_size: 0,
                offset_metadata_max_bytes: 0,
                offsets_retention: Duration::ZERO,
                offsets_retention_check_interval: Duration::ZERO,
            },
            transactions: TransactionsConfig {
                max_timeout: Duration::ZERO,
                timeout_check_interval: Duration::ZERO,
                id_expiration: Duration::ZERO,
                id_expiration_check_interval: Duration::ZERO,
            },
            topic_overrides: BTreeMap::new(),
            topic_defaults: TopicConfig::default(),
        }
    }
}

/// This machine's memory; where the system does not say, a modest machine's.
fn memory_bytes() -> u64 {
    const MODEST: u64 = 4 << 30;
    let kibibytes = || -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()
    };
    kibibytes().map_or(MODEST, |kibibytes| kibibytes.saturating_mul(1024))
}
