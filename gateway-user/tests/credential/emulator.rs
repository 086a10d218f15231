//! Processes of a test's own: moto's AWS, and the server that checks signatures. And what the AWS chain finds on this host.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::MutexGuard;

use crate::relay::{Fate, Relay};

pub(crate) struct Process(Child, pub(crate) u16);

impl Process {
    pub(crate) fn moto() -> Process {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = tool("moto_server").args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).spawn().unwrap();
        let give_up = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "moto does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Process(process, port)
    }

    pub(crate) fn verifier(arguments: &[&str]) -> Process {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/sigv4_server.py");
        let mut process = tool("python").arg(script).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.strip_prefix("ready ").unwrap().trim().parse().unwrap();
        Process(process, port)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tool(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/sdk-v1/bin").join(name);
    assert!(path.exists(), "{} is not there: `cargo xtask test` installs it", path.display());
    let mut command = Command::new(path);
    command.stderr(Stdio::null());
    command
}

/// What the AWS chain finds on this host, for all tests: no keys in the environment, and the files below.
struct Home {
    config: PathBuf,
    text: Mutex<String>,
    /// Where the instance's metadata are asked for.
    metadata: Relay,
}

/// The emulator of the test that has the chain.
static MOTO: AtomicU16 = AtomicU16::new(9);

fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("aws-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let home = Home {
            config: dir.join("config"),
            text: Mutex::default(),
            metadata: Relay::start_to(|| MOTO.load(Ordering::Relaxed), |_| Fate::Metadata(KEYS_END.load(Ordering::Relaxed))),
        };
        let all = Relay::start_to(|| MOTO.load(Ordering::Relaxed), |_| Fate::Pass);
        *home.text.lock().unwrap() = format!("[default]\nendpoint_url = {}\n", all.url);
        fs::write(&home.config, &*home.text.lock().unwrap()).unwrap();
        for (name, value) in [
            ("AWS_CONFIG_FILE", home.config.to_str().unwrap()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &home.metadata.url),
        ] {
            // SAFETY: every test of this binary comes through here first, and waits for this to be done, before it does anything that
            // reads the environment.
            unsafe { std::env::set_var(name, value) };
        }
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_EC2_METADATA_DISABLED"] {
            // SAFETY: as above.
            unsafe { std::env::remove_var(name) };
        }
        home
    })
}

/// Adds a profile with a key of its own, for which all of AWS is at this URL; its name, which is its key's id too.
pub(crate) fn profile(url: &str) -> String {
    let home = home();
    let mut text = home.text.lock().unwrap();
    let name = format!("AKIATEST{:012}", text.len());
    text.push_str(&format!(
        "[profile {name}]\nregion = eu-central-1\naws_access_key_id = {name}\naws_secret_access_key = {SECRET}\nendpoint_url = {url}\n"
    ));
    let new = home.config.with_extension("new");
    fs::write(&new, &*text).unwrap();
    fs::rename(new, &home.config).unwrap();
    name
}

/// The secret of every profile's key.
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTKEYKEY";

/// The test that the AWS chain of this process is for; no other has it meanwhile. Where it ends is this moto's instance metadata, and all
/// of AWS is this moto.
pub(crate) async fn chain(moto: &Process) -> (&'static Relay, MutexGuard<'static, ()>) {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let home = home();
    let alone = ALONE.lock().await;
    // Without it the chain would ask the real one, of the host that runs the tests.
    assert_eq!(std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").as_deref(), Ok(&*home.metadata.url));
    assert!(home.metadata.url.starts_with("http://127.0.0.1:"));
    MOTO.store(moto.1, Ordering::Relaxed);
    (&home.metadata, alone)
}

/// What the instance's metadata say of when its keys end, in seconds since 1970; 0: what moto says.
pub(crate) static KEYS_END: AtomicU64 = AtomicU64::new(0);
