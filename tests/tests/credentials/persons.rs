//! A session of a role for each person, from moto's STS, to a server that checks signatures with botocore.

use std::collections::BTreeMap;

use gateway_tests::{Aws, Gateway, Oidc, ServerEntry, http::Message, oidc::AUDIENCE};
use serde_json::json;

use crate::{
    Result, denied, everything,
    signed::{Cloud, call, told, tool},
};

const ROLE: &str = "arn:aws:iam::123456789012:role/clinic-reader";

/// The people, their sessions, and what takes those.
struct Scene {
    idp: Oidc,
    aws: Aws,
    gateway: Gateway,
    cloud: Cloud,
}

impl Scene {
    fn new() -> anyhow::Result<Self> {
        let (idp, aws) = (Oidc::start()?, Aws::start()?);
        let cloud = Cloud::start(&["--moto", &aws.moto()])?;
        let credential = format!(
            r#"{{ kind = "sigv4", service = "execute-api", region = "eu-central-1", assume_role = "{ROLE}", session_tags = ["person", "groups"] }}"#
        );
        let entry =
            ServerEntry::new("cloud", &cloud.url).durability("os").setting("credential", credential).setting("anonymous", "\"record\"");
        let issuer = idp.issuer();
        let identity = format!("[[identity.oidc]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n");
        let mut gateway = Gateway::at_an_endpoint().endpoint("").server(entry).identity(&identity).prepare()?;
        aws.serve(&mut gateway);
        gateway.run()?;
        Ok(Self { idp, aws, gateway, cloud })
    }

    fn call(&self, fields: &str) -> anyhow::Result<Message> {
        let body = tool("echo", "x");
        call(&self.gateway, "/cloud", &format!("{fields}Content-Length: {}\r\n", body.len()), &body)
    }

    /// The id of the key that signs a call with a new token of this person's.
    fn signs_for(&self, person: &str) -> anyhow::Result<String> {
        let done = self.call(&format!("Authorization: Bearer {}\r\n", self.idp.token(person)?))?;
        Ok(told(&done)?["signed_by"].as_str().unwrap_or_default().to_owned())
    }

    /// What STS was asked.
    fn asked(&self) -> Vec<BTreeMap<String, String>> {
        self.aws.asked("sts").iter().map(Message::form).collect()
    }
}

/// The session's tags, with their names.
fn tags(form: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let of = |n: usize, what: &str| form.get(&format!("Tags.member.{n}.{what}")).map(String::as_str);
    (1..).map_while(|n| Some((of(n, "Key")?, of(n, "Value")?))).collect()
}

#[test]
fn each_persons_calls_are_signed_in_a_session_that_names_the_person() -> Result {
    let scene = Scene::new()?;
    let signed = ["ada", "bob", "ada", "bob"].into_iter().map(|person| scene.signs_for(person)).collect::<anyhow::Result<Vec<_>>>()?;
    assert!(signed[0] != signed[1] && signed[..2] == signed[2..], "{signed:?}");
    let asked = scene.asked();
    let of = |name: &str| asked.iter().map(|form| form.get(name).map_or("", String::as_str)).collect::<Vec<_>>();
    assert_eq!(of("Action"), ["AssumeRole", "AssumeRole"], "a second call opens no session");
    assert_eq!((of("RoleArn"), of("SourceIdentity")), (vec![ROLE, ROLE], vec!["ada", "bob"]));
    for (form, (person, groups)) in asked.iter().zip([("ada", ":dba:staff:"), ("bob", ":staff:")]) {
        let expected = [("person", person), ("issuer", scene.idp.issuer()), ("groups", groups)];
        assert_eq!(tags(form), BTreeMap::from(expected));
        let transitive: Vec<_> = (1..=3).filter_map(|n| form.get(&format!("TransitiveTagKeys.member.{n}"))).collect();
        assert_eq!(transitive, ["person", "issuer", "groups"]);
    }
    // What STS has given is what signs, and the record names the key and holds nothing else of it.
    let sessions = scene.aws.state("sts")?["AssumedRole"].take();
    let sessions = sessions.as_array().cloned().unwrap_or_default();
    let given: Vec<_> = sessions.iter().map(|session| session["access_key_id"].as_str().unwrap_or_default()).collect();
    assert_eq!(given, signed[..2]);
    let answers: Vec<_> = scene.gateway.records()?.into_iter().filter(|record| record.kind() == "answer").collect();
    let used: Vec<_> = answers.iter().map(|answer| answer.body()["credential"].clone()).collect();
    assert_eq!(used, signed.iter().map(|key| json!({ "kind": "sigv4", "key": key })).collect::<Vec<_>>());
    let all = everything(&scene.gateway)?;
    for secret in sessions.iter().flat_map(|session| [&session["secret_access_key"], &session["session_token"]]) {
        assert!(secret.as_str().is_some_and(|secret| secret.len() > 30 && !all.contains(secret)), "on record, or said: {secret}");
    }
    // Nor does the answer, where the server shows it all.
    let body = tool("reveal", "x");
    let fields = format!("Authorization: Bearer {}\r\nContent-Length: {}\r\n", scene.idp.token("ada")?, body.len());
    let shown = String::from_utf8(call(&scene.gateway, "/cloud", &fields, &body)?.body)?;
    assert!(shown.contains("Security-Token") || shown.contains("security-token"), "{shown}");
    assert!(sessions.iter().all(|session| session["session_token"].as_str().is_some_and(|token| !shown.contains(token))), "{shown}");
    // Other groups are other tags.
    scene.idp.set_account("bob", &json!({ "groups": ["staff", "ops"] }))?;
    assert_ne!(scene.signs_for("bob")?, signed[1]);
    assert_eq!(tags(&scene.asked()[2])["groups"], ":ops:staff:");
    Ok(())
}

#[test]
fn without_a_session_nothing_is_sent_and_who_has_one_goes_on() -> Result {
    let scene = Scene::new()?;
    let ada = scene.signs_for("ada")?;
    let told_of_the_role = |answer: &Message, status: u16, what: &str| -> Result {
        let message = denied(&scene.gateway, answer, status)?.message;
        assert!(message.contains(&format!("`cloud`: the role `{ROLE}`")) && message.contains(what), "{message}");
        Ok(())
    };
    told_of_the_role(&scene.call("")?, 403, "only for a person or a workload")?;
    scene.aws.down();
    let bob = scene.call(&format!("Authorization: Bearer {}\r\n", scene.idp.token("bob")?))?;
    told_of_the_role(&bob, 502, "STS was not reached")?;
    assert_eq!(scene.signs_for("ada")?, ada, "hers is kept");
    assert_eq!(scene.cloud.refusals(), 0, "nothing was sent without a signature");
    let done = scene.call(&format!("Authorization: Bearer {}\r\n", scene.idp.token("ada")?))?;
    assert_eq!(told(&done)?["calls"], json!(3), "hers alone");
    Ok(())
}
