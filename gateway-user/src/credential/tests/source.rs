use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tokio::runtime::{Handle, Runtime};

use super::super::{CredentialError, Problem, SetupError, source::Source};
use crate::{config::SecretSource, outbound::Outbound};

const KEY: &str = "s3cret-key-1";

struct Key {
    dir: tempfile::TempDir,
    runtime: Runtime,
}

impl Key {
    fn new() -> Self {
        let key = Key { dir: tempfile::tempdir().unwrap(), runtime: Runtime::new().unwrap() };
        key.write(&format!("{KEY}\n"));
        key
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
        self.mode(0o600);
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn source(&self) -> Result<Source, SetupError> {
        source(&SecretSource::File(self.path()), self.runtime.handle())
    }

    fn get(&self, source: &Source) -> Result<String, CredentialError> {
        self.runtime.block_on(source.get()).map(|secret| secret.expose().to_owned())
    }
}

fn source(config: &SecretSource, runtime: &Handle) -> Result<Source, SetupError> {
    Source::new(&"clinic".into(), config, &Outbound::default(), runtime)
}

#[test]
fn a_file_gives_its_text_without_the_line_break_and_anew_when_it_has_changed() {
    let key = Key::new();
    let source = key.source().unwrap();
    assert_eq!(key.get(&source).unwrap(), KEY);
    key.write("s3cret-key-2\r\n");
    source.keep_up();
    assert_eq!(key.get(&source).unwrap(), KEY, "it is read when it rests");
    source.keep_up();
    assert_eq!(key.get(&source).unwrap(), "s3cret-key-2");
    fs::write(key.dir.path().join("new"), "s3cret-key-3").unwrap();
    fs::set_permissions(key.dir.path().join("new"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::rename(key.dir.path().join("new"), key.path()).unwrap();
    source.keep_up();
    source.keep_up();
    assert_eq!(key.get(&source).unwrap(), "s3cret-key-3");
}

#[test]
fn a_file_that_is_gone_ends_its_secret_at_once_until_it_is_back() {
    let key = Key::new();
    let source = key.source().unwrap();
    fs::remove_file(key.path()).unwrap();
    source.keep_up();
    let error = key.get(&source).unwrap_err();
    assert_eq!((&*error.server, &error.problem), ("clinic", &Problem::Gone));
    let told = error.to_string();
    assert!(told.contains("`clinic`: the file of its `credential` does not exist"), "{told}");
    assert!(!told.contains(key.dir.path().to_str().unwrap()), "callers are not told where it is: {told}");
    key.write("s3cret-key-2");
    source.keep_up();
    source.keep_up();
    assert_eq!(key.get(&source).unwrap(), "s3cret-key-2");
}

#[test]
fn a_file_that_holds_no_secret_any_more_or_is_open_to_others_denies_calls() {
    let key = Key::new();
    let source = key.source().unwrap();
    key.write("");
    source.keep_up();
    source.keep_up();
    assert_eq!(key.get(&source).unwrap_err().problem, Problem::Unusable("is empty".into()));
    key.write(KEY);
    source.keep_up();
    source.keep_up();
    assert_eq!(key.get(&source).unwrap(), KEY);
    key.mode(0o604);
    source.keep_up();
    source.keep_up();
    let told = key.get(&source).unwrap_err().to_string();
    assert!(told.contains("chmod 600") && !told.contains("s3cret"), "{told}");
}

#[test]
fn what_cannot_be_a_secret_is_refused_at_the_start_with_the_files_name() {
    let key = Key::new();
    let refused = |key: &Key| key.source().err().unwrap().to_string();
    let path = key.path().display().to_string();
    key.mode(0o644);
    assert_eq!(
        refused(&key),
        format!(
            "server `clinic`: the file of its credential, {path}, can be read by others on this host (mode 644): take the right from them with \
             `chmod 600`, and replace the secret, which they may know"
        )
    );
    for (text, expected) in
        [("", "is empty"), ("s3crets", "shorter than 8"), ("s3cret-\u{1}-key", "control"), (&"s3cret".repeat(4096), "longer")]
    {
        key.write(text);
        let told = refused(&key);
        assert!(told.contains(&path) && told.contains(expected) && !told.contains("s3cret"), "{told}");
    }
    fs::remove_file(key.path()).unwrap();
    assert!(refused(&key).ends_with("key, does not exist"));
    fs::create_dir(key.path()).unwrap();
    assert!(refused(&key).contains("is no regular file"));
}

#[test]
fn a_variable_is_read_at_the_start_and_must_be_there() {
    let runtime = Runtime::new().unwrap();
    // Cargo sets it for every test.
    let there = source(&SecretSource::Environment("CARGO_PKG_NAME".into()), runtime.handle()).unwrap();
    assert_eq!(runtime.block_on(there.get()).unwrap().expose(), "gateway-user");
    let missing = source(&SecretSource::Environment("CLINIC_KEY_THAT_IS_NOT_SET".into()), runtime.handle()).err().unwrap();
    assert_eq!(
        missing.to_string(),
        "server `clinic`: the environment variable `CLINIC_KEY_THAT_IS_NOT_SET` is not set in the gateway's environment"
    );
}
