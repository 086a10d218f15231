//! A governed connect goes to the gateway, however it is made, and the client does not notice.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _},
    time::Duration,
};

use gateway_user::capture::Reason;
use socket2::{Domain, Socket, Type};

use crate::{
    gateway::{Gateway, Seen, listen, read_answer},
    stage::{GOVERNED_V4, GOVERNED_V6, PLAIN_V4, Stage, addr, fork, set_option},
};

fn seen(original: &str, server: u32) -> Option<Seen> {
    Some(Seen { original: addr(original), server, tgid: std::process::id(), uid: 0 })
}

#[test]
fn ipv4_goes_to_the_gateway_and_the_client_sees_its_own_peer() {
    Stage::run("redirect::ipv4_goes_to_the_gateway_and_the_client_sees_its_own_peer", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let moved = stage.counting(|| {
            let stream = TcpStream::connect(GOVERNED_V4).expect("redirected");
            assert_eq!(stream.peer_addr().expect("a peer"), addr(GOVERNED_V4));
            assert_eq!(read_answer(stream), seen(GOVERNED_V4, 1));
        });
        assert_eq!(moved, [(Reason::Redirected, 1), (Reason::Tied, 1)]);
        drop(gateway);
    });
}

#[test]
fn ipv6_goes_to_the_gateway_and_the_client_sees_its_own_peer() {
    Stage::run("redirect::ipv6_goes_to_the_gateway_and_the_client_sees_its_own_peer", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let stream = TcpStream::connect(GOVERNED_V6).expect("redirected");
        assert_eq!(stream.peer_addr().expect("a peer"), addr(GOVERNED_V6));
        assert_eq!(read_answer(stream), seen(GOVERNED_V6, 2));
    });
}

#[test]
fn every_spelling_of_an_address_is_governed() {
    Stage::run("redirect::every_spelling_of_an_address_is_governed", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        gateway.capture.govern([127, 0, 0, 1].into(), 4443, 3).expect("governed");
        gateway.capture.govern("::1".parse().expect("an address"), 4443, 4).expect("governed");
        for (dialled, shown_to_client, shown_to_gateway, server) in [
            ("[::ffff:192.0.2.7]:443", "[::ffff:192.0.2.7]:443", "192.0.2.7:443", 1),
            ("[64:ff9b::192.0.2.7]:443", "[64:ff9b::192.0.2.7]:443", "[64:ff9b::192.0.2.7]:443", 1),
            ("0.0.0.0:4443", "127.0.0.1:4443", "127.0.0.1:4443", 3),
            ("[::ffff:0.0.0.0]:4443", "[::ffff:127.0.0.1]:4443", "127.0.0.1:4443", 3),
            ("[::]:4443", "[::1]:4443", "[::1]:4443", 4),
        ] {
            let stream = TcpStream::connect(dialled).unwrap_or_else(|e| panic!("{dialled}: {e}"));
            assert_eq!(stream.peer_addr().expect("a peer"), addr(shown_to_client), "{dialled}");
            assert_eq!(read_answer(stream), seen(shown_to_gateway, server), "{dialled}");
        }
    });
}

#[test]
fn unspecified_from_a_mapped_source_is_ipv4_loopback() {
    Stage::run("redirect::unspecified_from_a_mapped_source_is_ipv4_loopback", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        gateway.capture.govern([127, 0, 0, 1].into(), 4443, 3).expect("governed");
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        socket.set_only_v6(false).expect("both families");
        socket.bind(&addr("[::ffff:127.0.0.1]:0").into()).expect("bound");
        socket.connect(&addr("[::]:4443").into()).expect("redirected");
        assert_eq!(read_answer(socket.into()), seen("127.0.0.1:4443", 3));
    });
}

#[test]
fn a_bound_source_address_changes_nothing() {
    Stage::run("redirect::a_bound_source_address_changes_nothing", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        for (source, destination, server) in [("192.0.2.8:0", GOVERNED_V4, 1), ("[2001:db8::7]:0", GOVERNED_V6, 2)] {
            let (source, destination) = (addr(source), addr(destination));
            let socket = Socket::new(Domain::for_address(source), Type::STREAM, None).expect("a socket");
            socket.bind(&source.into()).expect("bound");
            socket.connect(&destination.into()).expect("redirected");
            assert_eq!(read_answer(socket.into()), seen(&destination.to_string(), server));
        }
    });
}

#[test]
fn a_network_is_governed_and_the_longest_prefix_wins() {
    Stage::run("redirect::a_network_is_governed_and_the_longest_prefix_wins", |stage| {
        let mut config = stage.config();
        config.governed.push(gateway_user::capture::guard::GovernedAddress {
            ip: [192, 0, 2, 0].into(),
            prefix_len: 24,
            port: 443,
            server: 9,
        });
        gateway_user::capture::guard::up(&config).expect("up");
        let _gateway = Gateway::start(stage);
        for (destination, server) in [(GOVERNED_V4, 1), ("192.0.2.200:443", 9)] {
            let stream = TcpStream::connect(destination).expect("redirected");
            assert_eq!(read_answer(stream), seen(destination, server));
        }
    });
}

