//! Reading the log for people: `mcp-gateway audit tail`.
//!
//! ```text
//! 2026-11-24 00:15:00.123  #17  request  clinic-db  tools/call query  python3[4242] uid 1000
//! 2026-11-24 00:15:00.131  #18  answer of #17  clinic-db  tools/call query  ok 200  7.9 ms
//! ```
//!
//! What a record holds came from an attacker's reach: control characters and those that turn the
//! direction of text are shown, and not obeyed.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    entry::Effect,
    format::{Line, parse},
    lines::Lines,
    segment::{self, Segment},
};

const POLL: Duration = Duration::from_millis(200);

/// What to show, and how.
#[derive(Clone, Debug, Default)]
pub struct TailOptions {
    /// The log's directory.
    pub dir: PathBuf,
    /// Only the newest so many of the records that match; `None`: all.
    pub last: Option<usize>,
    /// Goes on with what is appended, until the output is closed.
    pub follow: bool,
    /// Only records of this server.
    pub server: Option<String>,
    /// Only records of this MCP method.
    pub method: Option<String>,
    /// Lines as they stand in the log, instead of one for people.
    pub json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No segment is there, and none was waited for.
    #[error("{dir} holds no audit log: no file is named like 00000000000000000000.jsonl")]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Write(#[source] io::Error),
}

