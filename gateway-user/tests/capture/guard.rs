//! The guard comes up, is replaced, goes down, and says what it lacks.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use gateway_user::capture::{
    Capture, CaptureError, Reason,
    guard::{self, Canary, GovernedAddress, GuardError},
    process,
};
use socket2::{Domain, Socket, Type};

use crate::{
    gateway::{Gateway, listen, read_answer},
    stage::{GOVERNED_V4, GOVERNED_V6, NOBODY, PLAIN_V4, SOMEBODY_ELSE, Stage, addr, become_user, fork},
};

#[test]
fn it_proves_that_capture_works() {
    Stage::run("guard::it_proves_that_capture_works", |stage| {
        let report = stage.guard();
        assert_eq!((report.upgraded, report.canary), (false, Canary::Refused));
        assert_eq!((report.governed, report.programs.len()), (2, 9));
        let gateway = Gateway::start(stage);
        let report = stage.guard();
        assert_eq!((report.upgraded, report.canary), (true, Canary::Redirected));
        std::thread::sleep(Duration::from_millis(100));
        let seen = gateway.seen.lock().expect("not poisoned");
        assert_eq!(seen.len(), 2, "one by IPv4, one mapped");
        for origin in seen.iter() {
            assert!(origin.as_ref().expect("an origin").is_canary());
        }
    });
}

#[test]
fn a_capture_that_does_not_work_is_found_out() {
    Stage::run("guard::a_capture_that_does_not_work_is_found_out", |stage| {
        stage.guard();
        // A program that runs before ours and sends the canary elsewhere is not to be had here; but one hook that is gone is.
        fs::remove_file(stage.pin_dir().join("link-connect6")).expect("unpinned");
        let status = guard::status(&stage.pin_dir());
        assert!(!status.up);
        assert!(status.to_string().contains("NOT WHOLE"), "{status}");
        let report = stage.guard();
        assert!(report.upgraded, "it is made whole");
        assert!(guard::status(&stage.pin_dir()).up);
    });
}

#[test]
fn connections_that_were_open_before_are_aborted() {
    Stage::run("guard::connections_that_were_open_before_are_aborted", |stage| {
        let servers = [listen(GOVERNED_V4), listen(GOVERNED_V6), listen(PLAIN_V4)];
        let old_v4 = TcpStream::connect(GOVERNED_V4).expect("connected");
        let old_v6 = TcpStream::connect(GOVERNED_V6).expect("connected");
        let old_mapped = TcpStream::connect("[::ffff:192.0.2.7]:443").expect("connected");
        let old_udp = UdpSocket::bind("0.0.0.0:0").expect("bound");
        old_udp.connect(GOVERNED_V4).expect("connected");
        let plain = TcpStream::connect(PLAIN_V4).expect("connected");
        let elsewhere = elsewhere();

        let report = stage.guard();
        assert_eq!(report.aborted, 5, "three by TCP, one by UDP, one in another namespace");
        for old in [&old_v4, &old_v6, &old_mapped] {
            assert!(io::Write::write(&mut &*old, b"on as before?").is_err(), "{old:?}");
        }
        assert!(old_udp.send(b"on as before?").is_err());
        assert!(io::Write::write(&mut &plain, b"on as before").is_ok());
        assert_eq!(elsewhere.wait(), 0);
        drop(servers);
    });
}

/// A process in a namespace of its own that has a connection open; it answers 0 if that is aborted.
fn elsewhere() -> crate::stage::Child {
    let (reader, writer) = io::pipe().expect("a pipe");
    let child = fork(|| {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        crate::stage::ip("link set lo up");
        crate::stage::ip("addr add 192.0.2.7/32 dev lo");
        let _server = listen(GOVERNED_V4);
        let stream = TcpStream::connect(GOVERNED_V4).expect("connected");
        io::Write::write_all(&mut &writer, b"!").expect("told");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        match io::Read::read(&mut &stream, &mut [0]) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => 0,
            _ => 1,
        }
    });
    io::Read::read_exact(&mut &reader, &mut [0]).expect("it is connected");
    child
}