#[test]
fn a_non_blocking_connect_is_redirected() {
    Stage::run("redirect::a_non_blocking_connect_is_redirected", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        let begun = socket.connect(&addr(GOVERNED_V4).into()).expect_err("not done yet");
        assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5_000) }, 1);
        socket.set_nonblocking(false).expect("blocking");
        assert_eq!(read_answer(socket.into()), seen(GOVERNED_V4, 1));
    });
}

#[test]
fn an_io_uring_connect_is_redirected_and_is_its_process_s() {
    Stage::run("redirect::an_io_uring_connect_is_redirected_and_is_its_process_s", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let mut ring = io_uring::IoUring::new(4).expect("this test needs io_uring");
        // Both ways: done at once by the caller, and by a kernel worker.
        for flags in [io_uring::squeue::Flags::empty(), io_uring::squeue::Flags::ASYNC] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let to = socket2::SockAddr::from(addr(GOVERNED_V4));
            let entry =
                io_uring::opcode::Connect::new(io_uring::types::Fd(socket.as_raw_fd()), to.as_ptr().cast(), to.len()).build().flags(flags);
            // SAFETY: socket and address live until the completion is here.
            unsafe { ring.submission().push(&entry).expect("room") };
            ring.submit_and_wait(1).expect("submitted");
            let done = ring.completion().next().expect("a completion");
            assert_eq!(done.result(), 0);
            assert_eq!(read_answer(socket.into()), seen(GOVERNED_V4, 1));
        }
    });
}

#[test]
fn a_fast_open_connect_is_redirected() {
    Stage::run("redirect::a_fast_open_connect_is_redirected", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let connected = |by_option: bool| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let to = socket2::SockAddr::from(addr(GOVERNED_V4));
            if by_option {
                set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
                socket.connect(&to).expect("begun");
                socket.send(b"x").expect("sent");
            } else {
                socket.send_to_with_flags(b"x", &to, libc::MSG_FASTOPEN).expect("sent");
            }
            TcpStream::from(socket)
        };
        for by_option in [false, true] {
            assert_eq!(read_answer(connected(by_option)), seen(GOVERNED_V4, 1));
        }
    });
}

#[test]
fn what_is_not_governed_is_not_touched() {
    Stage::run("redirect::what_is_not_governed_is_not_touched", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let server = listen(PLAIN_V4);
        // The same address at another port, too.
        let other_port = listen("192.0.2.7:80");
        let moved = stage.counting(|| {
            for (server, to) in [(&server, PLAIN_V4), (&other_port, "192.0.2.7:80")] {
                let client = TcpStream::connect(to).expect("connected");
                assert_eq!(client.peer_addr().expect("a peer"), addr(to));
                let (accepted, peer) = server.accept().expect("accepted");
                assert_eq!(peer, client.local_addr().expect("a name"));
                assert_eq!(accepted.peer_addr().expect("a peer"), peer);
            }
        });
        assert_eq!(moved, [(Reason::NotGoverned, 2)]);
        assert!(gateway.seen.lock().expect("not poisoned").is_empty());
    });
}

#[test]
fn the_gateway_s_own_upstream_sockets_are_exempt() {
    Stage::run("redirect::the_gateway_s_own_upstream_sockets_are_exempt", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        for to in [GOVERNED_V4, GOVERNED_V6] {
            let server = listen(to);
            let to = addr(to);
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
            gateway.capture.exempt(std::os::fd::AsFd::as_fd(&socket)).expect("a mark");
            let moved = stage.counting(|| socket.connect(&to.into()).expect("connected"));
            assert_eq!(moved, [(Reason::Exempt, 1)]);
            let (_, peer) = server.accept().expect("accepted");
            assert_eq!(peer, TcpStream::from(socket).local_addr().expect("a name"));
        }
    });
}

#[test]
fn who_dials_the_gateway_itself_has_no_origin() {
    Stage::run("redirect::who_dials_the_gateway_itself_has_no_origin", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let stream = TcpStream::connect(gateway.v4).expect("connected");
        assert_eq!(read_answer(stream), None);
    });
}

/// Disconnects, as connect(2) says, so that the socket can be connected again.
fn disconnect(socket: &Socket) {
    // SAFETY: zeros are a `sockaddr` of the family AF_UNSPEC.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: an address of that size.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, 16) };
    assert_eq!(result, 0);
}

#[test]
fn a_socket_connected_again_elsewhere_shows_its_new_peer() {
    Stage::run("redirect::a_socket_connected_again_elsewhere_shows_its_new_peer", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        gateway.capture.govern("192.0.2.9".parse().expect("an address"), 443, 5).expect("governed");
        let _plain = listen(PLAIN_V4);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let peer = || socket.peer_addr().expect("a peer").as_socket();
        for to in [GOVERNED_V4, PLAIN_V4, "192.0.2.9:443"] {
            socket.connect(&addr(to).into()).expect("connected");
            assert_eq!(peer(), Some(addr(to)));
            if to != "192.0.2.9:443" {
                disconnect(&socket);
            }
        }
        assert_eq!(read_answer(socket.into()), seen("192.0.2.9:443", 5));
    });
}

