//! Bytes by hand: connections that the kernel takes for those of a process in a cgroup, and servers that say what a test tells them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    process::ChildStdin,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tempfile::NamedTempFile;

use crate::{Cgroup, Gateway, Launch, Netns, Proc, ServerEntry, User, binaries, http::Message, needs, wait::wait_for};

/// A test that waits longer for bytes has failed: a read then ends with an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process in a cgroup that opens connections, and hands them to the test.
///
/// The connection's origin is the probe; every byte on it is the test's.
#[derive(Debug)]
pub struct Probe {
    process: Proc,
    stdin: ChildStdin,
    asked: usize,
}

impl Probe {
    /// Starts it in a cgroup, as root.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn under(cgroup: &Cgroup) -> anyhow::Result<Self> {
        Self::start(&Launch::new(binaries::own("probe")?).under(cgroup))
    }

    /// Starts it in a cgroup, as a user without any privilege.
    ///
    /// # Errors
    /// As [`Probe::under`].
    pub fn unprivileged(cgroup: &Cgroup) -> anyhow::Result<Self> {
        let user = User { ptrace: false, ..User::nobody()? };
        Self::start(&Launch::new(binaries::reachable(&binaries::own("probe")?)?).under(cgroup).user(user))
    }

    fn start(launch: &Launch) -> anyhow::Result<Self> {
        let mut process = launch.start_piped()?;
        let stdin = process.stdin().context("the probe has no standard input")?;
        Ok(Self { process, stdin, asked: 0 })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A connection from the cgroup.
    ///
    /// # Errors
    /// The kernel's answer to the connect.
    pub fn connect(&mut self, to: SocketAddr) -> io::Result<TcpStream> {
        self.make(&format!("tcp {to}")).map(TcpStream::from)
    }

    /// Sends a datagram from the cgroup.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn datagram(&mut self, to: SocketAddr) -> io::Result<()> {
        self.make(&format!("udp {to}")).map(drop)
    }

    /// Makes a multipath TCP socket in the cgroup.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn mptcp(&mut self) -> io::Result<()> {
        self.make("mptcp").map(drop)
    }

    fn make(&mut self, line: &str) -> io::Result<OwnedFd> {
        writeln!(self.stdin, "{line}")?;
        self.asked += 1;
        let answer = wait_for(&format!("the probe's answer to `{line}`"), PATIENCE, || {
            let ended = self.process.ended()?;
            ensure!(ended.is_none(), "the probe ended: {}", self.process.stderr());
            let said = self.process.stdout();
            Ok(said.split_inclusive('\n').filter(|line| line.ends_with('\n')).nth(self.asked - 1).map(|line| line.trim().to_owned()))
        });
        let answer = answer.map_err(io::Error::other)?;
        let number = answer.split_once(' ').and_then(|(_, number)| number.parse().ok());
        let number: i32 = number.ok_or_else(|| io::Error::other(format!("the probe says `{answer}`")))?;
        if answer.starts_with("errno") {
            return Err(io::Error::from_raw_os_error(number));
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a process id is positive"))?;
        let probe = pidfd_open(pid, PidfdFlags::empty())?;
        let socket = pidfd_getfd(probe, number, PidfdGetfdFlags::empty())?;
        // The connection ends with the test's own descriptor.
        writeln!(self.stdin, "close {number}")?;
        Ok(socket)
    }
}

/// Makes a connection send at once, and wait no longer than a test does.
pub(crate) fn patient(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Wire {
    /// Over a connection.
    ///
    /// # Errors
    /// Its descriptor cannot be duplicated.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        patient(&stream)?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Its sending half, for another thread.
    ///
    /// # Errors
    /// Its descriptor cannot be duplicated.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Says that nothing more comes from this side.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection at once, with what is under way.
    ///
    /// # Errors
    /// It is gone already.
    pub fn reset(self) -> io::Result<()> {
        Ok(set_socket_linger(&self.stream, Some(Duration::ZERO))?)
    }

    /// The next request or answer.
    ///
    /// # Errors
    /// There is none.
    pub fn message(&mut self) -> anyhow::Result<Message> {
        Message::read(&mut self.reader)?.context("the connection ended where a message was expected")
    }

    /// The next head alone: all there is of an answer to HEAD, and of one whose body the test reads itself.
    ///
    /// # Errors
    /// There is none.
    pub fn head(&mut self) -> anyhow::Result<Message> {
        Message::read_head(&mut self.reader)?.context("the connection ended where a head was expected")
    }

    /// All that comes until the peer says that nothing more does.
    ///
    /// # Errors
    /// The connection was reset, or the peer does not end.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }

    /// Whether nothing comes for so long.
    ///
    /// # Errors
    /// The connection was reset.
    pub fn is_silent(&mut self, long: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(long))?;
        let silent = match self.reader.fill_buf() {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(true),
            Err(error) => Err(error),
        };
        self.stream.set_read_timeout(Some(PATIENCE))?;
        silent
    }

    /// What comes up to a mark, which must come.
    ///
    /// # Errors
    /// The connection ends before it.
    pub fn until(&mut self, mark: &str) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(mark.as_bytes()) {
            let mut byte = [0];
            let read = self.reader.read_exact(&mut byte);
            read.with_context(|| format!("`{mark}` did not come; what came is:\n{}", String::from_utf8_lossy(&bytes)))?;
            bytes.push(byte[0]);
        }
        Ok(String::from_utf8(bytes)?)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// A listener in a network namespace.
fn listen(netns: &Netns, port: u16) -> anyhow::Result<TcpListener> {
    let (path, address) = (netns.path(), netns.at(port));
    // A socket stays in the namespace of the thread that made it.
    let made = thread::spawn(move || -> anyhow::Result<TcpListener> {
        let namespace = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(TcpListener::bind(address)?)
    });
    made.join().map_err(|_| anyhow::anyhow!("the thread that listens panicked"))?
}

/// A server that reads one request after the other and gives each the bytes that the test makes of it.
#[derive(Debug)]
pub struct Stub(Arc<Mutex<Vec<Message>>>);

impl Stub {
    /// A connection ends after an answer of no bytes, and after one that says `Connection: close`. One that cannot be opened is none.
    pub(crate) fn start<S: Read + Write>(
        listener: TcpListener,
        open: impl Fn(TcpStream) -> io::Result<S> + Send + Sync + 'static,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (noted, serve) = (seen.clone(), Arc::new((open, answer)));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, serve) = (noted.clone(), serve.clone());
                // A connection that breaks is what some tests are about.
                thread::spawn(move || drop(serve.0(stream).and_then(|stream| converse(stream, &noted, &serve.1))));
            }
        });
        Self(seen)
    }

    /// Serves what a listener takes.
    #[must_use]
    pub fn on(listener: TcpListener, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(listener, Ok, answer)
    }

    /// All requests that reached it, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(stream: impl Read + Write, seen: &Mutex<Vec<Message>>, answer: &dyn Fn(&Message) -> Vec<u8>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = match Message::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            // Whatever arrives is seen, also what is no HTTP.
            Err(error) => Message { start: format!("unreadable: {error}"), ..Message::default() },
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let bytes = answer(&request);
        reader.get_mut().write_all(&bytes)?;
        if bytes.is_empty() || bytes.windows(17).any(|window| window == b"Connection: close") {
            break;
        }
    }
    Ok(())
}

