//! What cannot go to the gateway goes nowhere, is counted by its reason, and is logged.

use std::{
    io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use gateway_user::capture::{Reason, guard};
use socket2::{Domain, Socket, Type};

use crate::{
    gateway::{Gateway, listen, read_answer},
    stage::{GOVERNED_V4, GOVERNED_V6, NOBODY, PLAIN_V4, Stage, addr, become_user, fork, ip, kill},
};

/// Connects to a server that is there and governed; what is not refused reaches it.
fn refused(stage: &Stage, to: &str) -> Vec<(Reason, u64)> {
    let server = listen(to);
    server.set_nonblocking(true).expect("non-blocking");
    let begun = Instant::now();
    let moved = stage.counting(|| {
        let error = TcpStream::connect(to).expect_err("it must not be let through");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    });
    assert!(begun.elapsed() < Duration::from_secs(2), "refused at once");
    assert!(server.accept().is_err(), "nothing arrives");
    moved
}

#[test]
fn without_a_gateway() {
    Stage::run("refuse::without_a_gateway", |stage| {
        stage.guard();
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NoGateway, 1)]);
        assert_eq!(refused(stage, GOVERNED_V6), [(Reason::NoGateway, 1)]);
        let capture = stage.capture();
        let listener = listen("127.0.0.1:0");
        capture.register_listener(listener.as_fd()).expect("a mark");
        let port = listener.local_addr().expect("bound").port();
        capture.announce(port, None).expect("announced");
        assert_eq!(refused(stage, GOVERNED_V6), [(Reason::NoGateway, 1)], "it has no IPv6 port");
        TcpStream::connect(GOVERNED_V4).expect("redirected");
        capture.withdraw().expect("withdrawn");
        capture.heartbeat().expect("nothing to do");
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NoGateway, 1)]);
    });
}

#[test]
fn a_gateway_that_does_not_listen() {
    Stage::run("refuse::a_gateway_that_does_not_listen", |stage| {
        stage.guard();
        let capture = stage.capture();
        let listener = listen("127.0.0.1:0");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        capture.announce(port, Some(port)).expect("announced");
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NotListening, 1)]);
        assert_eq!(refused(stage, GOVERNED_V6), [(Reason::NotListening, 1)]);
    });
}

#[test]
fn a_port_that_another_process_has_taken() {
    Stage::run("refuse::a_port_that_another_process_has_taken", |stage| {
        stage.guard();
        let capture = stage.capture();
        let thief = listen("127.0.0.1:0");
        let thief6 = listen("[::1]:0");
        let port = |l: &std::net::TcpListener| l.local_addr().expect("bound").port();
        capture.announce(port(&thief), Some(port(&thief6))).expect("announced");
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::PortTaken, 1)]);
        assert_eq!(refused(stage, GOVERNED_V6), [(Reason::PortTaken, 1)]);
        capture.register_listener(thief.as_fd()).expect("a mark");
        TcpStream::connect(GOVERNED_V4).expect("with the mark it is the gateway");
    });
}

/// A gateway in a process of its own; it can be stopped and killed.
fn gateway_process(stage: &Stage) -> crate::stage::Child {
    let (reader, writer) = io::pipe().expect("a pipe");
    let child = fork(|| {
        let _gateway = Gateway::start(stage);
        io::Write::write_all(&mut &writer, b"!").expect("told");
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    io::Read::read_exact(&mut &reader, &mut [0]).expect("the gateway is up");
    child
}

#[test]
fn a_gateway_that_hangs() {
    Stage::run("refuse::a_gateway_that_hangs", |stage| {
        let mut config = stage.config();
        config.heartbeat_limit = Duration::from_millis(300);
        guard::up(&config).expect("up");
        let gateway = gateway_process(stage);
        let answered = || read_answer(TcpStream::connect(GOVERNED_V4).expect("redirected"));
        assert!(answered().is_some());
        kill(gateway.0, libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::Stale, 1)]);
        kill(gateway.0, libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(200));
        assert!(answered().is_some(), "it lives again");
        kill(gateway.0, libc::SIGKILL);
    });
}

#[test]
fn a_gateway_that_was_killed() {
    Stage::run("refuse::a_gateway_that_was_killed", |stage| {
        stage.guard();
        let gateway = gateway_process(stage);
        kill(gateway.0, libc::SIGKILL);
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(gateway.0, &raw mut status, 0) };
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NotListening, 1)]);
        let _gateway = Gateway::start(stage);
        TcpStream::connect(GOVERNED_V4).expect("redirected again");
    });
}

#[test]
fn another_network_namespace() {
    Stage::run("refuse::another_network_namespace", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let child = fork(|| {
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            ip("link set lo up");
            ip("addr add 192.0.2.7/32 dev lo");
            assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NoGateway, 1)]);
            0
        });
        assert_eq!(child.wait(), 0);
    });
}

#[test]
fn more_than_may_wait() {
    Stage::run("refuse::more_than_may_wait", |stage| {
        let mut config = stage.config();
        config.max_pending = 8;
        guard::up(&config).expect("up");
        let capture = stage.capture();
        let listener = listen("127.0.0.1:0");
        capture.register_listener(listener.as_fd()).expect("a mark");
        let port = listener.local_addr().expect("bound").port();
        capture.announce(port, None).expect("announced");
        let waiting: Vec<_> = (0..8).map(|_| TcpStream::connect(GOVERNED_V4).expect("redirected")).collect();
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::Full, 1)]);
        let (_, peer) = listener.accept().expect("accepted");
        assert!(capture.take_origin(peer).expect("an answer").is_some());
        TcpStream::connect(GOVERNED_V4).expect("there is room again");
        drop(waiting);
    });
}

