use std::fmt::Write;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use form_urlencoded::byte_serialize;
use proptest::{collection::vec, prelude::*};

use super::super::{EchoStream, Echoes};

/// So many of the [`forms`] hold nothing but the secret.
const PLAIN: usize = 10;
const SECRET: &str = "sk-live/Aa+b\"c=d%7 \\e";

fn masked(secrets: &[&str], text: &str) -> (String, usize) {
    let mut bytes = text.as_bytes().to_vec();
    let found = Echoes::of(secrets).mask(&mut bytes);
    assert_eq!(bytes.len(), text.len());
    (String::from_utf8(bytes).unwrap(), found)
}

fn streamed(secrets: &[&str], pieces: &[&[u8]]) -> (Vec<u8>, usize) {
    let echoes = Echoes::of(secrets);
    let longest = echoes.longest();
    let mut stream = EchoStream::new(echoes);
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut out);
        assert!(stream.held() < longest.max(1));
    }
    stream.finish(&mut out);
    (out, stream.found())
}

fn json(secret: &str) -> String {
    let quoted = serde_json::to_string(secret).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

fn every_unicode(secret: &str, upper: bool) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        // A backslash is escaped by another one only.
        let written = match (byte, upper) {
            (b'\\', _) => write!(text, "\\\\"),
            (_, true) => write!(text, "\\u{byte:04X}"),
            (_, false) => write!(text, "\\u{byte:04x}"),
        };
        written.unwrap();
        text
    })
}

fn every_percent(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    })
}

/// All forms that are claimed to be found.
fn forms(secret: &str) -> Vec<String> {
    let escaped = json(secret);
    let mut forms = vec![
        secret.to_owned(),
        escaped.clone(),
        escaped.replace('/', "\\/"),
        json(&escaped),
        json(&json(&escaped)),
        every_unicode(secret, true),
        every_unicode(secret, false),
        byte_serialize(secret.as_bytes()).collect(),
        every_percent(secret),
        every_percent(secret).to_uppercase(),
    ];
    for around in ["", "a", "ab", "abc", "user:"] {
        let text = format!("{around}{secret}{around}");
        forms.push(BASE64_STANDARD.encode(&text));
        forms.push(BASE64_STANDARD.encode(&text).replace('/', "\\/"));
        forms.push(byte_serialize(BASE64_STANDARD.encode(&text).as_bytes()).collect());
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(&text));
    }
    forms
}

