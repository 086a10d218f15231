//! Where a secret is from: a file, the environment, or a store of AWS's.

use std::{
    convert::Infallible,
    env,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{
    CredentialError, FileProblem, Label, Problem, Secret, SetupError,
    secret::MOST,
    slot::Slot,
    store::{Kind, Store},
};
use crate::{config::SecretSource, outbound::Outbound, tls::Kept};

/// Where a secret is from, and what it gave last.
pub(super) struct Source {
    label: Label,
    from: From,
}

enum From {
    /// It does not change while the gateway runs.
    Environment(Secret),
    File {
        path: PathBuf,
        kept: Kept<Result<Secret, FileProblem>>,
    },
    Store {
        store: Arc<Store>,
        slot: Arc<Slot<Secret>>,
        runtime: Handle,
    },
}

impl Source {
    /// Reads what is on this host; stores are asked on the runtime, later.
    ///
    /// # Errors
    /// [`SetupError`]
    pub(super) fn new(server: &Arc<str>, config: &SecretSource, outbound: &Outbound, runtime: &Handle) -> Result<Self, SetupError> {
        let label = |asked: String| Label { server: server.clone(), asked: asked.into() };
        let stored = |label: Label, kind: Kind, region: &Option<String>, refresh: Duration| {
            let slot = Slot::of_secret(&label);
            let store = Arc::new(Store::new(label.clone(), kind, region.clone(), refresh, outbound.clone()));
            Source { label, from: From::Store { store, slot, runtime: runtime.clone() } }
        };
        Ok(match config {
            SecretSource::File(path) => {
                let failed = |problem| SetupError::File { server: server.clone(), path: path.clone(), problem };
                let kept = Kept::new(vec![path.clone()], || read(path).map(Ok)).map_err(failed)?;
                // Whoever calls is not told where on this host it is.
                Source { label: label("the file of its `credential`".into()), from: From::File { path: path.clone(), kept } }
            }
            SecretSource::Environment(name) => {
                let failed = |problem| SetupError::Environment { server: server.clone(), name: name.clone(), problem };
                let value = match env::var(name) {
                    Ok(value) => Zeroizing::new(value),
                    Err(env::VarError::NotPresent) => return Err(failed("is not set in the gateway's environment")),
                    Err(env::VarError::NotUnicode(_)) => return Err(failed("holds characters that are not ASCII")),
                };
                let secret = Secret::sendable(&value).map_err(failed)?;
                Source { label: label(format!("the environment variable `{name}`")), from: From::Environment(secret) }
            }
            SecretSource::SecretsManager { id, json_key, region, refresh } => {
                let kind = Kind::SecretsManager { id: id.clone(), json_key: json_key.clone() };
                stored(label(format!("the Secrets Manager secret `{id}`")), kind, region, *refresh)
            }
            SecretSource::Parameter { name, region, refresh } => {
                let kind = Kind::Parameter { name: name.clone() };
                stored(label(format!("the Parameter Store parameter `{name}`")), kind, region, *refresh)
            }
        })
    }

    /// The secret, if the source stands behind it.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub(super) async fn get(&self) -> Result<Secret, CredentialError> {
        match &self.from {
            From::Environment(secret) => Ok(secret.clone()),
            From::File { kept, .. } => match &*kept.get() {
                Ok(secret) => Ok(secret.clone()),
                Err(problem) => Err(self.label.failed(Problem::from(problem))),
            },
            From::Store { store, slot, runtime } => slot.get(runtime, || store.clone().fetch()).await,
        }
    }

    /// Whoever was shown it did not take it: a store may have another by now.
    pub(super) fn refused(&self, secret: &Secret) {
        if let From::Store { slot, .. } = &self.from {
            slot.forget(Instant::now(), |kept| kept.is(secret));
        }
    }

    /// Keeps up with the source. Called every second.
    pub(super) fn keep_up(&self) {
        match &self.from {
            From::Environment(_) => {}
            From::Store { store, slot, runtime } => slot.renew(runtime, Instant::now(), || store.clone().fetch()),
            From::File { path, kept } => {
                // What is gone ends at once, and what was not there is read as soon as it is. What has changed is read when it rests, so that
                // no half of it is.
                let can_be_read = File::open(path).is_ok();
                let at_once = match &*kept.get() {
                    Ok(_) => !can_be_read,
                    Err(FileProblem::Missing | FileProblem::Unreadable(_)) => can_be_read,
                    Err(FileProblem::Open { .. } | FileProblem::Content(_)) => false,
                };
                if kept.renew(at_once, || Ok::<_, Infallible>(read(path))).is_none() {
                    return;
                }
                let (server, path) = (&*self.label.server, path.display());
                match &*kept.get() {
                    Ok(_) => tracing::info!(server, "the credential in {path} was read anew"),
                    Err(problem) => tracing::error!(server, "the credential in {path} {problem}; calls are denied until it is put right"),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Secret, FileProblem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileProblem::Missing,
        _ => FileProblem::Unreadable(error.to_string()),
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(FileProblem::Content("is no regular file"));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(FileProblem::Open { mode });
    }
    // One that is too long is found to be, and not read whole. The room is there from the beginning: no copy is left behind.
    let most = MOST + 4;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileProblem::Content("holds characters that are not ASCII"))?;
    Secret::sendable(text).map_err(FileProblem::Content)
}
