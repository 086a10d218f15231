//! OpenSSL's own client, which does what few others can be made to do.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ChildStdin,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use gateway_tests::{
    Finished, Launch, Proc, Record,
    http::{call, post_to, result},
    needs::on_path,
    tls::HOST,
    wait_until,
};
use serde_json::json;

use crate::{Result, Scene};

/// `openssl s_client`, which trusts the gateway and verifies it.
struct Client<'a> {
    scene: &'a Scene,
    files: tempfile::TempDir,
}

impl<'a> Client<'a> {
    fn new(scene: &'a Scene) -> anyhow::Result<Self> {
        ensure!(on_path("openssl"), "openssl is not installed: `cargo xtask test` does that");
        Ok(Self { scene, files: tempfile::tempdir()? })
    }

    fn session(&self) -> PathBuf {
        self.files.path().join("session.pem")
    }

    fn start(&self, arguments: &[&str]) -> anyhow::Result<Talk> {
        let client = Launch::new("openssl").args(["s_client", "-connect", &self.scene.stage.address.to_string()]);
        let client = client.args(["-servername", HOST, "-verify_hostname", HOST, "-verify_return_error", "-CAfile"]);
        let client = client.arg(self.scene.stage.gateway.ca_file()).args(arguments);
        let mut process = self.scene.stage.captured(client).start_piped()?;
        let stdin = process.stdin().context("no standard input")?;
        Ok(Talk { process, stdin })
    }

    /// One call, and the end.
    fn call(&self, id: u64, arguments: &[&str]) -> anyhow::Result<Finished> {
        let mut talk = self.start(arguments)?;
        talk.call(id)?;
        talk.end()?.ok()
    }

    /// The record of the call of this number.
    fn recorded(&self, id: u64) -> anyhow::Result<Record> {
        let is_it = |record: &Record| record.kind() == "request" && record.body()["call"]["id"] == json!(id);
        self.scene.stage.gateway.record("the call", is_it)
    }
}

/// A client that runs.
struct Talk {
    process: Proc,
    stdin: ChildStdin,
}

impl Talk {
    /// Writes something, and waits until something is said.
    fn say(&mut self, bytes: &[u8], answer: &str) -> Result {
        self.stdin.write_all(bytes)?;
        let said = || self.process.stdout() + &self.process.stderr();
        wait_until(answer, Duration::from_secs(20), || said().contains(answer)).with_context(said)
    }

    fn call(&mut self, id: u64) -> Result {
        self.say(&post_to(HOST, &call(id)), &result(&json!(id)).to_string())
    }

