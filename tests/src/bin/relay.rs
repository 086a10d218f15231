//! `relay TO`: listens on loopback, prints where, and copies each connection to another address and back, as plainly as it can be done.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use clap::Parser;

/// A relay of blocking reads and writes: what any other is measured against.
#[derive(Parser)]
struct Arguments {
    /// Where the connections go.
    to: SocketAddr,
}

const PIECE: usize = 64 << 10;

fn main() -> anyhow::Result<()> {
    let Arguments { to } = Arguments::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, server) = (client?, TcpStream::connect(to)?);
        let (up, down) = ((client.try_clone()?, server.try_clone()?), (server, client));
        for (from, to) in [up, down] {
            // A connection that breaks is its peers' affair.
            thread::spawn(move || drop(copy(from, to)));
        }
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            count => to.write_all(&buffer[..count])?,
        }
    }
}
