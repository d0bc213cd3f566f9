//! A deployment's definition, as the plugin host takes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_metadata::DeploymentVersion;
use millrace_plugin_host::limits::MEMORY_BYTES_MAX;
use millrace_plugin_host::{CallLimits, Database, DeploymentSpec, Grants, LogLevel, Secret};
use millrace_protocol::plugins::{self, Definition, GrantDefinitions, LimitOverrides, PluginError};
use parking_lot::Mutex;

use crate::{PostgresDatabase, Secrets};

/// What grants are made of: the key that opens sealed secrets, and the databases that deployments are granted, of
/// which those with the same connection string share a connection. One that no deployment has any more is closed.
pub struct GrantSource {
    secrets: Arc<Secrets>,
    databases: Mutex<HashMap<String, Weak<PostgresDatabase>>>,
}

impl GrantSource {
    pub fn new(secrets: impl Into<Arc<Secrets>>) -> Self {
        Self { secrets: secrets.into(), databases: Mutex::default() }
    }

    /// The grants as the metadata may have them.
    pub(crate) fn seal(
        &self,
        name: &str,
        grants: &GrantDefinitions,
    ) -> Result<GrantDefinitions, PluginError> {
        self.secrets.seal(name, grants).map_err(|error| PluginError::unavailable(error.to_string()))
    }

    /// The database that the plugin calls `name`.
    fn database(&self, name: &str, connection: &str) -> Result<Arc<PostgresDatabase>, PluginError> {
        let mut databases = self.databases.lock();
        if let Some(known) = databases.get(connection).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let database = PostgresDatabase::new(connection)
            .map_err(|error| PluginError::invalid(format!("grants.postgres.{name}: {error}")))?;
        let database = Arc::new(database);
        databases.retain(|_, database| database.strong_count() > 0);
        databases.insert(connection.to_owned(), Arc::downgrade(&database));
        Ok(database)
    }
}

/// What the host needs to know to run a version of the deployment `name`. `block_bytes_max` is what the output
/// topics allow for the records of one batch, the host's default if they do not matter.
pub fn spec(
    name: &str,
    version: &DeploymentVersion,
    block_bytes_max: Option<usize>,
    source: &GrantSource,
) -> Result<DeploymentSpec, PluginError> {
    let Definition { module, kind, topic, outputs, config, grants: granted, limits: overrides, .. } =
        &version.definition;
    let mut limits = limits(overrides);
    limits.block_bytes = block_bytes_max.unwrap_or(limits.block_bytes);
    Ok(DeploymentSpec {
        name: name.to_owned(),
        version: version.number,
        module: *module,
        kind: *kind,
        topic: topic.clone(),
        outputs: outputs.clone(),
        config: config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        grants: grants(name, granted, source)?,
        limits,
        log_level: log_level(version.definition.log_level),
    })
}

fn grants(name: &str, granted: &GrantDefinitions, source: &GrantSource) -> Result<Grants, PluginError> {
    let granted = source.secrets.open(name, granted);
    let granted = granted.map_err(|error| PluginError::unavailable(error.to_string()))?;
    let http = granted.http.iter().map(|target| target.parse());
    let http = http.collect::<Result<_, _>>();
    let secrets = granted.secrets.iter().map(|(name, value)| (name.clone(), Secret::new(value.0.clone())));
    let mut postgres: BTreeMap<String, Arc<dyn Database>> = BTreeMap::new();
    for (name, connection) in &granted.postgres {
        postgres.insert(name.clone(), source.database(name, &connection.0)?);
    }
    Ok(Grants {
        http: http.map_err(|error| PluginError::invalid(format!("grants.http: {error}")))?,
        secrets: secrets.collect(),
        postgres,
        allowed: granted.allowed.clone(),
    })
}

