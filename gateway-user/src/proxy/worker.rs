//! One worker a core: its own runtime, listeners and pool.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use compio::{driver::DriverType, net::TcpListener, runtime::Runtime, time::sleep};
use futures_channel::oneshot;
use futures_util::future::{FutureExt, Shared as SharedFuture};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::{Shared, connection, endpoint, upstream::Pool, wait};
use crate::{
    capture::{Capture, CaptureError},
    identity::TokenCache,
};

/// The kernel's queue of connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Why the data plane did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("the gateway cannot listen on {address}: {source}; {remedy}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The kernel programs did not take our listeners.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A thread or its runtime could not be made.
    #[error("a data-plane worker cannot be started: {0}")]
    Runtime(io::Error),
}

/// What a worker's connections share.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub pool: RefCell<Pool>,
    /// The tokens that were checked.
    pub tokens: RefCell<TokenCache>,
    /// Resolves when the gateway begins to drain.
    pub drained: SharedFuture<oneshot::Receiver<()>>,
    /// Held by each exchange, and each copy of bytes, that is under way.
    pub exchanges: Rc<()>,
}

impl Worker {
    /// Whether no more than one is under way: then nobody waits while this thread waits for the disk.
    pub(super) fn is_alone(&self) -> bool {
        Rc::strong_count(&self.exchanges) <= 2
    }
}

/// The running workers.
pub struct Workers {
    threads: Vec<(JoinHandle<()>, oneshot::Sender<()>)>,
    failed: Arc<AtomicBool>,
    /// `io_uring` or `epoll`, and why.
    pub driver: String,
    /// The loopback port, on IPv4, to which captured connections go.
    pub port: Option<u16>,
    /// Where the endpoint is, if there is one.
    pub endpoint: Option<SocketAddr>,
}

/// How a listener's connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Capture,
    Endpoint,
}

