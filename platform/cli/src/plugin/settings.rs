//! What a deployment is given besides its module, as arguments: configuration, grants, limits, log level.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use millrace_config::units;
use millrace_plugin_host::HttpTarget;
use millrace_protocol::plugins::{Capability, GrantDefinitions, LimitOverrides, LogLevel, SecretText};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevelArg {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<LogLevelArg> for LogLevel {
    fn from(level: LogLevelArg) -> Self {
        match level {
            LogLevelArg::Trace => Self::Trace,
            LogLevelArg::Debug => Self::Debug,
            LogLevelArg::Info => Self::Info,
            LogLevelArg::Warn => Self::Warn,
            LogLevelArg::Error => Self::Error,
        }
    }
}

#[derive(Args, Debug, Default)]
pub struct SettingsArgs {
    /// A setting of the plugin's own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub config: Vec<(String, String)>,
    /// What the plugin may reach: `http=HOST`, `secret=NAME=VALUE`, `secret-env=NAME=VARIABLE`,
    /// `postgres=NAME=URL` or `postgres-env=NAME=VARIABLE`; `http`, `secrets` or `postgres` alone lets it import
    /// that and find nothing; may be repeated
    // Read in `grants`: what is refused here would be printed with the secret in it.
    #[arg(long, value_name = "WHAT")]
    pub grant: Vec<String>,
    /// A limit of a call: `busy_ms`, `elapsed_ms`, `memory_bytes`, `output_bytes`, `output_records`,
    /// `log_lines_per_second` or `retries`, such as busy_ms=2s or memory_bytes=64MiB; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub limit: Vec<(Limit, u64)>,
    /// Log lines below it are not kept [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevelArg>,
}

impl SettingsArgs {
    /// Adds what was given to `config`.
    pub fn add_config(&self, config: &mut BTreeMap<String, String>) {
        config.extend(self.config.iter().cloned());
    }

    /// Adds what was given to `limits`.
    pub fn add_limits(&self, limits: &mut LimitOverrides) -> anyhow::Result<()> {
        for (limit, value) in &self.limit {
            limit.set(*value, limits)?;
        }
        Ok(())
    }

    /// Adds what was given to `grants`. Errors never show a secret's value.
    pub fn add_grants(&self, grants: &mut GrantDefinitions) -> anyhow::Result<()> {
        self.grant.iter().try_for_each(|text| add_grant(text, grants))
    }
}

fn add_grant(text: &str, grants: &mut GrantDefinitions) -> anyhow::Result<()> {
    if let Some(capability) = Capability::ALL.into_iter().find(|capability| capability.name() == text) {
        grants.allowed.insert(capability);
        return Ok(());
    }
    let (what, rest) = text.split_once('=').unwrap_or((text, ""));
    let named = || match rest.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value)),
        _ => bail!("--grant {what}=... needs a name and a value: {what}=NAME=VALUE"),
    };
    let from_environment = || -> anyhow::Result<_> {
        let (name, variable) = named()?;
        let value = env::var(variable).with_context(|| {
            format!("--grant {what}={name}={variable}: the environment variable {variable} cannot be read")
        })?;
        Ok((name, value))
    };
    let (granted, (name, value)) = match what {
        "http" => {
            let target = rest.parse::<HttpTarget>().context("--grant http=HOST")?.to_string();
            if !grants.http.contains(&target) {
                grants.http.push(target);
            }
            return Ok(());
        }
        "secret" => (&mut grants.secrets, named().map(|(name, value)| (name, value.to_owned()))?),
        "secret-env" => (&mut grants.secrets, from_environment()?),
        "postgres" => (&mut grants.postgres, named().map(|(name, value)| (name, value.to_owned()))?),
        "postgres-env" => (&mut grants.postgres, from_environment()?),
        _ => bail!(
            "there is nothing to grant that is called '{what}': expected http=HOST, secret=NAME=VALUE, \
             secret-env=NAME=VARIABLE, postgres=NAME=URL or postgres-env=NAME=VARIABLE; or http, secrets or \
             postgres alone, for a plugin that imports it and is not to find anything"
        ),
    };
    granted.insert(name, SecretText(value));
    Ok(())
}

/// A field of [`LimitOverrides`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    BusyMs,
    ElapsedMs,
    MemoryBytes,
    OutputBytes,
    OutputRecords,
    LogLinesPerSecond,
    Retries,
}

