//! Many at once, and nobody is taken for another.

use std::{
    net::TcpStream,
    sync::{Arc, Barrier},
};

use gateway_user::capture::Reason;

use crate::{
    gateway::{Gateway, read_answer},
    stage::{GOVERNED_V4, GOVERNED_V6, Stage, addr, become_user, fork},
};

const PROCESSES: u32 = 40;
const CONNECTS: u32 = 50;

#[test]
fn two_thousand_connects_at_once_without_a_mix_up() {
    Stage::run("crowd::two_thousand_connects_at_once_without_a_mix_up", |stage| {
        stage.guard();
        let gateway = Gateway::start(stage);
        let moved = stage.counting(|| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let children: Vec<_> = (0..PROCESSES)
                .map(|number| {
                    let (reader, writer) = (&reader, &writer);
                    fork(move || {
                        // SAFETY: the child's own copy, which must close for the parent's to be the last.
                        unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(writer)) };
                        client(number, reader)
                    })
                })
                .collect();
            // All are let go at once.
            drop(writer);
            for child in children {
                assert_eq!(child.wait(), 0, "a client saw another's identity");
            }
        });
        let all = u64::from(PROCESSES * CONNECTS);
        assert_eq!(moved, [(Reason::Redirected, all), (Reason::Tied, all)]);
        drop(gateway);
    });
}

fn client(number: u32, start: &std::io::PipeReader) -> i32 {
    let uid = 1_000 + number;
    become_user(uid, uid);
    let (to, server) = if number.is_multiple_of(2) { (GOVERNED_V4, 1) } else { (GOVERNED_V6, 2) };
    let barrier = Arc::new(Barrier::new(CONNECTS as usize + 1));
    let threads: Vec<_> = (0..CONNECTS)
        .map(|_| {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                barrier.wait();
                let stream = TcpStream::connect(to).expect("redirected");
                let seen = read_answer(stream).expect("an origin");
                (seen.original, seen.server, seen.tgid, seen.uid)
            })
        })
        .collect();
    let _ = std::io::Read::read(&mut &*start, &mut [0]);
    barrier.wait();
    let expected = (addr(to), server, std::process::id(), uid);
    let right = threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|seen| *seen == expected).count();
    i32::from(right != CONNECTS as usize)
}
