//! Whose keys they are.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gateway_user::{
    config::{AssumeRole, SessionTag, SigV4Config},
    credential::{
        CredentialError, For, Held, Problem,
        aws::{SigV4, Signer},
    },
    identity::{How, Identity, Principal, Strength, now},
    outbound::Outbound,
};
use tokio::runtime::Handle;

use crate::{
    emulator::{self, Process, SECRET},
    relay::{Fate, Relay},
    signed::{Request, send},
};

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/clinic-reader";

pub(crate) fn person(subject: &str, groups: &[&str]) -> Arc<Identity> {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let name = Some(format!("{subject}@clinic.test"));
    let principal = Principal::Person { issuer: "https://login.clinic.test".into(), subject: subject.into(), name, groups };
    Arc::new(Identity::new(principal, How::Nothing, Strength::Token))
}

/// For a role, with every tag that there is.
pub(crate) fn assuming(profile: String, service: &str) -> SigV4 {
    let assume = AssumeRole {
        role: ROLE.into(),
        external_id: Some("clinic-17".into()),
        session_tags: vec![SessionTag::Person, SessionTag::Groups, SessionTag::Session],
        duration: Duration::from_secs(1800),
    };
    sigv4(SigV4Config { service: service.into(), region: None, profile: Some(profile), assume_role: Some(assume) })
}

pub(crate) fn sigv4(config: SigV4Config) -> SigV4 {
    SigV4::new(&"clinic".into(), &config, &Outbound::default(), &Handle::current())
}

pub(crate) async fn get(sigv4: &SigV4, identity: &Arc<Identity>) -> Result<Signer, CredentialError> {
    sigv4.get(&For { identity, token: None, session: "s-1" }).await.map(|held| match held {
        Held::Aws(signer) => signer,
        other => panic!("{other:?}"),
    })
}

