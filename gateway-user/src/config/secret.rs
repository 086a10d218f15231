//! Where a secret of a `credential` is from: a file, the environment, or a store of AWS's.

use std::{path::PathBuf, time::Duration};

use super::{
    reader::{Faults, Section},
    value,
};

/// Where a secret is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, read anew when it changes.
    File(PathBuf),
    /// An environment variable of the gateway's, read when it starts.
    Environment(String),
    /// AWS Secrets Manager.
    SecretsManager {
        /// The secret's name or ARN.
        id: String,
        /// The member that is the secret, where what is kept is a JSON object.
        json_key: Option<String>,
        /// Its region; the AWS chain's when absent.
        region: Option<String>,
        /// How often it is asked for anew.
        refresh: Duration,
    },
    /// AWS Systems Manager Parameter Store; decrypted.
    Parameter {
        /// The parameter's name or ARN.
        name: String,
        /// Its region; the AWS chain's when absent.
        region: Option<String>,
        /// How often it is asked for anew.
        refresh: Duration,
    },
}

/// Where a secret is from: one of four keys, and what belongs to it.
pub(super) fn read(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<SecretSource> {
    const SOURCES: [&str; 4] = ["file", "env", "secretsmanager", "parameter"];
    let file = section.path(faults, "file").map(SecretSource::File);
    let env = section.parsed(faults, "env", variable).map(SecretSource::Environment);
    let (json_key, region) = (section.text(faults, "json_key"), section.text(faults, "region"));
    let kept = section.text(faults, "secretsmanager");
    let refresh = section.parsed(faults, "refresh", refresh).unwrap_or(Duration::from_secs(300));
    let kept = kept.map(|id| SecretSource::SecretsManager { id, json_key: json_key.clone(), region: region.clone(), refresh });
    let parameter = section.text(faults, "parameter").map(|name| SecretSource::Parameter { name, region, refresh });
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
    let names = "`file`, `env`, `secretsmanager` or `parameter`";
    match given[..] {
        [] => faults.add(section.span(), &section.named("file"), format!("is missing: the secret's source, one of {names}")),
        [source] => {
            const STORES: &str = "`secretsmanager` or `parameter`";
            let (keeps_json, is_stored) = (source == "secretsmanager", matches!(source, "secretsmanager" | "parameter"));
            for (key, fits, of) in
                [("json_key", keeps_json, "`secretsmanager`"), ("region", is_stored, STORES), ("refresh", is_stored, STORES)]
            {
                if section.has(key) && !fits {
                    faults.add(section.span_of(key), &section.named(key), format!("belongs to {of}, and this secret is from `{source}`"));
                }
            }
        }
        [_, second, ..] => {
            faults.add(section.span_of(second), &section.named(second), format!("a secret has one source: expected one of {names}"));
        }
    }
    file.or(env).or(kept).or(parameter)
}

fn variable(text: &str) -> Result<String, String> {
    let is_name = !text.contains(['=', '\0']);
    if is_name { Ok(text.to_owned()) } else { Err(format!("expected the name of an environment variable, got \"{text}\"")) }
}

fn refresh(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        duration if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&duration) => Ok(duration),
        _ => Err(format!("expected a time from \"1s\" to \"1h\", got \"{text}\"")),
    }
}
