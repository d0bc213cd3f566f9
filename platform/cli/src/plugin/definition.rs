//! What a deployment shall be: from a file, from arguments, or from both, of which the arguments win.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use millrace_protocol::plugins::{Definition, FailurePolicy, Kind, LogLevel, ModuleDigest, StartPosition};
use serde_json::{Map, Value, json};

use super::build::read_or_build;
use super::module::LocalModule;
use super::policy::{parse_failure, parse_start};
use super::settings::SettingsArgs;

#[derive(Args, Debug, Default)]
#[group(id = "what", required = true, multiple = true, args = ["module", "digest", "file"])]
pub struct DefinitionArgs {
    /// The module (.wasm), or the directory of a project, which is built first
    #[arg(value_name = "MODULE|DIR", conflicts_with = "digest")]
    pub module: Option<PathBuf>,
    /// A module that was uploaded before, by its SHA-256
    #[arg(long, value_name = "SHA-256")]
    pub digest: Option<ModuleDigest>,
    /// A definition in TOML or JSON; `module` is in it a path beside the file, or a SHA-256
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The input topic; for a partitioner, the topic that it serves
    #[arg(long, value_name = "NAME", required_unless_present = "file")]
    pub topic: Option<String>,
    /// An output topic of a transform; may be repeated, and the order is that of the plugin's outputs
    #[arg(long, value_name = "NAME")]
    pub to: Vec<String>,
    /// Where a new deployment begins: earliest, latest, offset:N, or time:T in milliseconds or RFC 3339 [default:
    /// latest]
    #[arg(long, value_name = "WHERE", value_parser = parse_start)]
    pub from: Option<StartPosition>,
    /// What becomes of a record that the plugin fails on: halt, skip, retry:N, retry:N:BACKOFF_MS or
    /// dead-letter:TOPIC [default: halt]
    #[arg(long, value_name = "POLICY", value_parser = parse_failure)]
    pub on_failure: Option<FailurePolicy>,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// What to deploy: the module where it is on this machine, and the definition but for what only an uploaded
/// module tells.
pub struct Prepared {
    pub module: Source,
    fields: Map<String, Value>,
}

pub enum Source {
    Local(LocalModule),
    Uploaded(ModuleDigest),
}

impl DefinitionArgs {
    /// Reads the file and the module.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        let mut fields = match &self.file {
            Some(file) => read_file(file)?,
            None => Map::new(),
        };
        let named = fields.remove("module");
        let module = match (&self.module, self.digest, named) {
            (Some(path), _, _) => Source::Local(read_or_build(path)?),
            (None, Some(digest), _) => Source::Uploaded(digest),
            (None, None, Some(named)) => source(&named, self.file.as_deref().unwrap_or(Path::new(".")))?,
            (None, None, None) => bail!(
                "the definition names no module: write `module` into it, or name the .wasm file as an argument"
            ),
        };
        Ok(Prepared { module, fields })
    }

    /// The definition of a module of this digest and kind.
    pub fn definition(
        &self,
        mut fields: Map<String, Value>,
        module: ModuleDigest,
        kind: Kind,
    ) -> anyhow::Result<Definition> {
        if let Some(stated) = fields.get("kind").filter(|stated| **stated != json!(kind)) {
            bail!("the definition says that the module is a {stated}, and it is a {kind}: leave `kind` out");
        }
        fields.insert("module".to_owned(), json!(module));
        fields.insert("kind".to_owned(), json!(kind));
        if let Some(topic) = &self.topic {
            fields.insert("topic".to_owned(), json!(topic));
        }
        let mut definition: Definition =
            serde_json::from_value(Value::Object(fields)).context("the definition makes no sense")?;
        self.overrule(&mut definition)?;
        definition.validate()?;
        Ok(definition)
    }

    fn overrule(&self, definition: &mut Definition) -> anyhow::Result<()> {
        if !self.to.is_empty() {
            definition.outputs.clone_from(&self.to);
        }
        if let Some(start) = self.from {
            definition.start = start;
        }
        if let Some(policy) = &self.on_failure {
            definition.failure = policy.clone();
        }
        self.settings.add_config(&mut definition.config);
        self.settings.add_grants(&mut definition.grants)?;
        self.settings.add_limits(&mut definition.limits)?;
        definition.log_level = self.settings.log_level.map_or(definition.log_level, LogLevel::from);
        Ok(())
    }
}

