//! A network that fails: HTTP requests go through it to the emulator, or do not, or too late, and
//! the answer comes back, or does not, or another one does. What it does follows from a seed.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Pass,
    LoseRequest,
    LoseAnswer,
    /// Arrives, and is answered when nobody waits any more.
    AnswerLate,
    /// Arrives long after it was given up: behind those that were sent later.
    ArriveLate,
    Error500,
    Error500AfterArrival,
    Throttled,
    FailureInside,
    NotFound,
    Garbage,
    EmptyObject,
    NoEntries,
    NotHttp,
}

pub(crate) const ALL: [Fate; 14] = [
    Fate::Pass,
    Fate::LoseRequest,
    Fate::LoseAnswer,
    Fate::AnswerLate,
    Fate::ArriveLate,
    Fate::Error500,
    Fate::Error500AfterArrival,
    Fate::Throttled,
    Fate::FailureInside,
    Fate::NotFound,
    Fate::Garbage,
    Fate::EmptyObject,
    Fate::NoEntries,
    Fate::NotHttp,
];

/// Longer than the shipper under test waits.
pub(crate) const LATE: Duration = Duration::from_millis(700);

pub(crate) struct Proxy {
    pub(crate) url: String,
    pub(crate) requests: Arc<AtomicU64>,
    /// Requests that are still under way to the emulator.
    pub(crate) under_way: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of the emulator at `port`; `fate` decides for each request.
    pub(crate) fn start(port: u16, fate: impl FnMut() -> Fate + Send + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, under_way, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let proxy = Proxy { url, requests: requests.clone(), under_way: under_way.clone(), ends: ends.clone() };
        let fate = Arc::new(Mutex::new(fate));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (fate, requests, under_way) = (fate.clone(), requests.clone(), under_way.clone());
                thread::spawn(move || {
                    let mut client = client.unwrap();
                    while let Ok(Some(request)) = message(&mut client) {
                        requests.fetch_add(1, Ordering::Relaxed);
                        let fate = (fate.lock().unwrap())();
                        under_way.fetch_add(1, Ordering::SeqCst);
                        let goes_on = suffer(fate, &mut client, &request, port);
                        under_way.fetch_sub(1, Ordering::SeqCst);
                        if !goes_on {
                            return;
                        }
                    }
                });
            }
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// True if the connection can be used again.
fn suffer(fate: Fate, client: &mut TcpStream, request: &[u8], port: u16) -> bool {
    let mut answer = |status: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n", body.len());
        client.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_ok()
    };
    match fate {
        Fate::Pass => {
            let reply = forward(request, port);
            client.write_all(&reply).is_ok()
        }
        Fate::LoseRequest => false,
        Fate::LoseAnswer => {
            forward(request, port);
            false
        }
        Fate::AnswerLate => {
            let reply = forward(request, port);
            thread::sleep(LATE);
            client.write_all(&reply).is_ok()
        }
        Fate::ArriveLate => {
            thread::sleep(LATE);
            forward(request, port);
            false
        }
        Fate::Error500 => answer("500 Internal Server Error", r#"{"__type":"InternalFailure","message":"try again"}"#),
        Fate::Error500AfterArrival => {
            forward(request, port);
            answer("503 Service Unavailable", "")
        }
        Fate::Throttled => {
            answer("400 Bad Request", r#"{"__type":"ProvisionedThroughputExceededException","message":"Rate exceeded for shard"}"#)
        }
        Fate::FailureInside => answer(
            "200 OK",
            r#"{"FailedRecordCount":1,"Records":[{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard"}]}"#,
        ),
        Fate::NotFound => answer("400 Bad Request", r#"{"__type":"ResourceNotFoundException","message":"Stream not found"}"#),
        Fate::Garbage => answer("200 OK", "<html>Welcome to the hotel's network</html>"),
        Fate::EmptyObject => answer("200 OK", "{}"),
        Fate::NoEntries => answer("200 OK", r#"{"FailedRecordCount":0,"Records":[{}]}"#),
        Fate::NotHttp => {
            let _ = client.write_all(b"220 smtp ready\r\n");
            false
        }
    }
}

fn forward(request: &[u8], port: u16) -> Vec<u8> {
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    upstream.write_all(request).unwrap();
    message(&mut upstream).unwrap().unwrap()
}

/// One HTTP message with a Content-Length, whole; `None` if the connection ends before one.
fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Ok(Some(bytes));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// A small generator (SplitMix64): the same seed gives the same sequence.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}