fn limits(overrides: &LimitOverrides) -> CallLimits {
    let defaults = CallLimits::default();
    let size = |value: Option<u64>, default: usize| {
        value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    CallLimits {
        busy: overrides.busy_ms.map_or(defaults.busy, Duration::from_millis),
        elapsed: overrides.elapsed_ms.map_or(defaults.elapsed, Duration::from_millis),
        memory_bytes: size(overrides.memory_bytes, defaults.memory_bytes).min(MEMORY_BYTES_MAX),
        output_bytes: size(overrides.output_bytes, defaults.output_bytes),
        output_records: overrides.output_records.unwrap_or(defaults.output_records),
        log_lines_per_second: overrides.log_lines_per_second.unwrap_or(defaults.log_lines_per_second),
        ..defaults
    }
}

const fn log_level(level: plugins::LogLevel) -> LogLevel {
    match level {
        plugins::LogLevel::Trace => LogLevel::Trace,
        plugins::LogLevel::Debug => LogLevel::Debug,
        plugins::LogLevel::Info => LogLevel::Info,
        plugins::LogLevel::Warn => LogLevel::Warn,
        plugins::LogLevel::Error => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use millrace_plugin_host::{Capability, Kind, ModuleDigest};
    use millrace_protocol::plugins::{ErrorKind, SecretText};

    use super::*;

    fn version(change: impl FnOnce(&mut Definition)) -> DeploymentVersion {
        let json = serde_json::json!({
            "module": ModuleDigest::of(b"m"), "kind": "sink", "topic": "orders", "log_level": "warn",
        });
        let mut definition: Definition = serde_json::from_value(json).unwrap();
        change(&mut definition);
        DeploymentVersion { number: 4, created_ms: 0, definition }
    }

    fn source() -> GrantSource {
        GrantSource::new(Secrets::new("/nowhere".into()))
    }

    #[test]
    fn a_definition_says_what_the_host_runs() {
        let source = source();
        let secret = |text: &str| SecretText(text.to_owned());
        let version = version(|definition| {
            definition.config.insert("colour".into(), "red".into());
            definition.grants.http.push("https://api.example.com".into());
            definition.grants.secrets.insert("token".into(), secret("hunter2"));
            definition.grants.postgres.insert("main".into(), secret("postgres://u:p@h/d"));
            definition.limits.busy_ms = Some(5);
            definition.limits.memory_bytes = Some(u64::MAX);
        });
        let spec = spec("ship", &version, Some(123), &source).unwrap();
        assert_eq!((spec.name.as_str(), spec.version, spec.kind), ("ship", 4, Kind::Sink));
        assert_eq!(spec.config, [("colour".to_owned(), "red".to_owned())]);
        assert!(Capability::ALL.into_iter().all(|capability| spec.grants.grants(capability)));
        assert_eq!(spec.limits.busy, Duration::from_millis(5));
        assert_eq!(spec.limits.elapsed, CallLimits::default().elapsed);
        assert_eq!((spec.limits.memory_bytes, spec.limits.block_bytes), (MEMORY_BYTES_MAX, 123));
        assert_eq!(spec.log_level, LogLevel::Warn);
    }

    #[test]
    fn deployments_with_the_same_database_share_it() {
        let source = source();
        let first = source.database("main", "postgres://u:p@h/d").unwrap();
        assert!(Arc::ptr_eq(&first, &source.database("other", "postgres://u:p@h/d").unwrap()));
        assert!(!Arc::ptr_eq(&first, &source.database("main", "postgres://u:p@h/e").unwrap()));
        drop(first);
        let _other = source.database("main", "postgres://u:p@h/f").unwrap();
        assert_eq!(source.databases.lock().len(), 1);
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_named() {
        let refused = |change: fn(&mut Definition)| {
            let error = spec("ship", &version(change), None, &source()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            error.message
        };
        assert!(refused(|d| d.grants.http.push("ftp://a".into())).contains("`ftp://a`"));
        let message = refused(|d| {
            d.grants.postgres.insert("main".into(), SecretText("mysql://u:hunter2@h".into()));
        });
        assert!(message.contains("grants.postgres.main") && !message.contains("hunter2"), "{message}");
    }
}