#[test]
fn what_is_exempt_or_in_another_cgroup_is_not_aborted() {
    Stage::run("guard::what_is_exempt_or_in_another_cgroup_is_not_aborted", |stage| {
        stage.guard();
        let capture = stage.capture();
        let _server = listen(GOVERNED_V4);
        let upstream = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        capture.exempt(upstream.as_fd()).expect("a mark");
        upstream.connect(&addr(GOVERNED_V4).into()).expect("connected");

        let root = stage.cgroup().parent().expect("a parent").join("cgroup.procs");
        let (reader, writer) = io::pipe().expect("a pipe");
        let (back, answer) = io::pipe().expect("a pipe");
        let outside = fork(|| {
            drop(answer.try_clone());
            fs::write(&root, "0").expect("out of the cgroup");
            let stream = TcpStream::connect(GOVERNED_V4).expect("connected: not captured");
            io::Write::write_all(&mut &writer, b"!").expect("told");
            io::Read::read_exact(&mut &back, &mut [0]).expect("told");
            i32::from(io::Write::write(&mut &stream, b"on").is_err())
        });
        io::Read::read_exact(&mut &reader, &mut [0]).expect("it is connected");

        assert_eq!(stage.guard().aborted, 0);
        assert!(upstream.send(b"on").is_ok());
        io::Write::write_all(&mut &answer, b"!").expect("told");
        assert_eq!(outside.wait(), 0);
    });
}

#[test]
fn it_is_replaced_without_a_gap() {
    Stage::run("guard::it_is_replaced_without_a_gap", |stage| {
        stage.guard();
        let _gateway = Gateway::start(stage);
        // Who is not redirected gets here.
        let server = listen(GOVERNED_V4);
        server.set_nonblocking(true).expect("non-blocking");
        let stop = AtomicBool::new(false);
        let connects = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connects = 0_u32;
                        while !stop.load(Ordering::Relaxed) {
                            let stream = TcpStream::connect(GOVERNED_V4).expect("redirected");
                            assert!(read_answer(stream).is_some(), "an origin");
                            connects += 1;
                        }
                        connects
                    })
                })
                .collect();
            for _ in 0..5 {
                assert!(stage.guard().upgraded);
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().map(|c| c.join().expect("redirected")).sum::<u32>()
        });
        assert!(connects > 20, "{connects} connects were not many");
        assert!(server.accept().is_err(), "a connect went straight to the server");
    });
}

#[test]
fn what_was_governed_stays_governed_when_it_is_replaced() {
    Stage::run("guard::what_was_governed_stays_governed_when_it_is_replaced", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        gateway.capture.govern([192, 0, 2, 9].into(), 443, 7).expect("governed");
        let mut config = stage.config();
        config.governed = vec![GovernedAddress::host([192, 0, 2, 10].into(), 443, 8)];
        let report = guard::up(&config).expect("up");
        assert_eq!(report.governed, 4);
        for (to, server) in [(GOVERNED_V4, 1), ("192.0.2.9:443", 7), ("192.0.2.10:443", 8)] {
            let stream = TcpStream::connect(to).expect("redirected");
            assert_eq!(read_answer(stream).expect("an origin").server, server);
        }
    });
}

#[test]
fn it_moves_to_another_cgroup() {
    Stage::run("guard::it_moves_to_another_cgroup", |stage| {
        let narrow = stage.cgroup().join("narrow");
        fs::create_dir(&narrow).expect("a cgroup");
        let mut config = stage.config();
        config.cgroup = Some(narrow);
        guard::up(&config).expect("up");
        let _server = listen(GOVERNED_V4);
        TcpStream::connect(GOVERNED_V4).expect("this process is outside");
        stage.guard();
        let error = TcpStream::connect(GOVERNED_V4).expect_err("now it is inside");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(guard::status(&stage.pin_dir()).cgroup, Some(stage.cgroup()));
    });
}

