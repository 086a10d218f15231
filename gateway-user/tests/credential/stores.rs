//! Secrets in AWS's stores.

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials as Key, Region};
use aws_sdk_ssm::types::ParameterType;
use gateway_user::{
    config,
    credential::{Credentials, For, Outgoing},
    outbound::Outbound,
};
use tokio::runtime::Handle;

use crate::{
    aws::person,
    emulator::{Process, chain},
};

/// What a server's credential is, or why there is none.
async fn value(credential: &str) -> Result<String, String> {
    let toml = format!(
        "[endpoint]\nlisten = \"127.0.0.1:0\"\n[[server]]\nname = \"clinic\"\nurl = \"http://127.0.0.1:9/mcp\"\ncredential = {credential}\n"
    );
    let config = config::parse("test", &toml).map_err(|errors| errors.to_string()).unwrap();
    let credentials = Credentials::new(&config, &Outbound::default(), &Handle::current()).unwrap();
    let whom = For { identity: &person("ada", &[]), token: None, session: "s-1" };
    let held = credentials.of(0).unwrap().get(&whom).await.map_err(|error| error.to_string())?;
    let applied = held.apply(&Outgoing { method: "POST", target: "/mcp", authority: "127.0.0.1:9", headers: &[], body: b"" }).unwrap();
    Ok(format!("{}: {}", applied.set[0].0, applied.set[0].1.expose()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_s_key_is_read_from_secrets_manager_and_parameter_store() {
    let moto = Process::moto();
    let _chain = chain(&moto).await;
    let (key, region) = (Key::new("test", "test", None, None, "test"), Region::new("eu-central-1"));
    let url = format!("http://127.0.0.1:{}", moto.1);
    let http = Outbound::default().aws();
    let secrets = aws_sdk_secretsmanager::Config::builder().behavior_version(BehaviorVersion::latest()).http_client(http.clone());
    let secrets = secrets.region(region.clone()).credentials_provider(key.clone()).endpoint_url(&url).build();
    let secrets = aws_sdk_secretsmanager::Client::from_conf(secrets);
    secrets.create_secret().name("clinic/key").secret_string(r#"{"user":"gateway","key":"k-7f3a9c1e55"}"#).send().await.unwrap();
    let parameters = aws_sdk_ssm::Config::builder().behavior_version(BehaviorVersion::latest()).http_client(http);
    let parameters = parameters.region(region).credentials_provider(key).endpoint_url(&url).build();
    let parameters = aws_sdk_ssm::Client::from_conf(parameters);
    parameters.put_parameter().name("/clinic/key").r#type(ParameterType::SecureString).value("p-90ab34cd12").send().await.unwrap();

    let from = |rest: &str| format!(r#"{{ kind = "static", header = "X-Api-Key", region = "eu-central-1", {rest} }}"#);
    let secret = value(&from(r#"secretsmanager = "clinic/key", json_key = "key""#)).await;
    assert_eq!(secret.as_deref(), Ok("X-Api-Key: k-7f3a9c1e55"));
    assert_eq!(value(&from(r#"parameter = "/clinic/key""#)).await.as_deref(), Ok("X-Api-Key: p-90ab34cd12"), "decrypted");

    let absent = value(&from(r#"secretsmanager = "clinic/other""#)).await.unwrap_err();
    assert!(absent.contains("`clinic/other`") && absent.contains("does not exist"), "{absent}");
    let wrong = value(&from(r#"secretsmanager = "clinic/key", json_key = "pin""#)).await.unwrap_err();
    assert!(wrong.contains("`pin`") && !wrong.contains("k-7f3a"), "{wrong}");
    drop(moto);
    let down = value(&from(r#"parameter = "/clinic/key""#)).await.unwrap_err();
    assert!(down.contains("`/clinic/key`") && down.contains("cannot be asked now"), "{down}");
}
