//! `probe`: makes sockets where it was started, one for each line of standard input, and says what became of each.
//!
//! `tcp ADDRESS` connects, `udp ADDRESS` sends a datagram, `mptcp` only makes a socket, `close FD` closes one. The answer is
//! `fd NUMBER` or `errno NUMBER`.

use std::{
    io::{BufRead, Error, Result, stdin},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd},
};

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

fn main() -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        let line = line?;
        let (verb, what) = line.split_once(' ').unwrap_or((&line, ""));
        let made = match verb {
            "tcp" => TcpStream::connect(what).map(OwnedFd::from),
            "udp" => datagram(what.parse()?).map(OwnedFd::from),
            "mptcp" => socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).map_err(Error::from),
            "close" => {
                // SAFETY: a descriptor that this program named and that nothing else in it owns.
                drop(unsafe { OwnedFd::from_raw_fd(what.parse::<RawFd>()?) });
                continue;
            }
            other => anyhow::bail!("`{other}` is none of tcp, udp, mptcp and close"),
        };
        match made {
            Ok(socket) => println!("fd {}", socket.into_raw_fd()),
            Err(error) => println!("errno {}", error.raw_os_error().unwrap_or(0)),
        }
    }
    Ok(())
}

fn datagram(to: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.send_to(b"a first packet", to)?;
    Ok(socket)
}