impl Workers {
    /// Whether a worker ended without being told to.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    /// Accepts nothing more, lets exchanges in flight end, and returns when all have or the limit of the configuration is over.
    pub fn drain(self) {
        let (threads, senders): (Vec<_>, Vec<_>) = self.threads.into_iter().unzip();
        for sender in senders {
            // A worker that is gone already needs no telling.
            let _ = sender.send(());
        }
        for thread in threads {
            // A worker that panicked was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Starts a worker for each beat of `shared`, on one pair of loopback ports for what is captured and at the endpoint, marks every
/// listener of the pair for the kernel programs, and announces it: from then on governed connects come here.
///
/// # Errors
/// [`StartError`]; then nothing was announced.
pub fn start(shared: &Arc<Shared>) -> Result<Workers, StartError> {
    let count = shared.beats.len();
    let mut sockets: Vec<Vec<(Socket, Way)>> = (0..count).map(|_| Vec::new()).collect();
    let ports = shared.capture.as_ref().map(|capture| captured(shared, capture, &mut sockets)).transpose()?;
    let endpoint = shared.config.endpoint.as_ref().map(|endpoint| called(endpoint.listen, &mut sockets)).transpose()?;
    let (report, driver) = std::sync::mpsc::channel();
    let mut threads = Vec::with_capacity(count);
    let failed = Arc::new(AtomicBool::new(false));
    for (index, sockets) in sockets.into_iter().enumerate() {
        let (drain, drained) = oneshot::channel();
        let (shared, report, failed) = (shared.clone(), report.clone(), failed.clone());
        let body = move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error))),
            };
            let _ = report.send(Ok(runtime.driver_type()));
            let busy_poll = shared.config.workers.busy_poll;
            // The future that is blocked on is polled at every turn of the loop: let that be the cheapest there is.
            let ended = wait::block_on(&runtime, async { compio::runtime::spawn(run(shared, index, sockets, drained)).await }, busy_poll);
            if let Err(error) = ended.unwrap_or_else(|_| Err(io::Error::other("it panicked"))) {
                tracing::error!(worker = index, "a data-plane worker ended: {error}");
                failed.store(true, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(StartError::Runtime)?;
        threads.push((thread, drain));
    }
    let mut driver_type = DriverType::Poll;
    for _ in 0..count {
        driver_type = driver.recv().unwrap_or_else(|_| Err(io::Error::other("it ended at once"))).map_err(StartError::Runtime)?;
    }
    if let (Some(capture), Some((v4, v6))) = (&shared.capture, ports) {
        capture.announce(v4, v6)?;
    }
    Ok(Workers { threads, failed, driver: why(driver_type), port: ports.map(|(v4, _)| v4), endpoint })
}

/// A worker's runtime. Its ring is used by this thread alone, and completions wait until it looks for them: nothing interrupts it
/// (IORING_SETUP_DEFER_TASKRUN, Linux 6.1). Where io_uring is not allowed it runs on epoll.
fn runtime() -> io::Result<Runtime> {
    let mut ring = compio::driver::ProactorBuilder::new();
    ring.single_issuer(true).defer_taskrun(true);
    compio::runtime::RuntimeBuilder::new().with_proactor(ring).build()
}

/// Listens for what the kernel programs redirect; the loopback ports, of IPv4 and, where the host has it, IPv6.
fn captured(shared: &Shared, capture: &Capture, sockets: &mut [Vec<(Socket, Way)>]) -> Result<(u16, Option<u16>), StartError> {
    const REMEDY: &str = "set `capture.port` to a free port, or to 0";
    let port = shared.config.capture.as_ref().map_or(0, |settings| settings.port);
    // Marked before it listens: a listener without the mark would be taken for a squatter.
    let mark = |socket: &Socket| capture.register_listener(socket.as_fd()).map_err(StartError::from);
    let mut listen = |ip: IpAddr| listeners(SocketAddr::new(ip, port), sockets, Way::Capture, REMEDY, mark).map(|bound| bound.port());
    let v4 = listen(Ipv4Addr::LOCALHOST.into())?;
    match listen(Ipv6Addr::LOCALHOST.into()) {
        Ok(v6) => Ok((v4, Some(v6))),
        // A host without IPv6 has no ::1: then the kernel programs refuse governed connects over IPv6.
        Err(StartError::Listen { source, .. }) if matches!(source.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => {
            Ok((v4, None))
        }
        Err(error) => Err(error),
    }
}

/// Listens for those who call the endpoint.
fn called(address: SocketAddr, sockets: &mut [Vec<(Socket, Way)>]) -> Result<SocketAddr, StartError> {
    const REMEDY: &str = "set `endpoint.listen` to a free address of this host; ports below 1024 take CAP_NET_BIND_SERVICE";
    listeners(address, sockets, Way::Endpoint, REMEDY, |_| Ok(()))
}

fn why(driver: DriverType) -> String {
    if driver.is_iouring() {
        return "io_uring".into();
    }
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match disabled.trim() {
        "2" => "epoll (kernel.io_uring_disabled is 2)".into(),
        "1" => "epoll (kernel.io_uring_disabled is 1, and the gateway is not in its group)".into(),
        _ => "epoll (the kernel or a seccomp filter does not allow io_uring)".into(),
    }
}

/// One listener a worker, all on one port: the kernel spreads connections over them.
fn listeners(
    mut address: SocketAddr,
    sockets: &mut [Vec<(Socket, Way)>],
    way: Way,
    remedy: &'static str,
    ready: impl Fn(&Socket) -> Result<(), StartError>,
) -> Result<SocketAddr, StartError> {
    for sockets in sockets {
        let failed = |source| StartError::Listen { address, source, remedy };
        let bind = || -> io::Result<(Socket, SocketAddr)> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            if address.is_ipv6() {
                // [::] stands for IPv4 too; ::1 and other addresses are one family's.
                socket.set_only_v6(!address.ip().is_unspecified())?;
            }
            socket.bind(&address.into())?;
            let bound = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok((socket, bound))
        };
        let (socket, bound) = bind().map_err(failed)?;
        ready(&socket)?;
        socket.listen(BACKLOG).map_err(failed)?;
        address = bound;
        sockets.push((socket, way));
    }
    Ok(address)
}

async fn run(shared: Arc<Shared>, index: usize, sockets: Vec<(Socket, Way)>, drained: oneshot::Receiver<()>) -> io::Result<()> {
    let worker = Rc::new(Worker {
        shared,
        pool: RefCell::default(),
        tokens: RefCell::default(),
        drained: drained.shared(),
        exchanges: Rc::default(),
    });
    let open = Rc::new(());
    for (socket, way) in sockets {
        let listener = TcpListener::from_std(socket.into())?;
        compio::runtime::spawn(accept(worker.clone(), listener, way, open.clone())).detach();
    }
    let beat = worker.shared.config.heartbeat() / 8;
    let mut swept = Instant::now();
    loop {
        worker.shared.beats[index].store(now_ms(), Ordering::Relaxed);
        if swept.elapsed() > Duration::from_secs(5) {
            worker.pool.borrow_mut().sweep();
            swept = Instant::now();
        }
        futures_util::select! {
            () = sleep(beat).fuse() => {}
            _ = worker.drained.clone() => break,
        }
    }
    // The accept tasks have ended or are about to; what else holds `open` is a connection in an exchange.
    let deadline = Instant::now() + worker.shared.config.limits.drain;
    while Rc::strong_count(&open) > 1 && Instant::now() < deadline {
        worker.shared.beats[index].store(now_ms(), Ordering::Relaxed);
        sleep(Duration::from_millis(20)).await;
    }
    let left = Rc::strong_count(&open) - 1;
    if left > 0 {
        tracing::warn!(worker = index, left, "connections were cut when the time to drain was over");
    }
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, way: Way, open: Rc<()>) {
    let mut drained = worker.drained.clone();
    loop {
        if Rc::strong_count(&open) > worker.shared.config.limits.connections {
            // Those who wait are in the kernel's queue; when that is full, connects time out.
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let accepted = futures_util::select_biased! {
            _ = drained => return,
            accepted = listener.accept().fuse() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are written in one piece: waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                let (worker, open) = (worker.clone(), Open::new(&worker.shared, &open));
                compio::runtime::spawn(async move {
                    match way {
                        Way::Capture => connection::serve(worker, stream, peer).await,
                        Way::Endpoint => endpoint::serve(worker, stream, peer).await,
                    }
                    drop(open);
                })
                .detach();
            }
            Err(error) => {
                // Out of descriptors, or a connection that was reset in the queue: neither ends the listener.
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A connection that is open: counted until it is not, whatever ends it.
struct Open {
    shared: Arc<Shared>,
    _of_worker: Rc<()>,
}

impl Open {
    fn new(shared: &Arc<Shared>, of_worker: &Rc<()>) -> Self {
        shared.metrics.accepted();
        Open { shared: shared.clone(), _of_worker: of_worker.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.metrics.closed();
    }
}

/// Milliseconds of the monotonic clock.
pub(super) fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

impl Shared {
    /// Whether every worker has shown life within the limit after which the kernel takes the gateway for hung.
    pub fn alive(&self) -> bool {
        let limit = u64::try_from(self.config.heartbeat().as_millis()).unwrap_or(u64::MAX);
        let now = now_ms();
        self.beats.iter().all(|beat| now.saturating_sub(beat.load(Ordering::Relaxed)) < limit)
    }
}