/// Shows the log in `options.dir` on `out`. Ends well when the reader of `out` goes away.
///
/// # Errors
/// [`TailError`].
pub fn run(options: &TailOptions, out: &mut impl Write) -> Result<(), TailError> {
    let result = show_all(options, out).and_then(|from| if options.follow { follow(options, from, out) } else { Ok(()) });
    match result {
        Err(TailError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Where following goes on.
struct Place {
    segment: Option<Segment>,
    offset: u64,
}

fn show_all(options: &TailOptions, out: &mut impl Write) -> Result<Place, TailError> {
    let segments = list(&options.dir)?;
    if segments.is_empty() && !options.follow {
        return Err(TailError::NoLog { dir: options.dir.clone() });
    }
    let mut place = Place { segment: segments.last().cloned(), offset: 0 };
    let mut newest: VecDeque<String> = VecDeque::new();
    // With a limit, from the newest segment backwards, no further than it takes.
    let backwards: Vec<&Segment> = match options.last {
        Some(_) => segments.iter().rev().collect(),
        None => segments.iter().collect(),
    };
    for segment in backwards {
        let mut matching = VecDeque::new();
        let file = File::open(&segment.path).map_err(reading(&segment.path))?;
        let mut lines = Lines::new(file, 0);
        let mut end = 0;
        while let Some(raw) = lines.next().map_err(reading(&segment.path))? {
            if raw.ended {
                end = raw.offset + raw.bytes.len() as u64 + 1;
            }
            let Some(text) = render(options, raw.bytes) else {
                continue;
            };
            let Some(last) = options.last else {
                write_line(out, &text)?;
                continue;
            };
            matching.push_back(text);
            if matching.len() + newest.len() > last {
                matching.pop_front();
            }
        }
        if place.segment.as_ref() == Some(segment) {
            place.offset = end;
        }
        matching.append(&mut newest);
        newest = matching;
        if options.last.is_some_and(|last| newest.len() >= last) {
            break;
        }
    }
    for text in newest {
        write_line(out, &text)?;
    }
    out.flush().map_err(TailError::Write)?;
    Ok(place)
}

fn follow(options: &TailOptions, mut place: Place, out: &mut impl Write) -> Result<(), TailError> {
    loop {
        // Listed before the current one is read: what it lacks afterwards it will never have.
        let segments = list(&options.dir)?;
        let following = match &place.segment {
            Some(current) => {
                read_new(options, &current.path, &mut place.offset, out)?;
                segments.into_iter().find(|segment| segment.first > current.first)
            }
            None => segments.into_iter().next(),
        };
        out.flush().map_err(TailError::Write)?;
        match following {
            Some(segment) => place = Place { segment: Some(segment), offset: 0 },
            None => thread::sleep(POLL),
        }
    }
}

fn read_new(options: &TailOptions, path: &Path, offset: &mut u64, out: &mut impl Write) -> Result<(), TailError> {
    let file = File::open(path).map_err(reading(path))?;
    let mut chunk = vec![0; 256 << 10];
    loop {
        let read = file.read_at(&mut chunk, *offset).map_err(reading(path))?;
        let mut rest = &chunk[..read];
        // The next record begins right here: a blank means that it is not there yet.
        while let Some(end) = memchr::memchr(b'\n', rest).filter(|end| *end > 0) {
            if let Some(text) = render(options, &rest[..end]) {
                write_line(out, &text)?;
            }
            *offset += end as u64 + 1;
            rest = &rest[end + 1..];
        }
        if read < chunk.len() || rest.first() == Some(&b'\n') {
            return Ok(());
        }
        if rest.len() == chunk.len() {
            chunk.resize(chunk.len() * 2, 0);
        }
    }
}

fn list(dir: &Path) -> Result<Vec<Segment>, TailError> {
    segment::list(dir).map_err(reading(dir))
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> TailError + use<> {
    let path = path.to_owned();
    move |source| TailError::Read { path, source }
}

fn write_line(out: &mut impl Write, text: &str) -> Result<(), TailError> {
    writeln!(out, "{text}").map_err(TailError::Write)
}

/// The line as it is to be shown; `None` if it is not to be.
fn render(options: &TailOptions, bytes: &[u8]) -> Option<String> {
    let filtered = options.server.is_some() || options.method.is_some();
    let line = match parse(bytes) {
        Ok(line) => line,
        Err(_) if filtered => return None,
        Err(fault) => {
            return Some(format!(
                "(damaged line: {fault}; `mcp-gateway audit verify` tells more) {}",
                shown(&String::from_utf8_lossy(bytes), 200)
            ));
        }
    };
    let body = if filtered || !options.json { line.body.and_then(|body| serde_json::from_slice(body).ok()) } else { None };
    let body = Body(body.unwrap_or_default());
    let is = |wanted: &Option<String>, has: Option<&str>| wanted.as_deref().is_none_or(|wanted| has == Some(wanted));
    if !is(&options.server, body.text("/server")) || !is(&options.method, body.text("/call/method")) {
        return None;
    }
    Some(if options.json { String::from_utf8_lossy(bytes).into_owned() } else { for_people(&line, &body) })
}

struct Body(Value);

impl Body {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str()
    }

    fn number(&self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer)?.as_u64()
    }
}

fn for_people(line: &Line<'_>, body: &Body) -> String {
    let head = &line.head;
    let time = head.at.get(..23).unwrap_or(head.at).replace('T', " ");
    let mut parts = vec![time, format!("#{}", head.seq)];
    parts.push(match head.effect {
        Effect::Closes(opened) => format!("{} of #{opened}", head.kind),
        _ => head.kind.to_owned(),
    });
    parts.extend(body.text("/server").map(|server| shown(server, 60)));
    match (body.text("/call/method"), body.text("/call/name")) {
        (Some(method), Some(name)) => parts.push(format!("{} {}", shown(method, 60), shown(name, 80))),
        (Some(one), None) | (None, Some(one)) => parts.push(shown(one, 80)),
        (None, None) => {}
    }
    parts.extend(who(body));
    parts.extend(process(body));
    parts.extend(outcome(body));
    // What the gateway itself did not let through, and why.
    parts.extend(body.text("/reason").map(|reason| shown(reason, 40)));
    parts.extend(body.text("/message").map(|message| shown(message, 200)));
    parts.extend(carried(body));
    parts.extend(body.number("/outcome/took_us").map(took));
    let said = ["/server", "/reason"].iter().any(|known| body.0.pointer(known).is_some());
    if !said && body.0.as_object().is_some_and(|map| !map.is_empty()) {
        parts.push(shown(&body.0.to_string(), 200));
    }
    if line.body.is_none() {
        parts.push("(body left out)".into());
    }
    parts.join("  ")
}

/// The person or the workload behind a call; nothing when that is nobody.
fn who(body: &Body) -> Option<String> {
    let of = |key: &str| body.text(&format!("/caller/identity/{key}"));
    match of("kind")? {
        "person" => Some(shown(of("name").or(of("subject"))?, 60)),
        "workload" => Some(format!("workload {}", shown(of("name")?, 60))),
        _ => None,
    }
}

fn process(body: &Body) -> Option<String> {
    let exe = body.text("/caller/process/exe").and_then(|exe| exe.rsplit('/').next());
    let name = body.text("/caller/process/comm").or(exe);
    let pid = body.number("/caller/process/pid");
    let uid = body.number("/caller/origin/uid");
    let mut out = shown(name.unwrap_or_default(), 40);
    if let Some(pid) = pid {
        let _ = write!(out, "[{pid}]");
    }
    // A caller of the endpoint that is no process of this host.
    if let Some(peer) = body.text("/caller/origin/peer").filter(|_| pid.is_none()) {
        out.push_str(&shown(peer, 60));
    }
    if let Some(uid) = uid {
        let _ = write!(out, "{}uid {uid}", if out.is_empty() { "" } else { " " });
    }
    Some(out).filter(|out| !out.is_empty())
}

fn outcome(body: &Body) -> Option<String> {
    let outcome = body.0.pointer("/outcome")?;
    let failed = outcome.get("is_error").and_then(Value::as_bool) == Some(true);
    let code = outcome.get("code").and_then(Value::as_i64);
    let withheld = outcome.get("gateway").and_then(Value::as_str);
    let mut out = match withheld {
        Some(reason) => shown(reason, 40),
        None if failed || code.is_some() => "error".to_owned(),
        None => "ok".to_owned(),
    };
    if let Some(code) = code {
        let _ = write!(out, " {code}");
    }
    match outcome.get("status") {
        Some(Value::Number(status)) => _ = write!(out, " {status}"),
        Some(Value::String(status)) => _ = write!(out, " {}", shown(status, 40)),
        _ => {}
    }
    Some(out)
}

/// What a connection that was no MCP carried.
fn carried(body: &Body) -> Option<String> {
    let (protocol, phase) = (body.text("/protocol")?, body.text("/phase")?);
    Some(match (body.number("/bytes_up"), body.number("/bytes_down")) {
        (Some(up), Some(down)) => format!("{} {}, {up} bytes up, {down} down", shown(protocol, 20), shown(phase, 20)),
        _ => format!("{} {}", shown(protocol, 20), shown(phase, 20)),
    })
}

fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// Text from elsewhere, safe on a terminal and no longer than `limit` characters.
#[must_use]
pub fn shown(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == limit {
            out.push('…');
            break;
        }
        if c.is_control() || turns_or_hides(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change the direction of others, or that nobody sees (Unicode TR 36, 3.7; UAX 9).
fn turns_or_hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
