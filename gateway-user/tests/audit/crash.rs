use std::{fs, os::unix::fs::FileExt};

use crate::support::*;
use gateway_user::audit::{Durability, Effect, Log, OpenError, Verdict, verify};

#[test]
fn cut_at_every_byte_it_recovers_what_was_whole() {
    const RECORDS: usize = 6;
    let dir = dir();
    small_log(dir.path(), RECORDS as u64);
    let all = lines(dir.path());
    let used = all.concat();
    let from = all[..RECORDS - 3].concat().len();
    for cut in from..=used.len() {
        // A file that ends there; and one whose rest is still blank, as it was prepared.
        for prepared in [false, true] {
            let crashed = copy(dir.path());
            let path = &segments(crashed.path())[0];
            let mut bytes = used[..cut].to_vec();
            if prepared {
                bytes.resize(64 << 10, b'\n');
            }
            fs::write(path, &bytes).unwrap();
            // The newline that fills the rest ends a last line as well as its own would have.
            let ends = |line: &Vec<u8>, end: usize| end <= cut || (prepared && end - 1 == cut && !line.is_empty());
            let mut end = 0;
            let whole = all.iter().take_while(|line| {
                end += line.len();
                ends(line, end)
            });
            let whole = whole.count() as u64;
            let torn = cut - all[..usize::try_from(whole).unwrap()].concat().len().min(cut);

            let (log, recovered) = Log::open(options(crashed.path())).unwrap();
            assert_eq!(recovered.records, whole, "cut at {cut}");
            assert_eq!(recovered.cut.as_ref().map_or(0, |cut| cut.bytes), torn as u64, "cut at {cut}");
            append(&log.appender(), "{\"after\":true}", Effect::None, Durability::Sync).unwrap();
            log.close().unwrap();
            // A file without room is followed by another, which begins with a record of its own.
            assert_whole(crashed.path(), whole + u64::from(torn > 0) + u64::from(!prepared) + 1);
            let said: Vec<_> = records(crashed.path()).into_iter().filter(|(kind, _)| kind == "recovery").collect();
            assert_eq!(said.len(), usize::from(torn > 0));
            assert!(said.iter().all(|(_, body)| body["cut"]["bytes"] == torn));
        }
    }
}

#[test]
fn a_torn_line_is_reported_as_torn() {
    let dir = dir();
    small_log(dir.path(), 3);
    let used = lines(dir.path()).concat();
    fs::write(&segments(dir.path())[0], &used[..used.len() - 10]).unwrap();
    let verdict = verify(dir.path()).unwrap();
    assert!(matches!(verdict, Verdict::Torn { records: 2, seq: 2, .. }), "{verdict}");
}

/// Blanks the 4 KiB page that holds the middle of this line, as if it had never reached the disk.
fn lose_page(dir: &std::path::Path, line: usize) {
    let all = lines(dir);
    let middle = all[..line].concat().len() + all[line].len() / 2;
    let page = (middle / 4096 * 4096) as u64;
    let file = fs::OpenOptions::new().write(true).open(&segments(dir)[0]).unwrap();
    file.write_all_at(&[b'\n'; 4096], page).unwrap();
}

#[test]
fn pages_lost_from_a_write_that_nobody_was_answered_for_are_cut() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    append(&log.appender(), "{\"n\":\"on disk\"}", Effect::None, Durability::Sync).unwrap();
    // Queued at once: one write, or two.
    append_all(&log.appender(), &vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)); 30], Durability::Os);
    let crashed = copy(dir.path());
    drop(log);
    lose_page(crashed.path(), 15);
    let (log, recovered) = Log::open(options(crashed.path())).unwrap();
    let cut = recovered.cut.unwrap();
    assert!((10..=15).contains(&recovered.records) && cut.whole_records >= 10, "{cut:?}");
    log.close().unwrap();
    assert_whole(crashed.path(), recovered.records + 1);
}