    fn end(self) -> anyhow::Result<Finished> {
        drop(self.stdin);
        self.process.finish(Duration::from_secs(20))
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

#[test]
fn a_client_takes_up_its_session() -> Result {
    for (flag, version) in [("-tls1_2", "1.2"), ("-tls1_3", "1.3")] {
        let scene = Scene::new("deny", "")?;
        let client = Client::new(&scene)?;
        let session = client.session();
        client.call(1, &[flag, "-sess_out", path(&session)?])?;
        let done = client.call(2, &[flag, "-sess_in", path(&session)?])?;
        assert!(done.stdout.contains("Reused, TLSv"), "{}", done.stdout);
        for (id, resumed) in [(1, false), (2, true)] {
            let record = client.recorded(id)?;
            assert_eq!(record.body()["tls"], json!({ "version": version, "sni": HOST, "resumed": resumed }), "{}", record.line);
        }
    }
    Ok(())
}

/// In TLS 1.2 a client can ask for a second handshake inside the first. Nobody needs that, and many attacks did.
#[test]
fn renegotiation_is_refused() -> Result {
    let scene = Scene::new("deny", "")?;
    let client = Client::new(&scene)?;
    let mut talk = client.start(&["-tls1_2"])?;
    talk.call(1)?;
    talk.say(b"R\n", "no renegotiation")?;
    let done = talk.end()?;
    assert!(!done.status.success(), "{}{}", done.stdout, done.stderr);
    assert_eq!(client.recorded(1)?.body()["tls"]["version"], "1.2");
    drop(client);
    scene.goes_on()
}

/// Long connections change their keys on the way (RFC 8446 section 4.6.3), and ask the other side to do so too.
#[test]
fn new_keys_are_taken_up() -> Result {
    let scene = Scene::new("deny", "")?;
    let client = Client::new(&scene)?;
    let mut talk = client.start(&["-tls1_3"])?;
    talk.call(1)?;
    talk.say(b"K\n", "KEYUPDATE")?;
    talk.call(2)?;
    talk.end()?.ok()?;
    drop(client);
    scene.goes_on()
}

/// Early data can be replayed by whoever sees it (RFC 8446 section 8): a call must not be carried out twice.
#[test]
fn early_data_is_neither_offered_nor_taken() -> Result {
    let scene = Scene::new("deny", "")?;
    let client = Client::new(&scene)?;
    let session = client.session();
    let done = client.call(1, &["-tls1_3", "-sess_out", path(&session)?])?;
    assert!(done.stdout.contains("Max Early Data: 0"), "{}", done.stdout);

    // A client that sends it all the same: its session says that it may.
    fs::write(&session, with_early_data(&fs::read_to_string(&session)?, client.files.path())?)?;
    let early = client.files.path().join("early");
    fs::write(&early, post_to(HOST, &call(666)))?;
    let done = client.call(2, &["-tls1_3", "-sess_in", path(&session)?, "-early_data", path(&early)?])?;
    assert!(done.stdout.contains("Early data was rejected"), "{}", done.stdout);
    assert!(done.stdout.contains("Reused, TLSv1.3"), "{}", done.stdout);
    client.recorded(2)?;
    let early = |record: &Record| record.body()["call"]["id"] == json!(666);
    assert!(!scene.stage.gateway.records()?.iter().any(early));
    assert_eq!(scene.server.seen().len(), 2);
    drop(client);
    scene.goes_on()
}

/// A session of OpenSSL's that says that 16 KiB of early data may be sent.
fn with_early_data(pem: &str, files: &Path) -> anyhow::Result<String> {
    let (from, to) = (files.join("plain.der"), files.join("changed.der"));
    let openssl = |arguments: &[&str]| Launch::new("openssl").args(arguments).run(Duration::from_secs(20))?.ok();
    let source = files.join("plain.pem");
    fs::write(&source, pem)?;
    openssl(&["sess_id", "-in", path(&source)?, "-outform", "DER", "-out", path(&from)?])?;
    // SSL_SESSION is a SEQUENCE in the order of its tags; max_early_data is [15] EXPLICIT INTEGER.
    const MAX_EARLY_DATA: [u8; 6] = [0xAF, 4, 2, 2, 0x40, 0];
    let der = fs::read(&from)?;
    let (start, _) = length(&der, 1)?;
    let mut at = start;
    while at < der.len() && der[at] < MAX_EARLY_DATA[0] {
        let (content, size) = length(&der, at + 1)?;
        at = content + size;
    }
    let body = [&der[start..at], &MAX_EARLY_DATA, &der[at..]].concat();
    let size = u16::try_from(body.len())?.to_be_bytes();
    fs::write(&to, [&[0x30, 0x82, size[0], size[1]][..], &body].concat())?;
    openssl(&["sess_id", "-inform", "DER", "-in", path(&to)?, "-out", path(&source)?])?;
    Ok(fs::read_to_string(&source)?)
}

/// The length that stands there in DER: where the content begins, and its size.
fn length(der: &[u8], at: usize) -> anyhow::Result<(usize, usize)> {
    let first = usize::from(*der.get(at).context("DER ends early")?);
    match first {
        0..=0x7F => Ok((at + 1, first)),
        0x81..=0x84 => {
            let bytes = der.get(at + 1..=at + first - 0x80).context("DER ends early")?;
            Ok((at + 1 + bytes.len(), bytes.iter().fold(0, |size, byte| size << 8 | usize::from(*byte))))
        }
        _ => bail!("not a length in DER: {first}"),
    }
}
