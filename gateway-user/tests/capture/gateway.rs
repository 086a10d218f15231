//! A gateway of a few lines: accepts, takes the origin, and tells the client what it saw.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use gateway_user::capture::{Capture, KernelOrigin};
use socket2::{Domain, Socket, Type};

use crate::stage::Stage;

pub(crate) struct Gateway {
    pub(crate) capture: Arc<Capture>,
    pub(crate) v4: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Option<KernelOrigin>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Gateway {
    pub(crate) fn start(stage: &Stage) -> Self {
        let capture = Arc::new(stage.capture());
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listeners = [listen("127.0.0.1:0"), listen("[::1]:0")];
        let [v4, v6] = [0, 1].map(|i: usize| listeners[i].local_addr().expect("bound"));
        for listener in &listeners {
            capture.register_listener(listener.as_fd()).expect("a mark");
        }
        capture.announce(v4.port(), Some(v6.port())).expect("announced");
        let mut threads = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true).expect("non-blocking");
            let (capture, stop, seen) = (capture.clone(), stop.clone(), seen.clone());
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    capture.heartbeat().expect("a heartbeat");
                    let Ok((stream, peer)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    let origin = capture.take_origin(peer).expect("an answer");
                    answer(&stream, origin.as_ref());
                    seen.lock().expect("not poisoned").push(origin);
                }
            }));
        }
        Self { capture, v4, seen, stop, threads }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A listener with room for thousands of connects at once.
pub(crate) fn listen(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(true).expect("IPv6 only");
    }
    socket.set_reuse_address(true).expect("reuse");
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("bind {address}: {error}"));
    socket.listen(4096).expect("listening");
    socket.into()
}

fn answer(mut stream: &TcpStream, origin: Option<&KernelOrigin>) {
    let line = match origin {
        Some(o) => format!("{} {} {} {}\n", o.original, o.server, o.tgid, o.uid),
        None => "none\n".to_owned(),
    };
    // A client may have gone.
    let _ = stream.write_all(line.as_bytes());
}

/// What the gateway saw of this client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) original: SocketAddr,
    pub(crate) server: u32,
    pub(crate) tgid: u32,
    pub(crate) uid: u32,
}

/// Reads the gateway's line; `None` if it knew no origin.
pub(crate) fn read_answer(stream: TcpStream) -> Option<Seen> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    if line == "none\n" {
        return None;
    }
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("not an answer: {line:?}"));
    Some(Seen {
        original: word().parse().expect("an address"),
        server: word().parse().expect("a number"),
        tgid: word().parse().expect("a number"),
        uid: word().parse().expect("a number"),
    })
}
