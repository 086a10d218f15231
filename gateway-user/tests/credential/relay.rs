//! What stands between the gateway and AWS: it writes down what is asked, and does to it what a test says.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) line: String,
    form: HashMap<String, String>,
}

impl Call {
    /// A parameter of the form.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }

    /// The session's tags, as `key=value`.
    pub(crate) fn tags(&self) -> Vec<String> {
        (1..)
            .map_while(|n| {
                Some(format!("{}={}", self.form.get(&format!("Tags.member.{n}.Key"))?, self.get(&format!("Tags.member.{n}.Value"))))
            })
            .collect()
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub(crate) enum Fate {
    Pass,
    /// What it is answered with ends after so long.
    Until(Duration),
    /// It waits until the gate opens.
    Held(Arc<Gate>),
    Error(u16, &'static str),
    /// With the field that EC2 answers with beside a token of its metadata, and moto does not; and with another end of its keys.
    Metadata(u64),
    Cut,
}

#[derive(Default)]
pub(crate) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    /// The end of each key that was given.
    ends: Arc<Mutex<HashMap<String, SystemTime>>>,
    stops: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn start(port: u16, fate: impl FnMut(usize) -> Fate + Send + 'static) -> Relay {
        Relay::start_to(move || port, fate)
    }

    /// `fate` is told how many requests came before.
    pub(crate) fn start_to(port: impl Fn() -> u16 + Send + Sync + 'static, fate: impl FnMut(usize) -> Fate + Send + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let relay = Relay { url, calls: Arc::default(), ends: Arc::default(), stops: Arc::default() };
        let (on, fate, port) = (relay.clone(), Arc::new(Mutex::new(fate)), Arc::new(port));
        thread::spawn(move || {
            for client in listener.incoming() {
                if on.stops.load(Ordering::Relaxed) {
                    return;
                }
                let (on, fate, port, mut client) = (on.clone(), fate.clone(), port.clone(), client.unwrap());
                thread::spawn(move || {
                    while let Ok(Some(request)) = message(&mut client) {
                        let before = on.note(&request);
                        let fate = (fate.lock().unwrap())(before);
                        let Some(answer) = on.suffer(fate, &request, port()) else { return };
                        if client.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        relay
    }

    pub(crate) fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn end_of(&self, key: &str) -> SystemTime {
        self.ends.lock().unwrap()[key]
    }

    fn note(&self, request: &[u8]) -> usize {
        let text = String::from_utf8_lossy(request);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().to_owned();
        let form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let mut calls = self.calls.lock().unwrap();
        calls.push(Call { line, form });
        calls.len() - 1
    }

    fn suffer(&self, fate: Fate, request: &[u8], port: u16) -> Option<Vec<u8>> {
        match fate {
            Fate::Pass => forward(request, port),
            Fate::Until(lasts) => {
                let answer = String::from_utf8(forward(request, port)?).unwrap();
                let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                let end = SystemTime::now() + lasts;
                let said =
                    jiff::Timestamp::from_millisecond(i64::try_from(end.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()).unwrap();
                let body = body.replace(between(body, "Expiration"), &format!("{said:.3}"));
                self.ends.lock().unwrap().insert(between(&body, "AccessKeyId").to_owned(), end);
                Some(format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
            }
            Fate::Held(gate) => {
                gate.wait();
                forward(request, port)
            }
            Fate::Error(status, code) => {
                let body = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>in STS's own words</Message></Error></ErrorResponse>"
                );
                Some(format!("HTTP/1.1 {status} No\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
            }
            Fate::Metadata(end) => {
                let mut answer = String::from_utf8(forward(request, port)?).unwrap();
                if let Some((before, said)) = answer.split_once("\"Expiration\": \"").filter(|_| end > 0) {
                    // As long as moto's own.
                    let end = jiff::Timestamp::from_second(i64::try_from(end).unwrap()).unwrap();
                    answer = format!("{before}\"Expiration\": \"{end}{}", &said[20..]);
                }
                Some(answer.replacen("\r\n", "\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", 1).into_bytes())
            }
            Fate::Cut => None,
        }
    }
}

fn between<'a>(xml: &'a str, tag: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{tag}>")).unwrap();
    rest.split_once(&format!("</{tag}>")).unwrap().0
}

fn forward(request: &[u8], port: u16) -> Option<Vec<u8>> {
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    upstream.write_all(request).ok()?;
    message(&mut upstream).ok()?
}

/// One HTTP message with a Content-Length, whole; `None` if the connection ends before one.
pub(crate) fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 65536]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            if bytes.len() >= end + 4 + length.map_or(0, |text| text.trim().parse().unwrap()) {
                return Ok(Some(bytes));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