/// Who STS says that signs.
fn caller(signer: &Signer, moto: &Process) -> String {
    let request = Request::new("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15")
        .field("content-type", "application/x-www-form-urlencoded");
    let (status, body) = send(moto.1, &request, Some(signer));
    assert_eq!(status, 200, "{body}");
    body.split_once("<Arn>").unwrap().1.split_once("</Arn>").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_has_a_session_that_names_the_person() {
    let moto = Process::moto();
    let sts = Relay::start(moto.1, |_| Fate::Pass);
    let clinic = assuming(emulator::profile(&sts.url), "sts");
    let (ada, bob) = (person("ada", &["readers", "dba"]), person("bob", &[]));
    let (for_ada, for_bob) = (get(&clinic, &ada).await.unwrap(), get(&clinic, &bob).await.unwrap());

    assert_eq!(caller(&for_ada, &moto), "arn:aws:sts::123456789012:assumed-role/clinic-reader/ada@clinic.test");
    assert_eq!(caller(&for_bob, &moto), "arn:aws:sts::123456789012:assumed-role/clinic-reader/bob@clinic.test");
    let calls = sts.calls();
    let asked: Vec<_> = calls
        .iter()
        .map(|call| [call.get("Action"), call.get("RoleArn"), call.get("RoleSessionName"), call.get("SourceIdentity")])
        .collect();
    assert_eq!(asked, [["AssumeRole", ROLE, "ada@clinic.test", "ada"], ["AssumeRole", ROLE, "bob@clinic.test", "bob"]]);
    assert_eq!(calls[0].tags(), ["person=ada", "issuer=https://login.clinic.test", "groups=:dba:readers:", "session=s-1"]);
    assert_eq!(calls[1].tags(), ["person=bob", "issuer=https://login.clinic.test", "groups=:", "session=s-1"]);
    let transitive: Vec<_> = (1..=4).map(|n| calls[0].get(&format!("TransitiveTagKeys.member.{n}")).to_owned()).collect();
    assert_eq!(transitive, ["person", "issuer", "groups", "session"]);
    assert_eq!((calls[0].get("ExternalId"), calls[0].get("DurationSeconds")), ("clinic-17", "1800"));

    // The same person has the same session, wherever the token is from, until the person is in other groups.
    assert_eq!(get(&clinic, &person("ada", &["dba", "readers"])).await.unwrap().key_id(), for_ada.key_id());
    assert_eq!(sts.calls().len(), 2);
    let promoted = get(&clinic, &person("ada", &["dba", "readers", "admins"])).await.unwrap();
    assert_ne!(promoted.key_id(), for_ada.key_id());
    assert_eq!(sts.calls()[2].tags()[2], "groups=:admins:dba:readers:");
    sts.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sts_denies_is_named_with_the_role() {
    let codes = [(403, "AccessDenied"), (403, "ExpiredToken"), (400, "PackedPolicyTooLarge"), (500, "InternalFailure")];
    for (status, code) in codes {
        let sts = Relay::start(9, move |_| Fate::Error(status, code));
        let clinic = assuming(emulator::profile(&sts.url), "sts");
        let error = get(&clinic, &person("ada", &[])).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains(ROLE) && told.contains(code) && told.contains("clinic"), "{told}");
        assert!(!told.contains("own words"), "{told}");
        assert_eq!(matches!(error.problem, Problem::Unreachable(_)), status == 500, "{told}");
        if code == "AccessDenied" {
            assert!(told.contains("sts:TagSession") && told.contains("sts:SetSourceIdentity"), "{told}");
        }
        sts.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_no_session() {
    let sts = Relay::start(9, |_| Fate::Cut);
    let clinic = assuming(emulator::profile(&sts.url), "sts");
    let error = get(&clinic, &Arc::new(Identity::nobody())).await.unwrap_err();
    assert_eq!(error.problem, Problem::Nobody);
    assert!(sts.calls().is_empty());
    sts.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_ends_at_the_instance_s_metadata_and_says_so_when_it_is_empty() {
    let moto = Process::moto();
    let (metadata, _alone) = emulator::chain(&moto).await;
    let config = SigV4Config { service: "sts".into(), region: Some("eu-central-1".into()), profile: None, assume_role: None };
    let own = get(&sigv4(config.clone()), &person("ada", &[])).await.unwrap();
    assert_eq!(own.key_id(), "test-key", "which is moto's for every instance");
    let lines: Vec<_> = metadata.calls().into_iter().map(|call| call.line).collect();
    assert!(
        lines[0].starts_with("PUT /latest/api/token") && lines.last().unwrap().contains("/security-credentials/default-role"),
        "{lines:?}"
    );

    drop(moto);
    let error = get(&sigv4(config), &person("ada", &[])).await.unwrap_err().to_string();
    assert!(error.contains("the AWS credential chain holds no credentials"), "{error}");
    let config = SigV4Config { service: "sts".into(), region: None, profile: Some("absent".into()), assume_role: None };
    let error = get(&sigv4(config), &person("ada", &[])).await.unwrap_err().to_string();
    assert!(error.contains("the AWS profile `absent`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_s_keys_that_have_ended_are_not_used_whatever_the_sdk_says() {
    let moto = Process::moto();
    let _chain = emulator::chain(&moto).await;
    let ends = now() + 3;
    emulator::KEYS_END.store(ends, Ordering::Relaxed);
    let config = SigV4Config { service: "sts".into(), region: Some("eu-central-1".into()), profile: None, assume_role: None };
    let (clinic, ada) = (sigv4(config), person("ada", &[]));
    get(&clinic, &ada).await.unwrap();
    let error = loop {
        match get(&clinic, &ada).await {
            Ok(_) => assert!(now() < ends, "they have ended"),
            Err(error) => break error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(error.contains("the AWS credential chain gives keys whose time is over"), "{error}");
    emulator::KEYS_END.store(0, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_named_signs_and_its_keys_are_asked_for_from_an_io_uring_worker() {
    let profile = emulator::profile("http://127.0.0.1:9");
    let config = SigV4Config { service: "execute-api".into(), region: None, profile: Some(profile.clone()), assume_role: None };
    let clinic = Arc::new(sigv4(config));
    let on = clinic.clone();
    let worker = tokio::task::spawn_blocking(move || {
        let ada = person("ada", &[]);
        let runtime = compio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { (get(&on, &ada).await.unwrap(), get(&on, &ada).await.unwrap()) })
    });
    let (first, again) = worker.await.unwrap();
    assert_eq!((first.key_id(), again.key_id()), (&*profile, &*profile));
    let shown = format!("{first:?} {clinic:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}
