//! Text that streams in pieces.

use std::sync::Arc;

use gateway_mask::{How, Masker, Wanted, Window};
use proptest::prelude::*;

use crate::help::{KEYS, fields, kinds, masker, rule};

fn all_kinds() -> Arc<Masker> {
    Arc::new(masker(vec![rule(How::Redact, kinds(Wanted::all()))]))
}

/// What leaves after each piece, and at the end.
fn pieces(masker: &Arc<Masker>, pieces: &[&str]) -> Vec<String> {
    let mut window = Window::new(masker.clone());
    let mut out: Vec<String> = pieces.iter().map(|piece| window.push(piece, &KEYS).unwrap().text).collect();
    out.push(window.finish(&KEYS).unwrap().text);
    out
}

#[test]
fn a_value_in_two_pieces_is_masked() {
    let masker = all_kinds();
    let out = pieces(&masker, &["Your card is 4111 1111", " 1111 1111 as you said.", " Write to ada@exam", "ple.com soon"]).concat();
    assert_eq!(out, "Your card is [masked: card] as you said. Write to [masked: email] soon");
}

#[test]
fn what_a_word_behind_a_value_tells_of_it_is_waited_for() {
    for text in ["536904399 which is his ssn", "so 536904399 that is an ssn, and 17"] {
        let masker = all_kinds();
        let words: Vec<&str> = text.split_inclusive(' ').collect();
        let out = pieces(&masker, &words).concat();
        assert_eq!(out, pieces(&masker, &[text]).concat());
        assert!(!out.contains("53690"), "{out}");
    }
}

#[test]
fn words_leave_when_they_are_over() {
    let out = pieces(&all_kinds(), &["The quick brown fox ", "jumps over the lazy dog"]);
    assert!(out[0].starts_with("The quick brown"), "{out:?}");
}

#[test]
fn a_private_key_is_held_until_it_ends() {
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----";
    let text = format!("Here it is:\n{key}\nkeep it");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let out = pieces(&all_kinds(), &lines).concat();
    assert!(!out.contains("MC4CAQ") && out.starts_with("Here it is:\n") && out.ends_with("\nkeep it"), "{out}");
}

#[test]
fn rules_by_place_hold_the_whole_text() {
    let masker = Arc::new(masker(vec![rule(How::Redact, fields(&["ssn"]))]));
    assert_eq!(pieces(&masker, &[r#"{"ss"#, r#"n":"12"#, r#"3"}"#]), ["", "", "", r#"{"ssn":"[masked: private]"}"#]);
}

proptest! {
    #[test]
    fn what_leaves_is_the_same_for_every_split(
        words in prop::collection::vec(
            prop_oneof![
                Just("4111 1111 1111 1111"), Just("ada@example.com"), Just("born 1980-02-03"), Just("date of birth: 12 March 1980\n"),
                Just("+49 30 901820"), Just("password=hunter2hunter2"), Just("é"), Just("\n"), Just("plain words here"), Just("DE89 3704 0044 0532 0130 00"),
                Just("YWRhQGV4YW1wbGUuY29tIGFuZCBtb3Jl"), Just("a%40b.example"), Just("17, 18"), Just("-----BEGIN RSA PRIVATE KEY-----"),
            ],
            0..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = words.join(" ");
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).filter(|at| text.is_char_boundary(*at)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let split: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let masker = all_kinds();
        prop_assert_eq!(pieces(&masker, &split).concat(), pieces(&masker, &[&text]).concat());
    }
}
