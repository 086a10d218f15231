//! What the kernel programs say through aya-log.
//!
//! aya-log's own reader wants either the loaded programs or the right to open maps by number, and so `CAP_SYS_ADMIN`. The gateway has the pin
//! of the ring buffer only; the records in it are simple: fields of a kind (one byte), a length (two bytes) and that many bytes,
//! after the length of them all (aya-log-common 0.2, `Field` and `Header`).

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
};

use aya::maps::{Map, MapData, RingBuf};
use gateway_common::Reason;

use super::{CaptureError, names};

/// One message of a kernel program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLogLine {
    /// How grave it is.
    pub level: tracing::Level,
    /// The text.
    pub message: String,
}

/// The reading end of the kernel programs' log. There is one queue: what one reader takes another does not see.
pub struct KernelLog {
    ring: RingBuf<MapData>,
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Readable when there are lines: fit for `tokio::io::unix::AsyncFd`.
impl AsRawFd for KernelLog {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_fd().as_raw_fd()
    }
}

impl KernelLog {
    /// Opens the pinned ring buffer. Needs no privilege but the pin's owner's.
    ///
    /// # Errors
    ///
    /// As [`super::Capture::open`].
    pub(crate) fn open(pin_dir: &Path) -> Result<Self, CaptureError> {
        let path = pin_dir.join(names::LOGS);
        // aya's error hides the cause; opening the pin once by hand shows it.
        let fd = super::bpf::open_pin(&path).map_err(|source| CaptureError::pin(path.clone(), source))?;
        let failed = |error: aya::maps::MapError| CaptureError::pin(path.clone(), std::io::Error::other(error));
        let data = MapData::from_fd(fd).map_err(failed)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(failed)?;
        Ok(Self { ring })
    }

    /// The next line, if there is one; never waits.
    pub fn next_line(&mut self) -> Option<KernelLogLine> {
        let record = self.ring.next()?;
        Some(read(&record).unwrap_or_else(|| KernelLogLine {
            level: tracing::Level::WARN,
            message: format!("a message of the kernel programs that this version cannot read ({} bytes)", record.len()),
        }))
    }

    /// Sends every waiting line to `tracing`, under the target `kernel`; returns how many.
    pub fn forward(&mut self) -> usize {
        let mut lines = 0;
        while let Some(KernelLogLine { level, message }) = self.next_line() {
            lines += 1;
            match level {
                tracing::Level::ERROR => tracing::error!(target: "kernel", "{message}"),
                tracing::Level::WARN => tracing::warn!(target: "kernel", "{message}"),
                tracing::Level::INFO => tracing::info!(target: "kernel", "{message}"),
                tracing::Level::DEBUG => tracing::debug!(target: "kernel", "{message}"),
                tracing::Level::TRACE => tracing::trace!(target: "kernel", "{message}"),
            }
        }
        lines
    }
}

/// `RecordFieldKind` of aya-log-common.
mod field {
    pub(super) const LEVEL: u8 = 1;
    pub(super) const NUM_ARGS: u8 = 5;
}

/// Those of `ArgumentKind` that the kernel programs use.
mod argument {
    pub(super) const DISPLAY_HINT: u8 = 0;
    pub(super) const U16: u8 = 7;
    pub(super) const U32: u8 = 8;
    pub(super) const U64: u8 = 9;
    pub(super) const IPV4: u8 = 13;
    pub(super) const IPV6: u8 = 14;
    pub(super) const STR: u8 = 20;
}

/// Takes one field from the front.
fn split(record: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = record.split_first()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_ne_bytes(*len)))?;
    Some((*kind, value, rest))
}

/// Reads one record; `None` if it is not one.
fn read(record: &[u8]) -> Option<KernelLogLine> {
    // First its own length, in two bytes: what follows it is room that was reserved and not used.
    let len = u16::from_ne_bytes(*record.first_chunk::<2>()?);
    let mut rest = record.get(2..usize::from(len))?;
    let mut level = tracing::Level::WARN;
    // The header ends with the number of arguments.
    let arguments = loop {
        let (kind, value, after) = split(rest)?;
        rest = after;
        match kind {
            field::LEVEL => {
                level = match value.first()? {
                    1 => tracing::Level::ERROR,
                    2 => tracing::Level::WARN,
                    3 => tracing::Level::INFO,
                    4 => tracing::Level::DEBUG,
                    _ => tracing::Level::TRACE,
                };
            }
            field::NUM_ARGS => break u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
    };
    let mut message = String::new();
    for _ in 0..arguments {
        let (kind, value, after) = split(rest)?;
        rest = after;
        write_argument(&mut message, kind, value)?;
    }
    Some(KernelLogLine { level, message: name_reason(message) })
}

fn write_argument(out: &mut String, kind: u8, value: &[u8]) -> Option<()> {
    match kind {
        argument::DISPLAY_HINT => Ok(()),
        argument::U16 => write!(out, "{}", u16::from_ne_bytes(value.try_into().ok()?)),
        argument::U32 => write!(out, "{}", u32::from_ne_bytes(value.try_into().ok()?)),
        argument::U64 => write!(out, "{}", u64::from_ne_bytes(value.try_into().ok()?)),
        argument::IPV4 => {
            let octets: [u8; 4] = value.try_into().ok()?;
            write!(out, "{}", Ipv4Addr::from(octets))
        }
        argument::IPV6 => {
            let octets: [u8; 16] = value.try_into().ok()?;
            write!(out, "{}", Ipv6Addr::from(octets))
        }
        argument::STR => write!(out, "{}", String::from_utf8_lossy(value)),
        _ => write!(out, "?"),
    }
    .ok()
}

/// The kernel programs give a refusal's number, because a table of texts costs instructions there.
fn name_reason(message: String) -> String {
    let Some(rest) = message.strip_prefix("reason ") else {
        return message;
    };
    let Some((number, rest)) = rest.split_once(' ') else {
        return message;
    };
    let reason = number.parse().ok().and_then(|n: u32| Reason::ALL.iter().find(|r| r.index() == n));
    match reason {
        Some(reason) => format!("refused ({}) {rest}", reason.name()),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::{KernelLogLine, read};

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len()).expect("short");
        [&[kind], &len.to_ne_bytes()[..], value].concat()
    }

    fn record() -> Vec<u8> {
        let fields = [
            field(0, b"gateway_ebpf"),
            field(1, &[2]),
            field(2, b"gateway_ebpf::refuse"),
            field(3, b"src/refuse.rs"),
            field(4, &33_u32.to_ne_bytes()),
            field(5, &4_u32.to_ne_bytes()),
            field(20, b"reason "),
            field(8, &18_u32.to_ne_bytes()),
            field(20, b" to "),
            field(14, &std::net::Ipv6Addr::LOCALHOST.octets()),
        ]
        .concat();
        let len = u16::try_from(fields.len() + 2).expect("short");
        [&len.to_ne_bytes()[..], &fields, &[0; 40]].concat()
    }

    #[test]
    fn a_refusal_is_named() {
        let expected = KernelLogLine { level: tracing::Level::WARN, message: "refused (gateway-not-listening) to ::1".to_owned() };
        assert_eq!(read(&record()), Some(expected));
    }

    #[test]
    fn a_record_cut_short_is_no_line_and_no_panic() {
        let whole = record();
        let end = whole.len() - 40;
        for cut in 0..end {
            assert_eq!(read(&whole[..cut]), None, "cut at {cut}");
        }
    }
}