/// A listener that is the gateway's, but accepts nothing yet.
fn sleepy(stage: &Stage) -> (gateway_user::capture::Capture, TcpListener) {
    let capture = stage.capture();
    let listener = listen("127.0.0.1:0");
    capture.register_listener(std::os::fd::AsFd::as_fd(&listener)).expect("a mark");
    let port = listener.local_addr().expect("bound").port();
    capture.announce(port, None).expect("announced");
    (capture, listener)
}

#[test]
fn a_client_that_is_gone_before_accept_keeps_its_origin() {
    Stage::run("redirect::a_client_that_is_gone_before_accept_keeps_its_origin", |stage| {
        stage.guard();
        let (capture, listener) = sleepy(stage);
        let client = fork(|| {
            let mut stream = TcpStream::connect(GOVERNED_V4).expect("redirected");
            stream.write_all(b"a call, and away").expect("written");
            0
        });
        let pid = u32::try_from(client.0).expect("positive");
        assert_eq!(client.wait(), 0);
        let (mut stream, peer) = listener.accept().expect("accepted");
        let origin = capture.take_origin(peer).expect("an answer").expect("an origin");
        assert_eq!((origin.tgid, origin.server), (pid, 1));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).expect("read");
        assert_eq!(text, "a call, and away");
        assert_eq!(capture.take_origin(peer).expect("an answer"), None, "handed out once");
    });
}

#[test]
fn an_aborted_connect_does_not_lend_its_origin_to_the_next() {
    Stage::run("redirect::an_aborted_connect_does_not_lend_its_origin_to_the_next", |stage| {
        stage.guard();
        let (capture, listener) = sleepy(stage);
        capture.govern("192.0.2.9".parse().expect("an address"), 443, 5).expect("governed");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.connect(&addr(GOVERNED_V4).into()).expect("redirected");
        let first = socket.local_addr().expect("a name").as_socket().expect("an address");
        disconnect(&socket);
        socket.connect(&addr("192.0.2.9:443").into()).expect("redirected");
        let second = socket.local_addr().expect("a name").as_socket().expect("an address");
        let mut origins = Vec::new();
        for _ in 0..2 {
            let (_, peer) = listener.accept().expect("accepted");
            let origin = capture.take_origin(peer).expect("an answer");
            origins.push((peer, origin.map(|o| o.server)));
        }
        // The first connection is dead, and nobody's; it must not be taken for the second.
        if first == second {
            assert!(origins.iter().any(|(_, server)| *server == Some(5)), "{origins:?}");
        } else {
            assert_eq!(origins, [(first, None), (second, Some(5))]);
        }
    });
}

#[test]
fn origins_that_nobody_takes_are_swept() {
    Stage::run("redirect::origins_that_nobody_takes_are_swept", |stage| {
        stage.guard();
        let (capture, listener) = sleepy(stage);
        let stream = TcpStream::connect(GOVERNED_V4).expect("redirected");
        assert_eq!(capture.sweep(Duration::from_secs(60)).expect("swept"), 0);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(capture.sweep(Duration::from_millis(10)).expect("swept"), 1);
        let (_, peer) = listener.accept().expect("accepted");
        assert_eq!(capture.take_origin(peer).expect("an answer"), None);
        drop(stream);
    });
}

#[test]
fn a_connect_that_fails_is_forgotten() {
    Stage::run("redirect::a_connect_that_fails_is_forgotten", |stage| {
        stage.guard();
        let (_capture, _listener) = sleepy(stage);
        let from_one_port = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_reuse_address(true).expect("reuse");
            socket.bind(&addr("127.0.0.1:7777").into()).expect("bound");
            socket
        };
        let (first, second) = (from_one_port(), from_one_port());
        first.connect(&addr(GOVERNED_V4).into()).expect("redirected");
        let moved = stage.counting(|| {
            // The same two ends once more: that fails only after the hook.
            second.connect(&addr(GOVERNED_V4).into()).expect_err("in use");
            drop(second);
        });
        assert_eq!(moved, [(Reason::Redirected, 1), (Reason::Forgotten, 1)]);
    });
}

#[test]
fn a_socket_handed_to_another_process_is_its_connector_s() {
    Stage::run("redirect::a_socket_handed_to_another_process_is_its_connector_s", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let fd = socket.as_raw_fd();
        let child = fork(move || {
            // SAFETY: inherited, and the child's own copy.
            let socket = unsafe { Socket::from_raw_fd(fd) };
            let to: SocketAddr = addr(GOVERNED_V4);
            socket.connect(&to.into()).expect("redirected");
            let seen = read_answer(socket.into()).expect("an origin");
            i32::from(seen.tgid != std::process::id())
        });
        assert_eq!(child.wait(), 0);
    });
}
