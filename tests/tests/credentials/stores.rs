//! A key from a store of AWS's: Secrets Manager and Parameter Store, as moto has them.

use gateway_tests::{Aws, wait_until};
use serde_json::{Value, json};

use crate::{LIMIT, Result, Scene, plain};

const OLD: &str = "store-key-0123456789abcdef";
const NEW: &str = "store-key-fedcba9876543210";

/// A store, and what is done in it.
struct Store {
    /// In the server's `credential`.
    source: &'static str,
    /// As the caller is told it.
    named: &'static str,
    service: &'static str,
    /// The action that puts a key there, the first time and later, and what is asked with it.
    put: fn(&str, bool) -> (&'static str, Value),
    remove: (&'static str, Value),
}

fn secrets_manager() -> Store {
    Store {
        source: r#"secretsmanager = "clinic/key", json_key = "key""#,
        named: "the Secrets Manager secret `clinic/key`",
        service: "secretsmanager",
        put: |key, is_new| {
            let text = json!({ "user": "gateway", "key": key }).to_string();
            match is_new {
                true => ("secretsmanager.CreateSecret", json!({ "Name": "clinic/key", "SecretString": text })),
                false => ("secretsmanager.PutSecretValue", json!({ "SecretId": "clinic/key", "SecretString": text })),
            }
        },
        remove: ("secretsmanager.DeleteSecret", json!({ "SecretId": "clinic/key", "ForceDeleteWithoutRecovery": true })),
    }
}

fn parameter_store() -> Store {
    Store {
        source: r#"parameter = "/clinic/key""#,
        named: "the Parameter Store parameter `/clinic/key`",
        service: "ssm",
        put: |key, is_new| {
            ("AmazonSSM.PutParameter", json!({ "Name": "/clinic/key", "Type": "SecureString", "Value": key, "Overwrite": !is_new }))
        },
        remove: ("AmazonSSM.DeleteParameter", json!({ "Name": "/clinic/key" })),
    }
}

/// With a key in the store, which the gateway asks for every second.
fn begun(store: &Store) -> anyhow::Result<(Aws, Scene)> {
    let aws = Aws::start()?;
    let credential = format!(r#"{{ kind = "static", header = "X-Api-Key", refresh = "1s", {} }}"#, store.source);
    let mut scene = Scene::prepare("", &credential, "", plain)?;
    aws.serve(&mut scene.gateway);
    put(&aws, store, OLD, true)?;
    scene.gateway.run()?;
    Ok((aws, scene))
}

fn put(aws: &Aws, store: &Store, key: &str, is_new: bool) -> Result {
    let (action, wish) = (store.put)(key, is_new);
    aws.tell(store.service, action, &wish).map(drop)
}

fn goes_through(scene: &Scene) -> anyhow::Result<()> {
    let done = scene.call("", "X-Api-Key: callers-own-key\r\n")?;
    anyhow::ensure!(done.status() == 200, "{}", String::from_utf8_lossy(&done.body));
    Ok(())
}

fn a_rotated_key_is_used_without_a_failing_call(store: &Store) -> Result {
    let (aws, scene) = begun(store)?;
    goes_through(&scene)?;
    assert_eq!(scene.got("x-api-key"), [OLD]);
    put(&aws, store, NEW, false)?;
    // One is asked at a time: the second from now on is begun when the answer to the first is known.
    let (before, mut failed) = (aws.asked(store.service).len(), Ok(()));
    wait_until("the store is asked again and again", LIMIT, || {
        failed = goes_through(&scene);
        failed.is_err() || aws.asked(store.service).len() >= before + 5
    })?;
    failed?;
    for _ in 0..10 {
        goes_through(&scene)?;
    }
    let got = scene.got("x-api-key");
    let (old, new) = got.split_at(got.iter().position(|key| key == NEW).unwrap_or(got.len()));
    assert!(old.iter().all(|key| key == OLD) && new.len() >= 10 && new.iter().all(|key| key == NEW), "{got:?}");
    let all = scene.everything()?;
    assert!(!all.contains("store-key-") && !all.contains("callers-own-key"), "a key is on record, or was said");
    Ok(())
}

fn a_key_that_is_gone_is_named_and_not_used(store: &Store) -> Result {
    let (aws, scene) = begun(store)?;
    goes_through(&scene)?;
    let (action, wish) = &store.remove;
    aws.tell(store.service, action, wish)?;
    // One is asked at a time: the second from now on is begun when the answer to the first is known.
    let before = aws.asked(store.service).len();
    wait_until("the store is asked again", LIMIT, || aws.asked(store.service).len() >= before + 2)?;
    for _ in 0..10 {
        let refusal = scene.denied(|| scene.call("", ""), 502)?;
        assert!(refusal.message.contains(&format!("`vault`: {} does not exist", store.named)), "{}", refusal.message);
    }
    assert!(scene.got("x-api-key").iter().all(|key| key == OLD), "never without one");
    put(&aws, store, NEW, true)?;
    wait_until("it is back", LIMIT, || goes_through(&scene).is_ok())?;
    assert_eq!(scene.got("x-api-key").last().map(String::as_str), Some(NEW));
    Ok(())
}

#[test]
fn a_key_that_is_rotated_in_secrets_manager_is_used_without_a_failing_call() -> Result {
    a_rotated_key_is_used_without_a_failing_call(&secrets_manager())
}

#[test]
fn a_key_that_is_rotated_in_parameter_store_is_used_without_a_failing_call() -> Result {
    a_rotated_key_is_used_without_a_failing_call(&parameter_store())
}

#[test]
fn a_key_that_is_gone_from_secrets_manager_is_named_and_not_used() -> Result {
    a_key_that_is_gone_is_named_and_not_used(&secrets_manager())
}

#[test]
fn a_key_that_is_gone_from_parameter_store_is_named_and_not_used() -> Result {
    a_key_that_is_gone_is_named_and_not_used(&parameter_store())
}