#[test]
fn a_socket_bound_to_an_interface() {
    Stage::run("refuse::a_socket_bound_to_an_interface", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        ip("link add test0 type veth peer name test1");
        for device in ["test0", "lo"] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.bind_device(Some(device.as_bytes())).expect("bound");
            let moved = stage.counting(|| {
                let error = socket.connect(&addr(GOVERNED_V4).into()).expect_err("refused");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            });
            assert_eq!(moved, [(Reason::BoundInterface, 1)], "{device}");
        }
    });
}

#[test]
fn datagrams() {
    Stage::run("refuse::datagrams", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let denied = |result: io::Result<()>| {
            let error = result.expect_err("a datagram to a governed address");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        };
        let v4 = UdpSocket::bind("0.0.0.0:0").expect("bound");
        let v6 = UdpSocket::bind("[::]:0").expect("bound");
        let moved = stage.counting(|| {
            denied(v4.send_to(b"quic", GOVERNED_V4).map(drop));
            denied(v6.send_to(b"quic", GOVERNED_V6).map(drop));
            denied(v6.send_to(b"quic", "[::ffff:192.0.2.7]:443").map(drop));
            denied(v6.send_to(b"quic", "[64:ff9b::192.0.2.7]:443").map(drop));
            denied(v4.connect(GOVERNED_V4));
            denied(v6.connect(GOVERNED_V6));
            denied(v6.connect("[::ffff:192.0.2.7]:443"));
        });
        assert_eq!(moved, [(Reason::Datagram, 7)]);

        let other: SocketAddr = addr("192.0.2.7:53");
        let server = UdpSocket::bind(other).expect("bound");
        let moved = stage.counting(|| {
            v4.send_to(b"dns", other).expect("sent");
            v4.connect(other).expect("connected");
        });
        assert_eq!(moved, [(Reason::NotGoverned, 1)]);
        assert_eq!(server.recv(&mut [0; 8]).expect("received"), 3);
    });
}

#[test]
fn kinds_of_sockets_that_would_go_around() {
    /// Makes a socket; 0 or the errno.
    fn make(family: i32, kind: i32, protocol: i32) -> i32 {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return io::Error::last_os_error().raw_os_error().unwrap_or(-1);
        }
        // SAFETY: our own.
        unsafe { libc::close(fd) };
        0
    }
    Stage::run("refuse::kinds_of_sockets_that_would_go_around", |stage| {
        stage.guard();
        let kinds = [
            (libc::SOCK_STREAM, libc::IPPROTO_MPTCP, Reason::Mptcp),
            (libc::SOCK_STREAM, libc::IPPROTO_SCTP, Reason::Sctp),
            (libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP, Reason::Sctp),
            (libc::SOCK_RAW, libc::IPPROTO_TCP, Reason::Raw),
        ];
        let mut refused_by_us = 0;
        for family in [libc::AF_INET, libc::AF_INET6] {
            for (kind, protocol, reason) in kinds {
                let as_root = make(family, kind, protocol);
                let moved = stage.counting(|| {
                    let child = fork(|| {
                        // The right to make raw sockets is kept: it is the guard that refuses, not the kernel.
                        // SAFETY: no pointers.
                        unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1) };
                        become_user(NOBODY, NOBODY);
                        raise_net_raw();
                        make(family, kind, protocol)
                    });
                    let as_other = child.wait();
                    if as_root == 0 {
                        assert_eq!(as_other, libc::EPERM, "protocol {protocol}");
                    } else {
                        assert_ne!(as_other, 0, "this kernel has no protocol {protocol}");
                    }
                });
                if as_root == 0 {
                    assert_eq!(moved, [(reason, 1)], "protocol {protocol}");
                    refused_by_us += 1;
                }
            }
        }
        assert!(refused_by_us >= 2, "raw sockets at least are in every kernel");
        let child = fork(|| {
            become_user(NOBODY, NOBODY);
            make(libc::AF_INET, libc::SOCK_STREAM, 0) + make(libc::AF_INET6, libc::SOCK_DGRAM, 0)
        });
        assert_eq!(child.wait(), 0, "ordinary sockets are everyone's");
    });
}

/// Makes `CAP_NET_RAW` effective again after a change of user.
fn raise_net_raw() {
    // linux/capability.h: version 3, this thread; effective, permitted, inheritable, twice.
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0_u32; 6];
    // SAFETY: a header, and room for two sets.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) };
    assert_eq!(got, 0);
    data[0] |= data[1] & (1 << 13);
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(set, 0);
}

#[test]
fn and_the_gateway_reads_why_in_the_kernel_s_log() {
    Stage::run("refuse::and_the_gateway_reads_why_in_the_kernel_s_log", |stage| {
        stage.guard();
        let mut log = stage.capture().kernel_log().expect("the log");
        // The guard's own test has been refused.
        while log.next_line().is_some() {}
        assert_eq!(refused(stage, GOVERNED_V4), [(Reason::NoGateway, 1)]);
        UdpSocket::bind("[::]:0").and_then(|s| s.send_to(b"?", GOVERNED_V6)).expect_err("refused");
        let pid = std::process::id();
        let mut line = || log.next_line().expect("a line").message;
        assert_eq!(line(), format!("refused (no-gateway) to [::ffff:192.0.2.7]:443 pid {pid} uid 0"));
        assert_eq!(line(), format!("refused (datagram-to-governed) to [2001:db8::7]:443 pid {pid} uid 0"));
        assert!(log.next_line().is_none());
        TcpStream::connect(PLAIN_V4).expect_err("nobody listens; but that is nobody's business");
        assert!(log.next_line().is_none());
    });
}
