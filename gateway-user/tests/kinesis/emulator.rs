//! moto's Kinesis, a process of the test's own.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use aws_sdk_kinesis::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::ShardIteratorType,
};

pub(crate) struct Emulator {
    process: Child,
    pub(crate) port: u16,
    pub(crate) client: Client,
}

impl Emulator {
    pub(crate) fn start() -> Emulator {
        credentials();
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/sdk-v1/bin/moto_server");
        assert!(server.exists(), "{} is not there: `cargo xtask test` installs it", server.display());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let give_up = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "moto does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .build();
        Emulator { process, port, client: Client::from_conf(config) }
    }

    pub(crate) async fn stream(&self, name: &str) {
        self.client.create_stream().stream_name(name).shard_count(2).send().await.unwrap();
    }

    /// The data of every entry, in the order of arrival. One partition key: one shard has them all.
    pub(crate) async fn entries(&self, stream: &str) -> Vec<Vec<u8>> {
        let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
        let mut used = Vec::new();
        for shard in shards.shards() {
            let iterator = self
                .client
                .get_shard_iterator()
                .stream_name(stream)
                .shard_id(shard.shard_id())
                .shard_iterator_type(ShardIteratorType::TrimHorizon);
            let mut iterator = iterator.send().await.unwrap().shard_iterator;
            let mut entries = Vec::new();
            loop {
                let got = self.client.get_records().shard_iterator(iterator.unwrap()).send().await.unwrap();
                entries.extend(got.records().iter().map(|record| record.data().as_ref().to_vec()));
                if got.records().is_empty() {
                    break;
                }
                iterator = got.next_shard_iterator;
            }
            if !entries.is_empty() {
                used.push(entries);
            }
        }
        assert!(used.len() <= 1, "one log id, one shard");
        used.pop().unwrap_or_default()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the default chain of the code under test finds.
fn credentials() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, value) in [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")] {
            // SAFETY: every test of this binary comes through here first, and waits for this to
            // be done, before it does anything that reads the environment.
            unsafe { std::env::set_var(name, value) };
        }
    });
}
