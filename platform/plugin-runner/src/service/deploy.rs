//! Deploying: everything is checked that can be known before the first record.

use millrace_metadata::{Command, DeploymentVersion, Image, apply};
use millrace_plugin_host::{LoadError, ModuleError, ModuleInfo};
use millrace_protocol::plugins::{
    Capability, Definition, DefinitionError, ManageReply, PluginError, check_deployment_name,
};

use super::{Service, known, no_such_module, rejected};
use crate::secrets::are_in_clear;
use crate::spec::spec;

/// Begins the names of topics that belong to the platform.
const INTERNAL_PREFIX: &str = "__";

impl Service {
    pub(super) async fn deploy(
        &self,
        name: String,
        mut definition: Box<Definition>,
        validate_only: bool,
    ) -> Result<ManageReply, PluginError> {
        let invalid = |error: DefinitionError| PluginError::invalid(error.to_string());
        check_deployment_name(&name).map_err(invalid)?;
        definition.validate().map_err(invalid)?;
        check_topics(&self.parts.metadata.image(), &definition)?;
        let _pin = self.pins.pin(definition.module);
        // From here on as the metadata will have it, so that what is checked is what will run.
        definition.grants = self.parts.grant_source.seal(&name, &definition.grants)?;
        self.check_module(&name, &definition).await?;

        let created_ms = self.parts.clock.now_ms();
        let command = Command::PutDeployment { name: name.clone(), definition, created_ms };
        if validate_only {
            return self.trial(&name, &command);
        }
        self.change(&name, command).await
    }

    /// Names the deployments from before secrets were sealed.
    pub(crate) fn warn_of_clear_secrets(&self) {
        for deployment in self.parts.metadata.image().deployments() {
            if are_in_clear(&deployment.version().definition.grants) {
                tracing::warn!(
                    deployment = %deployment.name,
                    "secrets of a deployment stand in clear in the metadata: change them where they are used, and \
                     deploy again, which seals them"
                );
            }
        }
    }

    /// Whether the module is here, can be run, and asks for nothing but what is granted.
    async fn check_module(&self, name: &str, definition: &Definition) -> Result<(), PluginError> {
        let version = DeploymentVersion { number: 0, created_ms: 0, definition: definition.clone() };
        let spec = spec(name, &version, None, &self.parts.grant_source)?;
        let host = (self.parts.host)()?;
        let info = host.prepare(definition.module).await.map_err(|error| not_loaded(&error))?;
        check_kind(definition, &info)?;
        spec.grants.check(&info).map_err(|error| not_granted(&error))
    }

    /// The deployment as it would be, or the reason why not.
    fn trial(&self, name: &str, command: &Command) -> Result<ManageReply, PluginError> {
        let mut image = Image::clone(&self.parts.metadata.image());
        let index = image.applied_index().saturating_add(1);
        apply::apply(&mut image, index, command).map_err(|rejection| rejected(&rejection))?;
        let description = self.description(known(&image, name)?);
        Ok(ManageReply::Deployment(Box::new(description)))
    }
}

fn check_topics(image: &Image, definition: &Definition) -> Result<(), PluginError> {
    let exists = |topic: &str, role: &str| match image.topic_by_name(topic) {
        Some(_) => Ok(()),
        None => Err(no_such_topic(topic, role)),
    };
    let written = |topic: &str, role: &str| {
        if topic.starts_with(INTERNAL_PREFIX) {
            return Err(PluginError::invalid(format!(
                "topic '{topic}' belongs to the platform and cannot be the {role} topic; name one that does \
                 not begin with '{INTERNAL_PREFIX}'"
            )));
        }
        exists(topic, role)
    };
    exists(&definition.topic, "input")?;
    definition.outputs.iter().try_for_each(|topic| written(topic, "output"))?;
    definition.dead_letter_topic().map_or(Ok(()), |topic| written(topic, "dead-letter"))
}

pub(super) fn no_such_topic(topic: &str, role: &str) -> PluginError {
    PluginError::not_found(format!(
        "the {role} topic '{topic}' does not exist; make it first: `millrace topic create {topic}`"
    ))
}

fn check_kind(definition: &Definition, info: &ModuleInfo) -> Result<(), PluginError> {
    if definition.kind == info.kind {
        return Ok(());
    }
    Err(PluginError::invalid(format!(
        "module {} is a {}, and the definition says that it is a {}; correct its `kind` or name another module",
        info.digest, info.kind, definition.kind
    )))
}

fn not_loaded(error: &LoadError) -> PluginError {
    match error {
        LoadError::NoSuchModule { digest } => no_such_module(*digest),
        LoadError::Read { .. } => PluginError::unavailable(error.to_string()),
        other => PluginError::invalid(other.to_string()),
    }
}

/// The host's words, and how it is granted.
fn not_granted(error: &ModuleError) -> PluginError {
    let how = match error {
        ModuleError::NotGranted { capability: Capability::Http, .. } => {
            ": `--grant http=HOST`, or `grants.http` of the definition"
        }
        ModuleError::NotGranted { capability: Capability::Secrets, .. } => {
            ": `--grant secret=NAME=VALUE`, or `grants.secrets` of the definition"
        }
        ModuleError::NotGranted { capability: Capability::Postgres, .. } => {
            ": `--grant postgres=NAME=URL`, or `grants.postgres` of the definition"
        }
        _ => "",
    };
    PluginError::invalid(format!("{error}{how}"))
}
