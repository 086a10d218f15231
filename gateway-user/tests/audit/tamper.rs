use std::fs;

use crate::support::*;
use gateway_user::audit::{Log, Verdict, verify};

fn named(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Tampered { seq, .. } | Verdict::Torn { seq, .. } => *seq,
        Verdict::Incomplete { missing, .. } => *missing[0].start(),
        Verdict::Verified { .. } => panic!("not found"),
    }
}

#[test]
fn every_flipped_byte_is_found_and_its_record_named() {
    const RECORDS: u64 = 4;
    let dir = dir();
    small_log(dir.path(), RECORDS);
    let path = &segments(dir.path())[0];
    let good = fs::read(path).unwrap();
    let used = lines(dir.path()).concat().len();
    let mut record = 0;
    let mut bytes = good.clone();
    // Two bytes into the blank part as well.
    for at in 0..used + 2 {
        // 0x80 gives no digit, letter or white space; 1 often gives another digit.
        for mask in [0x01, 0x80] {
            bytes[at] ^= mask;
            fs::write(path, &bytes).unwrap();
            let verdict = verify(dir.path()).unwrap();
            assert_eq!(named(&verdict), record, "byte {at}: {verdict}");
            assert_eq!(verdict.exit_code(), 1);
            if record < RECORDS - 1 {
                let refused = Log::open(options(dir.path())).err().unwrap().to_string();
                assert!(refused.contains(&format!("record {record}")), "{refused}");
            }
            bytes[at] ^= mask;
        }
        record += u64::from(at < used && good[at] == b'\n');
    }
}

#[test]
fn dropped_lines_are_named() {
    let dir = dir();
    small_log(dir.path(), 10);
    let good = lines(dir.path());
    for gone in 0..9 {
        let mut lines = good.clone();
        lines.remove(gone);
        rewrite(dir.path(), &lines);
        let gone = gone as u64;
        assert_eq!(verify(dir.path()).unwrap(), Verdict::Incomplete { records: 9, missing: vec![gone..=gone] });
        let refused = Log::open(options(dir.path())).err().unwrap().to_string();
        assert!(refused.contains(&format!("record {gone} ")), "{refused}");
    }
    rewrite(dir.path(), &[&good[..2], &good[5..7], &good[8..]].concat());
    let verdict = verify(dir.path()).unwrap();
    assert_eq!(verdict, Verdict::Incomplete { records: 6, missing: vec![2..=4, 7..=7] });
    assert!(verdict.to_string().contains("missing: 2-4 7"), "{verdict}");
}

#[test]
fn swapped_duplicated_and_spliced_lines_are_named() {
    let (dir, other) = (dir(), dir());
    small_log(dir.path(), 10);
    small_log(other.path(), 10);
    let good = lines(dir.path());
    let foreign = lines(other.path());
    for at in 0..9 {
        let mut swapped = good.clone();
        swapped.swap(at, at + 1);
        let mut twice = good.clone();
        twice.insert(at + 1, good[at].clone());
        let mut spliced = good.clone();
        spliced[at] = foreign[at].clone();
        for (what, lines) in [("swapped", swapped), ("twice", twice), ("spliced", spliced)] {
            rewrite(dir.path(), &lines);
            let verdict = verify(dir.path()).unwrap();
            let Verdict::Tampered { seq, .. } = &verdict else { panic!("{what} {at}: {verdict}") };
            assert_eq!(*seq, at as u64, "{what}: {verdict}");
            let refused = Log::open(options(dir.path())).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|refused| refused.contains(&format!("record {at}")) || what == "twice"), "{what} {at}");
        }
    }
}

#[test]
fn a_record_written_anew_with_right_hashes_does_not_fit_its_neighbours() {
    let (dir, other) = (dir(), dir());
    small_log(dir.path(), 5);
    // The same log id, another history.
    fs::copy(dir.path().join("log.json"), other.path().join("log.json")).unwrap();
    rewritten(dir.path(), other.path());
    let verdict = verify(other.path()).unwrap();
    assert!(matches!(verdict, Verdict::Tampered { seq: 3, .. }), "{verdict}");
    assert!(verdict.to_string().contains("does not follow"), "{verdict}");
}

/// Record 2 gets another body, and hashes that go with it.
fn rewritten(from: &std::path::Path, to: &std::path::Path) {
    use gateway_user::audit::{Digest, format};
    let mut all = lines(from);
    let body = b"{\"n\":\"forged\"}";
    let line = all[2].clone();
    let line = format::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
    let mut forged = Vec::new();
    format::write_line(&mut forged, &format::Head { body_sha256: Digest::of(body), ..line.head }, body);
    all[2] = forged;
    fs::write(to.join("00000000000000000000.jsonl"), all.concat()).unwrap();
}

#[test]
fn segments_removed_renamed_or_exchanged_are_named() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    append_all(&log.appender(), &vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)); 250], gateway_user::audit::Durability::Sync);
    log.close().unwrap();
    let names = segments(dir.path());
    assert!(names.len() >= 4);
    let first_of = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();

    let removed = copy(dir.path());
    fs::remove_file(&segments(removed.path())[1]).unwrap();
    let missing = vec![first_of(&names[1])..=first_of(&names[2]) - 1];
    let verdict = verify(removed.path()).unwrap();
    assert!(matches!(&verdict, Verdict::Incomplete { missing: m, .. } if *m == missing), "{verdict}");

    let exchanged = copy(dir.path());
    let paths = segments(exchanged.path());
    let (one, two) = (fs::read(&paths[1]).unwrap(), fs::read(&paths[2]).unwrap());
    fs::write(&paths[1], two).unwrap();
    fs::write(&paths[2], one).unwrap();
    let verdict = verify(exchanged.path()).unwrap();
    assert!(matches!(verdict, Verdict::Tampered { .. }), "{verdict}");

    let emptied = copy(dir.path());
    for path in segments(emptied.path()) {
        fs::remove_file(path).unwrap();
    }
    let refused = Log::open(options(emptied.path())).err().unwrap().to_string();
    assert!(refused.contains("no segment is left"), "{refused}");
    assert!(verify(emptied.path()).is_err());
}