#[test]
fn down_leaves_nothing() {
    Stage::run("guard::down_leaves_nothing", |stage| {
        let _server = listen(GOVERNED_V4);
        stage.guard();
        TcpStream::connect(GOVERNED_V4).expect_err("refused: there is no gateway");
        let removed = guard::down(&stage.pin_dir()).expect("down");
        assert_eq!(removed.pins.len(), 9 + 10, "{removed}");
        TcpStream::connect(GOVERNED_V4).expect("reached directly at once");
        assert!(!stage.pin_dir().exists());
        let status = guard::status(&stage.pin_dir());
        assert!(!status.up && status.maps.is_empty() && status.problems.is_empty());
        assert!(status.to_string().starts_with("guard      down"), "{status}");
        assert!(guard::down(&stage.pin_dir()).expect("no harm").pins.is_empty());
        assert!(matches!(Capture::open(&stage.pin_dir()), Err(CaptureError::NoGuard { .. })));
    });
}

#[test]
fn a_failed_start_leaves_nothing() {
    Stage::run("guard::a_failed_start_leaves_nothing", |stage| {
        let mut config = stage.config();
        config.object = Some("/proc/self/exe".into());
        let error = guard::up(&config).expect_err("not an object of kernel programs");
        assert!(matches!(error, GuardError::Load { .. } | GuardError::NoProgram { .. }), "{error}");
        assert!(!stage.pin_dir().exists());
        // The canary's place is taken: there is no proof, so there is no guard.
        let _taken = listen("127.71.87.1:7187");
        let error = guard::up(&stage.config()).expect_err("no proof");
        assert!(matches!(error, GuardError::Canary(_)), "{error}");
        assert!(!stage.pin_dir().exists());
    });
}

#[test]
fn a_failed_replacement_leaves_the_old_one_up() {
    Stage::run("guard::a_failed_replacement_leaves_the_old_one_up", |stage| {
        stage.guard();
        let mut config = stage.config();
        config.object = Some("/proc/self/exe".into());
        guard::up(&config).expect_err("not an object of kernel programs");
        assert!(guard::status(&stage.pin_dir()).up);
    });
}

#[test]
fn a_user_without_privileges_is_told_what_is_missing() {
    Stage::run("guard::a_user_without_privileges_is_told_what_is_missing", |stage| {
        let child = fork(|| {
            become_user(NOBODY, NOBODY);
            let error = guard::up(&stage.config()).expect_err("not root");
            let text = error.to_string();
            for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "run the guard as root"] {
                assert!(text.contains(name), "{text}");
            }
            0
        });
        assert_eq!(child.wait(), 0);
    });
}

#[test]
fn a_cgroup_of_the_wrong_kind_is_refused_by_name() {
    Stage::run("guard::a_cgroup_of_the_wrong_kind_is_refused_by_name", |stage| {
        let mut config = stage.config();
        config.cgroup = Some("/tmp".into());
        let error = guard::up(&config).expect_err("not a cgroup").to_string();
        assert!(error.starts_with("/tmp is not a directory of cgroup version 2"), "{error}");
        config.cgroup = None;
        config.pin_dir = "/tmp/pins".into();
        let error = guard::up(&config).expect_err("not a bpffs").to_string();
        assert!(error.starts_with("/tmp/pins is not on a BPF file system"), "{error}");
    });
}

#[test]
fn status_shows_what_is_up() {
    Stage::run("guard::status_shows_what_is_up", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let status = guard::status(&stage.pin_dir());
        assert!(status.up && status.missing.is_empty(), "{status}");
        let mut expected = stage.config().governed;
        expected.sort_unstable();
        assert_eq!(status.governed, expected);
        let [only] = status.gateways.as_slice() else { panic!("{status}") };
        assert_eq!((only.port_v4, only.alive), (Some(gateway.v4.port()), true));
        let text = status.named([(1, "clinic".to_owned())].into()).to_string();
        let unnamed = "2001:db8::7/128 port 443 (server 2, which the configuration does not name: refused)";
        for line in ["guard      up", "192.0.2.7/32 port 443 (clinic)", unnamed, "alive", "connect4"] {
            assert!(text.contains(line), "{text}");
        }
        serde_json::to_string(&guard::status(&stage.pin_dir())).expect("JSON");
    });
}

