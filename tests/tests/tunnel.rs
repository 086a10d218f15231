//! What passes unread passes untouched, ends as it was ended, and costs no more than it must.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{Context as Hash, SHA256};
use gateway_tests::{
    Cgroup, Launch, Proc, binaries,
    raw::{Stage, Wire},
    wait::wait_for,
};

type Result<T = ()> = anyhow::Result<T>;

const MIB: usize = 1 << 20;
/// What passes each way.
const MUCH: usize = 256 * MIB;

/// A stream that repeats itself at no power of two, so that no piece can be lost, doubled or put elsewhere unseen.
struct Stream {
    piece: Vec<u8>,
    hash: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        let piece: Vec<u8> = (0_u64..).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(MIB + 7).collect();
        let mut hash = Hash::new(&SHA256);
        Self::pieces(&piece).for_each(|piece| hash.update(piece));
        let hash = hash.finish().as_ref().to_vec();
        Self { piece, hash }
    }

    fn pieces(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
        (0..MUCH).step_by(piece.len()).map(|at| &piece[..piece.len().min(MUCH - at)])
    }

    /// Sends all of it, and that it was all.
    fn send(&self, mut to: &TcpStream) -> std::io::Result<()> {
        Self::pieces(&self.piece).try_for_each(|piece| to.write_all(piece))?;
        to.shutdown(Shutdown::Write)
    }

    /// Reads to the end; it must be this stream.
    fn receive(&self, mut from: &TcpStream) -> Result {
        let (mut hash, mut buffer, mut size) = (Hash::new(&SHA256), vec![0; MIB], 0);
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            size += count;
        }
        ensure!(size == MUCH, "{size} bytes came of {MUCH}");
        ensure!(hash.finish().as_ref() == self.hash, "other bytes came than were sent");
        Ok(())
    }

    /// Over a connection that something relays to this listener: it goes up, that ends, and then it comes down.
    fn both_ways(&self, client: &TcpStream, listener: &TcpListener) -> Result {
        thread::scope(|scope| {
            let server = scope.spawn(|| -> Result {
                let (server, _) = listener.accept()?;
                self.receive(&server)?;
                Ok(self.send(&server)?)
            });
            self.send(client)?;
            self.receive(client)?;
            server.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
        })
    }
}

/// A plain copy, by a program of its own.
struct Relay {
    process: Proc,
}

impl Relay {
    fn start(stage: &Stage) -> Result<Self> {
        Ok(Self { process: Launch::new(binaries::own("relay")?).arg(stage.address.to_string()).start()? })
    }

    fn connect(&self) -> Result<TcpStream> {
        let said = || Ok(self.process.stdout().lines().next().map(str::to_owned));
        let address = wait_for("the relay to listen", Duration::from_secs(10), said)?;
        Ok(TcpStream::connect(address)?)
    }
}

/// What was spent in a cgroup while something was done. Of a program that was built without optimisation, only the kernel's part says
/// anything: it is as much with it.
fn spent(cgroup: &Cgroup, act: impl FnOnce() -> Result) -> Result<Duration> {
    let before = cgroup.spent()?;
    act()?;
    let spent = cgroup.spent()? - before;
    Ok(if cfg!(debug_assertions) { spent.system } else { spent.system + spent.user })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_stream_each_way_passes_at_little_more_than_the_price_of_a_plain_copy() -> Result {
    const ROUNDS: usize = 3;
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let (listener, stream, relay) = (stage.listen()?, Stream::new(), Relay::start(&stage)?);
    let (ours, plain) = (Cgroup::new()?, Cgroup::new()?);
    ours.take(stage.gateway.pid()?)?;
    plain.take(relay.process.pid())?;
    let (mut of_gateway, mut of_relay) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does is shared.
    for round in 1..=ROUNDS {
        let mut client = stage.probe.connect(stage.address)?;
        of_gateway.push(spent(&ours, || stream.both_ways(&client, &listener)).with_context(|| format!("the gateway, round {round}"))?);
        client = relay.connect()?;
        of_relay.push(spent(&plain, || stream.both_ways(&client, &listener)).with_context(|| format!("the relay, round {round}"))?);
    }
    println!("the gateway: {of_gateway:?}; a plain copy: {of_relay:?}");
    let ratio = median(of_gateway).as_secs_f64() / median(of_relay).as_secs_f64();
    println!("ratio: {ratio:.2}");
    assert!(ratio <= 1.2, "{ratio:.2} times the processor time of a plain copy");
    Ok(())
}

/// Whoever is cut off must not take what it has for all there is.
#[test]
fn what_breaks_on_one_side_breaks_on_the_other() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    let begin = |stage: &mut Stage| -> Result<(Wire, Wire)> {
        let (client, mut server) = stage.begin(b"\0binary\n")?;
        assert_eq!(server.until("\n")?, "\0binary\n");
        Ok((client, server))
    };
    let (client, mut server) = begin(&mut stage)?;
    client.reset()?;
    assert_eq!(server.rest().map_err(|error| error.kind()), reset);
    let (mut client, server) = begin(&mut stage)?;
    server.reset()?;
    assert_eq!(client.rest().map_err(|error| error.kind()), reset);
    let (mut client, mut server) = begin(&mut stage)?;
    stage.gateway.kill()?;
    assert_eq!(server.rest().map_err(|error| error.kind()), reset);
    assert_eq!(client.rest().map_err(|error| error.kind()), reset);
    Ok(())
}