#[test]
fn pages_lost_from_what_was_on_disk_stop_the_gateway() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    append_all(&log.appender(), &vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)); 30], Durability::Sync);
    append(&log.appender(), "{}", Effect::None, Durability::Sync).unwrap();
    log.close().unwrap();
    lose_page(dir.path(), 15);
    let refused = Log::open(options(dir.path())).err().unwrap();
    let OpenError::Damaged { seq, .. } = &refused else { panic!("{refused}") };
    assert!((10..=15).contains(seq), "{refused}");
    assert!(refused.to_string().contains("audit.dir"), "{refused}");
    let verdict = verify(dir.path()).unwrap();
    assert!(matches!(verdict, Verdict::Tampered { seq: s, .. } if s == *seq), "{verdict}");
}

#[test]
fn calls_in_flight_at_a_crash_get_an_unknown_outcome_over_any_number_of_segments() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let appender = log.appender();
    let open = |body: &str| append(&appender, body, Effect::Opens, Durability::Sync).unwrap();
    let (early, closed) = (open("{\"call\":\"early\"}"), open("{\"call\":\"closed\"}"));
    append_all(&appender, &vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)); 150], Durability::Sync);
    append(&appender, "{}", Effect::Closes(closed), Durability::Sync).unwrap();
    let late = open("{\"call\":\"late\"}");
    let crashed = copy(dir.path());
    drop(log);
    assert!(segments(crashed.path()).len() >= 3);

    let (log, recovered) = Log::open(options(crashed.path())).unwrap();
    assert_eq!(recovered.unknown, [early, late]);
    log.close().unwrap();
    let said: Vec<_> = records(crashed.path()).into_iter().filter(|(kind, _)| kind == "outcome_unknown").collect();
    assert_eq!(said.iter().map(|(_, body)| body["request"].as_u64().unwrap()).collect::<Vec<_>>(), [early, late]);
    let (_, recovered) = Log::open(options(crashed.path())).unwrap();
    assert!(recovered.unknown.is_empty());
    assert!(verify(crashed.path()).unwrap().is_whole());
}

#[test]
fn a_crash_while_a_segment_begins_loses_nothing() {
    let dir = dir();
    small_log(dir.path(), 5);
    for start in ["", "{\"head\":{\"v\":1,"] {
        let crashed = copy(dir.path());
        let mut blank = vec![b'\n'; 64 << 10];
        blank[..start.len()].copy_from_slice(start.as_bytes());
        fs::write(crashed.path().join(format!("{:020}.jsonl", 5)), blank).unwrap();
        fs::write(crashed.path().join("next-segment"), "half").unwrap();
        let (log, recovered) = Log::open(options(crashed.path())).unwrap();
        assert_eq!(recovered.records, 5);
        assert_eq!(recovered.cut.map_or(0, |cut| cut.bytes), start.len() as u64);
        append(&log.appender(), "{}", Effect::None, Durability::Sync).unwrap();
        log.close().unwrap();
        assert_whole(crashed.path(), 6 + u64::from(!start.is_empty()));
    }
}

#[test]
fn a_first_start_that_died_early_begins_again() {
    let dir = dir();
    fs::write(dir.path().join(format!("{:020}.jsonl", 0)), vec![b'\n'; 1000]).unwrap();
    let (log, recovered) = Log::open(options(dir.path())).unwrap();
    assert_eq!(recovered.records, 0);
    append(&log.appender(), "{}", Effect::None, Durability::Sync).unwrap();
    log.close().unwrap();
    assert_whole(dir.path(), 1);
}

#[test]
fn the_name_of_the_log_is_made_again_from_its_records_and_never_exchanged() {
    let (dir, other) = (dir(), dir());
    small_log(dir.path(), 3);
    small_log(other.path(), 3);
    let name = dir.path().join("log.json");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&name).unwrap()).unwrap();
    fs::remove_file(&name).unwrap();
    drop(Log::open(options(dir.path())).unwrap());
    let again: serde_json::Value = serde_json::from_slice(&fs::read(&name).unwrap()).unwrap();
    assert_eq!(written["id"], again["id"]);

    fs::write(&name, "rubbish").unwrap();
    let refused = Log::open(options(dir.path())).err().unwrap().to_string();
    assert!(refused.contains("remove this file"), "{refused}");
    fs::copy(other.path().join("log.json"), &name).unwrap();
    let refused = Log::open(options(dir.path())).err().unwrap().to_string();
    assert!(refused.contains("belongs to log"), "{refused}");
    let verdict = verify(dir.path()).unwrap();
    assert!(matches!(verdict, Verdict::Tampered { seq: 0, .. }), "{verdict}");
}
