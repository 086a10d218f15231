//! Shows that a read of tokio-uring that is given up by a timeout takes the next bytes with it.
//!
//! `cargo run -p gateway-user --example lost_read`; see `docs/decisions/0001-sockets-are-not-on-tokio-uring.md`.

use std::{io::Write, net::TcpListener, time::Duration};

use anyhow::ensure;

fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    tokio_uring::start(async move {
        let stream = tokio_uring::net::TcpStream::connect(address).await?;
        let (mut peer, _) = listener.accept()?;

        let given_up = tokio::time::timeout(Duration::from_millis(50), stream.read(vec![0; 64])).await;
        ensure!(given_up.is_err(), "nothing was sent yet, and something was read");
        println!("1. A read waited 50 ms, nothing came, and its future was dropped.");

        peer.write_all(b"first ")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.write_all(b"second")?;
        println!("2. The peer sent `first `, then `second`.");

        let (count, buffer) = stream.read(vec![0; 64]).await;
        let seen = String::from_utf8_lossy(&buffer[..count?]).into_owned();
        println!("3. The next read saw `{seen}`.");
        if seen == "second" {
            println!("`first ` went into the buffer of the read that nobody waits for any more: it is lost.");
        } else {
            println!("Nothing was lost: this version of tokio-uring cancels a read that is dropped. The decision can be looked at again.");
        }
        Ok(())
    })
}
