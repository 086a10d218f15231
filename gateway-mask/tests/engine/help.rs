//! Maskers for tests, and what they make of a text.

use std::sync::Arc;

use gateway_mask::{Controls, Detectors, Failure, Followed, Form, How, Keys, Mark, Masker, Rule, Wanted, What, applied};

/// A keyed function that is good enough to tell values apart.
pub(crate) fn mac(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = 0xCBF2_9CE4_8422_2325_u64;
    for part in parts {
        for byte in part.len().to_le_bytes().iter().chain(*part) {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    let mut out = [0; 32];
    for chunk in out.chunks_mut(8) {
        state = (state ^ state >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    out
}

pub(crate) const KEYS: Keys<'static> = Keys { commit: &mac, token: &mac };

pub(crate) fn detectors() -> Arc<Detectors> {
    static ALL: std::sync::OnceLock<Arc<Detectors>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| Arc::new(Detectors::new(Vec::new()).unwrap())).clone()
}

pub(crate) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn rule(how: How, what: What) -> Rule {
    Rule { name: "private".to_owned(), what, how }
}

pub(crate) fn fields(names: &[&str]) -> What {
    What { fields: strings(names), ..What::default() }
}

pub(crate) fn columns(names: &[&str]) -> What {
    What { columns: strings(names), ..What::default() }
}

pub(crate) fn paths(paths: &[&str]) -> What {
    What { paths: strings(paths), ..What::default() }
}

pub(crate) fn kinds(detect: Wanted) -> What {
    What { detect, ..What::default() }
}

pub(crate) fn masker(rules: Vec<Rule>) -> Masker {
    Masker::new(detectors(), rules).unwrap()
}

/// What becomes of a message.
pub(crate) fn message(masker: &Masker, body: &str) -> Result<(String, Vec<Mark>), Failure> {
    form(masker, body.as_bytes(), Form::Message(&Followed::nothing()))
}

/// What becomes of a body.
pub(crate) fn form(masker: &Masker, body: &[u8], form: Form<'_>) -> Result<(String, Vec<Mark>), Failure> {
    let masked = masker.mask(body, form, &KEYS)?;
    let mut kept = 0;
    for edit in &masked.edits {
        assert!(kept <= edit.start && edit.start <= edit.end && edit.end <= body.len(), "{:?}", masked.edits);
        kept = edit.end;
    }
    Ok((String::from_utf8_lossy(&applied(body, &masked.edits)).into_owned(), masked.marks))
}

/// What becomes of the `result` of a message, under one rule.
pub(crate) fn result(how: How, what: What, result: &str) -> String {
    let masked = message(&masker(vec![rule(how, what)]), &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).unwrap().0;
    let inner = masked.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#).and_then(|rest| rest.strip_suffix('}'));
    inner.unwrap().to_owned()
}

/// What a record keeps of a message.
pub(crate) fn recorded(rules: Vec<Rule>, body: &str) -> String {
    message(&masker(rules).controls(Controls::Record), body).unwrap().0
}