/// A server's address behind a gateway, and a probe to reach it from. What serves there is up to the test.
#[derive(Debug)]
pub struct Stage {
    /// The gateway, which runs.
    pub gateway: Gateway,
    /// Opens the client's connections.
    pub probe: Probe,
    /// The governed address.
    pub address: SocketAddr,
    /// Whose connections are captured.
    pub cgroup: Cgroup,
    pub(crate) names: Option<NamedTempFile>,
    /// Where the server's end of [`Stage::begin`] is taken.
    listener: Option<TcpListener>,
    netns: Netns,
}

impl Stage {
    /// With a setting of the server, and more sections of the configuration. Guard and gateway are up.
    ///
    /// # Errors
    /// The machine lacks something, or the gateway does not come up.
    pub fn new(setting: impl FnOnce(ServerEntry) -> ServerEntry, sections: &str) -> anyhow::Result<Self> {
        Self::bare(setting, sections)?.up()
    }

    /// Brings up guard and gateway.
    pub(crate) fn up(mut self) -> anyhow::Result<Self> {
        self.gateway.guard_up()?;
        self.gateway.run()?;
        Ok(self)
    }

    /// As [`Stage::new`], with neither guard nor gateway up.
    ///
    /// # Errors
    /// The machine lacks something.
    pub fn bare(setting: impl FnOnce(ServerEntry) -> ServerEntry, sections: &str) -> anyhow::Result<Self> {
        Self::of(|address| setting(ServerEntry::new("server", &format!("http://{address}/mcp"))), 8000, None, sections)
    }

    /// With neither guard nor gateway up. The gateway may be told a name for the server's address.
    pub(crate) fn of(
        server: impl FnOnce(SocketAddr) -> ServerEntry,
        port: u16,
        name: Option<&str>,
        sections: &str,
    ) -> anyhow::Result<Self> {
        needs::require()?;
        let netns = Netns::new()?;
        let (address, cgroup) = (netns.at(port), Cgroup::new()?);
        let names = name.map(|name| netns.names(name)).transpose()?;
        let mut setup = Gateway::over(&cgroup).server(server(address)).section(sections);
        if let Some(names) = &names {
            setup = setup.hosts(names.path());
        }
        let gateway = setup.prepare()?;
        let probe = Probe::under(&cgroup)?;
        Ok(Self { gateway, probe, address, cgroup, names, listener: None, netns })
    }

    /// Listens at the governed address.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen(&self) -> anyhow::Result<TcpListener> {
        listen(&self.netns, self.address.port())
    }

    /// Listens for what [`Stage::accept`] takes: from now on the gateway's connects succeed.
    pub(crate) fn ready_to_accept(&mut self) -> anyhow::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(self.listen()?);
        }
        Ok(())
    }

    /// The next connection of the gateway's to the server, for a test that plays the server itself.
    ///
    /// # Errors
    /// None comes, or another serves there.
    pub fn accept(&mut self) -> anyhow::Result<Wire> {
        self.ready_to_accept()?;
        let listener = self.listener.as_ref().context("nothing listens")?;
        listener.set_nonblocking(true)?;
        let stream = wait_for("a connection to the server", PATIENCE, || match listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        })?;
        stream.set_nonblocking(false)?;
        Ok(Wire::new(stream)?)
    }

    /// Both ends of the gateway: a client that has sent this, and the server, to which the gateway has connected for it.
    ///
    /// # Errors
    /// The client is refused, or the gateway does not connect.
    pub fn begin(&mut self, sent: impl AsRef<[u8]>) -> anyhow::Result<(Wire, Wire)> {
        self.ready_to_accept()?;
        let mut client = self.connect()?;
        client.send(sent)?;
        Ok((client, self.accept()?))
    }

    /// Serves at the governed address.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn serve(&self, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> anyhow::Result<Stub> {
        Ok(Stub::start(self.listen()?, Ok, answer))
    }

    /// A client's connection.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(&mut self) -> io::Result<Wire> {
        Wire::new(self.probe.connect(self.address)?)
    }
}