impl Prepared {
    pub fn into_parts(self) -> (Source, Map<String, Value>) {
        (self.module, self.fields)
    }
}

/// A module as a definition's file names it.
fn source(named: &Value, file: &Path) -> anyhow::Result<Source> {
    let Some(text) = named.as_str() else { bail!("`module` in {} is no text", file.display()) };
    match text.parse() {
        Ok(digest) => Ok(Source::Uploaded(digest)),
        Err(_) => {
            let beside = file.parent().unwrap_or(Path::new("")).join(text);
            read_or_build(&beside).map(Source::Local)
        }
    }
}

fn read_file(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let context = || format!("read definition {}", file.display());
    let text = fs::read_to_string(file).with_context(context)?;
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&text).with_context(context),
        Some("toml") => toml::from_str(&text).with_context(context),
        _ => bail!("{} is neither .toml nor .json: name the definition so", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn from_file(name: &str, text: &str, arguments: DefinitionArgs) -> anyhow::Result<Definition> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        let arguments = DefinitionArgs { file: Some(file), ..arguments };
        let (module, fields) = arguments.prepare()?.into_parts();
        let Source::Uploaded(digest) = module else { panic!("it names a digest") };
        arguments.definition(fields, digest, Kind::Transform)
    }

    #[test]
    fn a_definition_comes_from_a_file_and_arguments_win() {
        let toml = format!(
            "module = '{DIGEST}'\ntopic = 'in'\noutputs = ['out']\nstart = {{ offset = 7 }}\n\
             failure = {{ dead-letter = {{ topic = 'bad' }} }}\n[config]\na = '1'\nb = '1'\n[limits]\nbusy_ms = 5\n"
        );
        let definition = from_file("d.toml", &toml, DefinitionArgs::default()).unwrap();
        assert_eq!(definition.start, StartPosition::Offset(7));
        assert_eq!(definition.dead_letter_topic(), Some("bad"));
        assert_eq!(definition.limits.busy_ms, Some(5));

        let arguments = DefinitionArgs {
            topic: Some("other".into()),
            to: vec!["x".into(), "y".into()],
            on_failure: Some(FailurePolicy::Skip),
            settings: SettingsArgs {
                config: vec![("b".into(), "2".into())],
                grant: vec!["http=example.com".into()],
                ..SettingsArgs::default()
            },
            ..DefinitionArgs::default()
        };
        let definition = from_file("d.toml", &toml, arguments).unwrap();
        assert_eq!(
            (definition.topic.as_str(), &definition.outputs[..]),
            ("other", &["x".into(), "y".into()][..])
        );
        assert_eq!((definition.config["a"].as_str(), definition.config["b"].as_str()), ("1", "2"));
        assert_eq!(definition.failure, FailurePolicy::Skip);
        assert_eq!(definition.grants.http, ["example.com"]);
    }

    #[test]
    fn a_definition_that_makes_no_sense_is_refused() {
        let refused = |name: &str, text: String| {
            format!("{:#}", from_file(name, &text, DefinitionArgs::default()).unwrap_err())
        };
        let json = |more: &str| format!(r#"{{"module":"{DIGEST}","topic":"in","outputs":["out"]{more}}}"#);
        assert!(from_file("d.json", &json(""), DefinitionArgs::default()).is_ok());
        assert!(refused("d.json", json(r#","colour":"red""#)).contains("colour"));
        assert!(refused("d.json", json(r#","kind":"sink""#)).contains("it is a transform"));
        assert!(refused("d.json", json("").replace("out\"", "in\"")).contains("also the input topic"));
        assert!(refused("d.json", json("").replace("module", "modul")).contains("names no module"));
        assert!(refused("d.json", json("").replace(DIGEST, "nothing.wasm")).contains("nothing.wasm"));
        assert!(refused("d.yaml", String::new()).contains("neither .toml nor .json"));
    }
}