#[test]
fn every_form_that_is_claimed_is_masked_and_nothing_else_changes() {
    for secret in
        [SECRET, "0123456789abcdef", "////////", "\\\\server\\share\\u0041", "\\\\\\\\\\\\\\\\\\\\\"", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"]
    {
        for (place, form) in forms(secret).into_iter().enumerate() {
            let text = format!("{{\"text\":\"your key is {form}\"}} and more");
            let (after, found) = masked(&[secret], &text);
            assert_eq!(found, 1, "{form}: {after}");
            assert!(after.starts_with("{\"text\":\"your key is ") && after.ends_with("\"} and more"), "{form}: {after}");
            assert!(!after.contains(&form), "{after}");
            let left = after.len() - after.matches('*').count() - "{\"text\":\"your key is \"} and more".len();
            // Of base64, which comes last, the ends are made of what stands around it too.
            assert!(left == 0 || place >= PLAIN, "{left} of {form}: {after}");
        }
    }
}

#[test]
fn several_secrets_and_several_echoes_are_found() {
    let (after, found) = masked(&["s3cret-one", "s3cret-two"], "s3cret-one, s3cret-two,s3cret-ones3cret-two s3cret-tw");
    assert_eq!(after, "**********, **********,******************** s3cret-tw");
    assert_eq!(found, 4);
}

#[test]
fn a_secret_that_ends_with_a_backslash_is_found_at_the_end_of_a_text() {
    for form in [r"aa AAA0\", r"\u0061a AAA0\", r"aa AAA0\\"] {
        assert_eq!(masked(&[r"aa AAA0\"], form), ("*".repeat(form.len()), 1), "{form}");
    }
}

#[test]
fn echoes_that_overlap_are_masked_from_the_first_to_the_last_byte() {
    assert_eq!(masked(&["abababab"], "xabababababx"), ("x**********x".into(), 1));
}

#[test]
fn without_secrets_nothing_is_looked_for() {
    assert!(Echoes::default().is_empty() && Echoes::of(&[]).is_empty() && Echoes::of(&[""]).is_empty());
    assert_eq!(Echoes::of(&[""]).longest(), 0);
    assert_eq!(streamed(&[], &[b"ab", b"c"]), (b"abc".to_vec(), 0));
}

#[test]
fn what_is_merged_with_nothing_is_what_it_was() {
    let one = Echoes::of(&["s3cret-key"]);
    for merged in [one.and(&Echoes::default()), Echoes::default().and(&one)] {
        assert_eq!(merged.longest(), one.longest());
        let mut text = b"an s3cret-key".to_vec();
        assert_eq!((merged.mask(&mut text), text.as_slice()), (1, b"an **********".as_slice()));
    }
    assert!(Echoes::default().and(&Echoes::default()).is_empty());
}

#[test]
fn only_what_could_become_an_echo_is_held_back() {
    let mut stream = EchoStream::new(Echoes::of(&["s3cret-key"]));
    let mut out = Vec::new();
    stream.push(b"data: hello s3cre", &mut out);
    assert_eq!((out.as_slice(), stream.held()), (b"data: hello ".as_slice(), 5));
    stream.push(b"t is out\n\n", &mut out);
    assert_eq!((out.as_slice(), stream.held()), (b"data: hello s3cret is out\n\n".as_slice(), 0));
}

#[test]
fn what_is_no_text_passes_as_it_is() {
    let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let mut after = bytes.clone();
    assert_eq!(Echoes::of(&[SECRET]).mask(&mut after), 0);
    assert_eq!(after, bytes);
}

/// Texts in which echoes, beginnings of echoes and what escapes them are likely.
fn text() -> impl Strategy<Value = String> {
    let all = forms(SECRET);
    let parts: Vec<String> = all.iter().flat_map(|form| [form.clone(), form[..form.len() / 2].to_owned(), form[1..].to_owned()]).collect();
    let part = prop_oneof![
        proptest::sample::select(parts),
        proptest::sample::select(vec!["\\", "\\\\", "%", "%2", "\\u00", "s", "sk", " ", "\"", "+", "é"]).prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// Cuts at these places, in whatever order they come.
fn pieces<'t>(text: &'t [u8], cuts: &[usize]) -> Vec<&'t [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

proptest! {
    #[test]
    fn however_it_is_cut_it_is_masked_as_a_whole(text in text(), cuts in vec(any::<usize>(), 0..12)) {
        let (whole, found) = masked(&[SECRET], &text);
        prop_assert_eq!(streamed(&[SECRET], &pieces(text.as_bytes(), &cuts)), (whole.clone().into_bytes(), found));
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(streamed(&[SECRET], &single), (whole.into_bytes(), found));
    }

    #[test]
    fn two_that_are_merged_are_as_two_that_were_made_together(text in text(), cuts in vec(any::<usize>(), 0..12)) {
        let (one, other) = ("live/Aa+b", SECRET);
        let (merged, together) = (Echoes::of(&[one]).and(&Echoes::of(&[other])), Echoes::of(&[one, other]));
        prop_assert_eq!(merged.longest(), together.longest());
        let (mut stream, mut out) = (EchoStream::new(merged), Vec::new());
        pieces(text.as_bytes(), &cuts).iter().for_each(|piece| stream.push(piece, &mut out));
        stream.finish(&mut out);
        let mut whole = text.into_bytes();
        let found = together.mask(&mut whole);
        prop_assert_eq!((out, stream.found()), (whole, found));
    }

    #[test]
    fn no_form_of_any_secret_survives(secret in "[!-~][ -~]{6,40}[!-~]", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
        for form in forms(&secret) {
            let (masked, found) = masked(&[&secret], &format!("{before}{form}{after}"));
            prop_assert!(found > 0, "{} in {}", form, masked);
            for form in forms(&secret) {
                prop_assert!(!masked.contains(&form), "{} in {}", form, masked);
            }
        }
    }

    #[test]
    fn what_holds_no_echo_stays_byte_for_byte(text in "[a-m \\\\%+]{0,200}") {
        let (after, found) = masked(&["sk-nopqrstuvwxyz"], &text);
        prop_assert_eq!((after, found), (text, 0));
    }
}