impl Limit {
    const ALL: [(&'static str, Self); 7] = [
        ("busy_ms", Self::BusyMs),
        ("elapsed_ms", Self::ElapsedMs),
        ("memory_bytes", Self::MemoryBytes),
        ("output_bytes", Self::OutputBytes),
        ("output_records", Self::OutputRecords),
        ("log_lines_per_second", Self::LogLinesPerSecond),
        ("retries", Self::Retries),
    ];

    fn set(self, value: u64, limits: &mut LimitOverrides) -> anyhow::Result<()> {
        let field = match self {
            Self::BusyMs => &mut limits.busy_ms,
            Self::ElapsedMs => &mut limits.elapsed_ms,
            Self::MemoryBytes => &mut limits.memory_bytes,
            Self::OutputBytes => &mut limits.output_bytes,
            Self::OutputRecords => &mut limits.output_records,
            Self::LogLinesPerSecond => {
                limits.log_lines_per_second = Some(count("log_lines_per_second", value)?);
                return Ok(());
            }
            Self::Retries => {
                limits.retries = Some(count("retries", value)?);
                return Ok(());
            }
        };
        *field = Some(value);
        Ok(())
    }
}

fn count(name: &str, value: u64) -> anyhow::Result<u32> {
    u32::try_from(value).with_context(|| format!("limits.{name} is {value}, and must be 0 to 1000000"))
}

fn parse_limit(text: &str) -> Result<(Limit, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let wanted = name.replace('-', "_");
    let (_, limit) = Limit::ALL.into_iter().find(|(known, _)| *known == wanted).ok_or_else(|| {
        let known: Vec<&str> = Limit::ALL.iter().map(|(name, _)| *name).collect();
        format!("there is no limit '{name}': expected one of {}", known.join(", "))
    })?;
    let (number, example) = match limit {
        Limit::BusyMs | Limit::ElapsedMs => {
            (units::parse_duration_ms(value), "a duration such as 500ms or 2s")
        }
        Limit::MemoryBytes | Limit::OutputBytes => (units::parse_size(value), "a size such as 4096 or 64MiB"),
        Limit::OutputRecords | Limit::LogLinesPerSecond | Limit::Retries => {
            (value.parse().ok(), "a whole number")
        }
    };
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.map(|number| (limit, number)).ok_or_else(|| format!("expected {example}"))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(texts: &[&str]) -> anyhow::Result<GrantDefinitions> {
        let mut grants = GrantDefinitions::default();
        texts.iter().try_for_each(|text| add_grant(text, &mut grants)).map(|()| grants)
    }

    #[test]
    fn grants_are_read_by_what_they_are_of() {
        let grants = granted(&[
            "http=https://API.example.com:8443",
            "http=https://api.example.com:8443",
            "http=*.example.org",
            "secret=token=a=b",
            "secret-env=path=PATH",
            "postgres=main=postgres://u:p@h/d?x=y",
            "secrets",
        ]);
        let grants = grants.unwrap();
        assert!(grants.allowed.into_iter().eq([Capability::Secrets]));
        assert_eq!(grants.http, ["https://api.example.com:8443", "*.example.org"]);
        assert_eq!(grants.secrets["token"].0, "a=b");
        assert_eq!(grants.secrets["path"].0, env::var("PATH").unwrap());
        assert_eq!(grants.postgres["main"].0, "postgres://u:p@h/d?x=y");
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_refused_and_tells_no_secret() {
        for (text, message) in [
            ("disk=x", "nothing to grant that is called 'disk'"),
            ("http=", "names no host"),
            ("http=a/b", "names no host"),
            ("secret=hunter2", "secret=NAME=VALUE"),
            ("secret==hunter2", "secret=NAME=VALUE"),
            ("secret-env=token=NO_SUCH_VARIABLE_HERE", "NO_SUCH_VARIABLE_HERE cannot be read"),
            ("postgres=hunter2", "postgres=NAME=VALUE"),
        ] {
            let error = format!("{:#}", granted(&[text]).unwrap_err());
            assert!(error.contains(message) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn limits_have_units() {
        let settings = SettingsArgs {
            limit: [
                "busy_ms=2s",
                "memory-bytes=64MiB",
                "output_records=10",
                "log_lines_per_second=0",
                "retries=3",
            ]
            .map(|text| parse_limit(text).unwrap())
            .to_vec(),
            ..SettingsArgs::default()
        };
        let mut limits = LimitOverrides::default();
        settings.add_limits(&mut limits).unwrap();
        let expected = LimitOverrides {
            busy_ms: Some(2000),
            memory_bytes: Some(64 << 20),
            output_records: Some(10),
            log_lines_per_second: Some(0),
            retries: Some(3),
            ..LimitOverrides::default()
        };
        assert_eq!(limits, expected);
        assert!(parse_limit("busy=1").unwrap_err().contains("busy_ms, elapsed_ms"));
        assert!(parse_limit("busy_ms=soon").unwrap_err().contains("500ms"));
        assert!(parse_limit("output_records=-1").unwrap_err().contains("whole number"));
    }
}