#[test]
fn the_gateway_needs_no_privilege_and_another_user_gets_nothing() {
    Stage::run("guard::the_gateway_needs_no_privilege_and_another_user_gets_nothing", |stage| {
        let mut config = stage.config();
        (config.owner_uid, config.owner_gid) = (NOBODY, NOBODY);
        guard::up(&config).expect("up");
        let pin = fs::metadata(stage.pin_dir().join("ORIGINS")).expect("a pin");
        assert_eq!((pin.uid(), pin.gid(), pin.mode() & 0o777), (NOBODY, NOBODY, 0o600));
        // Another user of the same group can enter the directory, and no more.
        let other = fork(|| {
            become_user(SOMEBODY_ELSE, NOBODY);
            match Capture::open(&stage.pin_dir()) {
                Err(CaptureError::NotOurs { .. }) => 0,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(other.wait(), 0);
        let holder = fork(|| {
            become_user(NOBODY, NOBODY);
            as_holder(stage);
            0
        });
        assert_eq!(holder.wait(), 0);
    });
}

/// All that the gateway does, without a privilege.
fn as_holder(stage: &Stage) {
    let gateway = Gateway::start(stage);
    let capture = &gateway.capture;
    capture.govern([192, 0, 2, 9].into(), 443, 7).expect("governed");
    let stream = TcpStream::connect("192.0.2.9:443").expect("redirected");
    let seen = read_answer(stream).expect("an origin");
    assert_eq!((seen.server, seen.uid, seen.tgid), (7, NOBODY, std::process::id()));
    let upstream = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    capture.exempt(upstream.as_fd()).expect("a mark");
    let direct = upstream.connect(&addr(GOVERNED_V4).into()).expect_err("nobody serves there");
    assert_eq!(direct.kind(), io::ErrorKind::ConnectionRefused);
    let counters = capture.counters().expect("counters");
    assert!(counters.contains(&(Reason::Exempt, 1)));
    assert_eq!(capture.sweep(Duration::from_secs(1)).expect("swept"), 0);
    let mut log = capture.kernel_log().expect("the log");
    assert!(log.next_line().is_some(), "the guard's own test was refused, and that is logged");
    for link in ["link-connect4", "PEERS"] {
        let pin = stage.pin_dir().join(link);
        let ours = fs::metadata(&pin).expect("a pin").uid() == NOBODY;
        assert_eq!(ours, link == "PEERS", "links are root's");
    }
    capture.withdraw().expect("withdrawn");
}

#[test]
fn the_process_behind_a_connection_is_described() {
    Stage::run("guard::the_process_behind_a_connection_is_described", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let to: SocketAddr = addr(GOVERNED_V4);
        let script = format!("exec 3<>/dev/tcp/{}/{} ; read line <&3; sleep 5; :", to.ip(), to.port());
        let mut child = Command::new("bash").args(["-c", &script]).spawn().expect("bash");
        let origin = loop {
            let seen = gateway.seen.lock().expect("not poisoned").last().cloned();
            match seen {
                Some(origin) => break origin.expect("an origin"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let told = process::describe(&origin);
        child.kill().expect("killed");
        child.wait().expect("its end");
        assert_eq!((told.pid, told.reused), (child.id(), false));
        let exe = told.exe.known().expect("an executable");
        assert!(exe.ends_with("bash"), "{}", exe.display());
        let inode = fs::metadata(exe).expect("a file").ino();
        assert_eq!(told.exe_inode.known().map(|i| i.inode), Some(inode));
        assert_eq!(told.parent.known().map(|p| p.pid), Some(std::process::id()));
        let cgroup = told.cgroup.known().expect("a cgroup");
        assert!(stage.cgroup().ends_with(cgroup.trim_start_matches('/')), "{cgroup}");
        assert_eq!(origin.comm, "bash");
        let own = fs::metadata(stage.cgroup()).expect("a cgroup").ino();
        assert_eq!(origin.cgroup_id, own);
        // After its end nothing is known, and nothing is made up.
        let told = process::describe(&origin);
        assert_eq!(told.exe.known(), None);
    });
}
