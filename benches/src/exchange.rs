//! The exchange that is measured, as bytes of HTTP/1.1, and the two ends of the connection that carries it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, bail, ensure};
use gateway_tests::clients::tool_call;
use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::Timespec,
};

/// Bytes of the body of the request, and of the answer.
pub const BODY: usize = 1024;

/// A `tools/call` as an agent's SDK sends it.
#[must_use]
pub fn request(to: SocketAddr) -> Vec<u8> {
    let call = |sql: String| tool_call(1, "query", &serde_json::json!({ "sql": sql, "limit": 50 })).to_string();
    let body = call("x".repeat(BODY - call(String::new()).len()));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {to}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\nUser-Agent: gateway-benches\r\n\
         Connection: keep-alive\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// The body of its answer.
#[must_use]
pub fn answer_body() -> Vec<u8> {
    let result = |text: String| {
        let content = serde_json::json!([{ "type": "text", "text": text }]);
        serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "content": content } }).to_string()
    };
    result("x".repeat(BODY - result(String::new()).len())).into_bytes()
}

/// Its answer.
#[must_use]
pub fn answer() -> Vec<u8> {
    let body = answer_body();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// The bytes that the HTTP message takes with which `bytes` begin; `None` while it is not there whole.
///
/// # Errors
/// It has no length: the two ends of a measurement know no chunks.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    const LENGTH: &[u8] = b"content-length:";
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = (&bytes[..end], end + 4);
    let length = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(LENGTH.len())?;
        name.eq_ignore_ascii_case(LENGTH).then_some(value.trim_ascii())
    });
    let length: usize = std::str::from_utf8(length.context("an HTTP message without Content-Length")?)?.parse()?;
    Ok((bytes.len() >= body + length).then_some(body + length))
}

/// One end of a kept-alive connection on which one message is under way at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Box<[u8; 16 << 10]>,
    filled: usize,
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Whole(&'a [u8]),
    /// Not yet a whole message.
    Part,
    /// The peer's end.
    End,
}

impl Connection {
    /// Over a stream that is connected.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Box::new([0; 16 << 10]), filled: 0 })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, message: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(message)?)
    }

    /// Reads once.
    ///
    /// # Errors
    /// The connection broke, or the peer sends what a measurement does not expect.
    pub fn receive(&mut self) -> anyhow::Result<Received<'_>> {
        let count = self.stream.read(&mut self.received[self.filled..])?;
        if count == 0 {
            return Ok(Received::End);
        }
        self.filled += count;
        match whole(&self.received[..self.filled])? {
            Some(length) => {
                ensure!(length == self.filled, "a second message came before the first was answered");
                self.filled = 0;
                Ok(Received::Whole(&self.received[..length]))
            }
            None => Ok(Received::Part),
        }
    }

    /// Reads an answer if it is there whole, and makes sure that it is the one expected: a proxy that fails fast is not fast.
    ///
    /// # Errors
    /// It is another, or none.
    pub fn answered(&mut self, expected: &[u8]) -> anyhow::Result<bool> {
        match self.receive()? {
            Received::Whole(answer) if answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(expected) => Ok(true),
            Received::Whole(answer) => bail!("not the server's answer: {}", String::from_utf8_lossy(answer)),
            Received::Part => Ok(false),
            Received::End => bail!("the connection was closed"),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sockets, each with a number, of which some have something to read.
pub struct Sockets {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

impl Sockets {
    /// None yet.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(128) })
    }

    /// One more.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn add(&self, socket: impl AsFd, number: u64) -> anyhow::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// Waits for the numbers of those that have something to read; none when `seconds` have passed.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn wait(&mut self, seconds: Option<i64>) -> anyhow::Result<impl Iterator<Item = u64>> {
        let limit = seconds.map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
        epoll::wait(&self.epoll, spare_capacity(&mut self.ready), limit.as_ref())?;
        Ok(self.ready.drain(..).map(|event| event.data.u64()))
    }
}

/// Keeps this thread on the last core. Both ends of a measurement share it, so that the others are the proxy's.
///
/// # Errors
/// The kernel says no.
pub fn to_last_core() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).context("no core to run on")?;
    let mut only = CpuSet::new();
    only.set(last);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_with_its_last_byte() -> anyhow::Result<()> {
        let request = request(([127, 0, 0, 1], 80).into());
        assert_eq!(whole(&request)?, Some(request.len()));
        assert_eq!(whole(&request[..request.len() - 1])?, None);
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Le")?, None);
        assert!(whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        Ok(())
    }

    #[test]
    fn bodies_are_as_long_as_they_say() {
        let request = request(([127, 0, 0, 1], 80).into());
        assert_eq!(memmem::find(&request, b"\r\n\r\n").map(|end| request.len() - end - 4), Some(BODY));
        assert_eq!(answer_body().len(), BODY);
    }
}
