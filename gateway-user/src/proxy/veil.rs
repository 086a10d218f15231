//! Masks at work: what a record shows of what others sent, and what its reader gets of a message.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
};

use aws_lc_rs::{hmac::Key, rand};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use bytes::Bytes;
use gateway_mask::{Edit, Followed, Form, Keys, Mark, Masked, applied};
use serde::Serialize;

use super::{
    masks::{Applied, Way},
    pieces::Pieces,
    refusal::{Refusal, Side as Party},
};
use crate::{
    audit::{Digest, Payload, Sha256},
    mask::{Masking, Side, mac},
    mcp::Message,
};

const UNMASKABLE: &str = "A rule hides parts of this message, and what cannot be masked is not passed on. Ask the operator of the gateway.";
/// Begins the header fields that repeat arguments (MCP 2026-07-28, basic/transports).
const PARAM: &str = "mcp-param-";

/// Text of others, as a record may show it: made by a [`Veil`] alone.
#[derive(Serialize, Clone)]
#[serde(transparent)]
pub(super) struct Shown<'a>(Cow<'a, str>);

impl<'a> Shown<'a> {
    /// The gateway's own words.
    pub(super) fn own(text: impl Into<Cow<'a, str>>) -> Self {
        Shown(text.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }

    pub(super) fn into_owned(self) -> Shown<'static> {
        Shown(self.0.into_owned().into())
    }
}

/// What the bytes of a body are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON-RPC that the strict reader has accepted.
    Message,
    /// Anything else.
    Other,
}

/// What a record says of its masks.
#[derive(Serialize)]
pub(super) struct Masks {
    /// What the key of this record's commitments is made from, beside the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    marks: Vec<Place>,
}

/// Values at one place that one rule masked.
#[derive(Serialize)]
struct Place {
    /// From whom: `record`, `client` or `server`.
    to: &'static str,
    path: String,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    count: usize,
    /// One of 16 bytes for each value, in base64 without padding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commitments: Vec<String>,
}

/// The masks of one record, and of the message that it is about.
pub(super) struct Veil<'a> {
    masking: &'a Masking,
    way: Way<'a>,
    server: &'a str,
    session: &'a str,
    max_body: usize,
    tokens: OnceCell<Key>,
    commitments: OnceCell<([u8; 16], Key)>,
    places: RefCell<Vec<Place>>,
    /// Values of the message that became others as a whole.
    changed: RefCell<Vec<(String, String)>>,
}

impl<'a> Veil<'a> {
    pub(super) fn new(masking: &'a Masking, way: Way<'a>, server: &'a str, session: &'a str, max_body: usize) -> Self {
        Veil {
            masking,
            way,
            server,
            session,
            max_body,
            tokens: OnceCell::new(),
            commitments: OnceCell::new(),
            places: RefCell::default(),
            changed: RefCell::default(),
        }
    }

    /// The session that the message belongs to.
    pub(super) fn session(&self) -> &str {
        self.session
    }

    /// A text of others that stands at a place of the record.
    pub(super) fn text<'t>(&self, place: &str, text: &'t str) -> Shown<'t> {
        Shown(self.shown(place, text, Form::Text { name: None }))
    }

    /// A request's target or another URL.
    pub(super) fn url<'t>(&self, place: &str, url: &'t str) -> Shown<'t> {
        Shown(self.shown(place, url, Form::Url))
    }

    /// The value of a header field. One that repeats an argument shows no more than that; so the message goes before its head.
    pub(super) fn header<'t>(&self, name: &str, value: &'t str) -> Shown<'t> {
        let place = || format!("http.headers.{}", name.to_ascii_lowercase());
        match argument_of(name) {
            None => Shown(self.shown(&place(), value, Form::Text { name: Some(name) })),
            Some(argument) => {
                let spelt = spelt(value);
                match self.became(&spelt) {
                    Some(to) => Shown(to.into()),
                    None => match self.shown(&place(), &spelt, Form::Text { name: Some(argument) }) {
                        shown if shown == spelt => Shown(value.into()),
                        shown => Shown(shown.into_owned().into()),
                    },
                }
            }
        }
    }

    fn shown<'t>(&self, place: &str, text: &'t str, form: Form<'_>) -> Cow<'t, str> {
        let mut shown = Cow::Borrowed(text);
        for Applied { side, .. } in self.way.record() {
            match self.mask(side, Some(place), shown.as_bytes(), form) {
                Ok(masked) if masked.edits.is_empty() => {}
                Ok(masked) => {
                    self.mark("record", side, masked.marks, Some(place));
                    shown = String::from_utf8_lossy(&applied(shown.as_bytes(), &masked.edits)).into_owned().into();
                }
                Err(why) => return format!("[withheld: {why}]").into(),
            }
        }
        shown
    }

    /// What the record shows of a body.
    pub(super) fn payload<'t>(&self, bytes: &'t [u8], content: Content) -> Payload<'t> {
        let payload = |most| match content {
            Content::Message => Payload::of_message(bytes, most),
            Content::Other => Payload::new(bytes, most),
        };
        match self.covered(bytes, content) {
            Ok(None) => payload(self.max_body),
            Ok(Some(shown)) => self.masked(payload(usize::MAX), shown),
            Err(why) => self.withheld(payload(0), why),
        }
    }

    /// Of a body that went by in pieces: its first bytes, some more than are kept of it, and the digest of all of it.
    pub(super) fn payload_of_parts<'t>(&self, first: &'t [u8], digest: Digest) -> Payload<'t> {
        match self.covered(first, Content::Other) {
            Ok(None) => Payload::from_parts(first, digest, self.max_body),
            Ok(Some(shown)) => self.masked(Payload::from_parts(first, digest, usize::MAX), shown),
            Err(why) => self.withheld(Payload::from_parts(first, digest, 0), why),
        }
    }

    fn masked<'t>(&self, payload: Payload<'t>, shown: Vec<u8>) -> Payload<'t> {
        let mac = self.mac_of(&payload);
        payload.masked(shown, self.max_body, mac)
    }

    fn withheld<'t>(&self, payload: Payload<'t>, why: String) -> Payload<'t> {
        let mac = self.mac_of(&payload);
        payload.withheld(why, mac)
    }

    fn mac_of(&self, payload: &Payload<'_>) -> Sha256 {
        Sha256(mac(&self.commitment_key().1, &[b"payload", &payload.sha256().0]))
    }

    /// A body as the record may show it, if not as it is.
    fn covered(&self, bytes: &[u8], content: Content) -> Result<Option<Vec<u8>>, String> {
        let Ok(text) = std::str::from_utf8(bytes) else { return self.binary(bytes).map(|()| None) };
        let mut shown: Option<Vec<u8>> = None;
        for applied_to in self.way.record() {
            let before = shown.as_deref().unwrap_or(text.as_bytes());
            let masked = applied_to.mask(|side| self.mask(side, None, before, content.form(applied_to.followed)))?;
            if !masked.edits.is_empty() {
                self.changed.borrow_mut().extend(masked.edits.iter().filter_map(|edit| whole(before, edit)));
                let after = applied(before, &masked.edits);
                self.mark("record", applied_to.side, masked.marks, None);
                shown = Some(after);
            }
        }
        Ok(shown)
    }

    /// What is not text is not masked, only looked through: as far as it is text, and with the zeros out that UTF-16 has.
    fn binary(&self, bytes: &[u8]) -> Result<(), String> {
        let narrow: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        for Applied { side, .. } in self.way.record() {
            for text in [bytes, &narrow] {
                let text = String::from_utf8_lossy(text);
                if !self.mask(side, None, text.as_bytes(), Form::Text { name: None })?.edits.is_empty() {
                    return Err("it is not text (UTF-8), and holds something that is masked".into());
                }
            }
        }
        Ok(())
    }

    /// Whether the message's reader gets it as it came.
    pub(super) fn is_clear(&self) -> bool {
        self.way.reader().1.iter().all(|applied| applied.side.is_empty())
    }

    /// A message as its reader gets it.
    ///
    /// # Errors
    /// Something in it is to be masked, and that cannot be done.
    pub(super) fn edited(&self, bytes: Bytes, content: Content) -> Result<Bytes, Refusal> {
        let (to, sides) = self.way.reader();
        let mut bytes = bytes;
        for applied_to in sides.into_iter().filter(|applied| !applied.side.is_empty()) {
            let mask = |side: &Side| self.mask_for_reader(side, &bytes, content.form(applied_to.followed));
            let masked = applied_to.mask(mask).map_err(|why| unmaskable(to, &why))?;
            if !masked.edits.is_empty() {
                self.changed.borrow_mut().extend(masked.edits.iter().filter_map(|edit| whole(&bytes, edit)));
                bytes = applied(&bytes, &masked.edits).into();
                self.mark(to, applied_to.side, masked.marks, None);
            }
        }
        Ok(bytes)
    }

    /// A notification as its reader gets it, if its text may go on in the next and is masked with that as one.
    ///
    /// # Errors
    /// As [`Veil::edited`].
    pub(super) fn piece(&self, pieces: &mut Pieces, data: &Bytes, message: &Message) -> Result<Option<Bytes>, Refusal> {
        let (to, sides) = self.way.reader();
        let Some(Applied { side, .. }) = sides.into_iter().find(|applied| self.masking.joins_pieces && !applied.side.is_empty()) else {
            return Ok(None);
        };
        let next = |keys: &Keys<'_>| pieces.next(data, message, side.masker()?, keys);
        let Some(next) = self.for_reader(next).map_err(|why| unmaskable(to, &why))? else { return Ok(None) };
        self.mark(to, side, next.marks, None);
        Ok(Some(next.data.into()))
    }

    /// What is left of such texts at their end, each in a notification of its own.
    ///
    /// # Errors
    /// As [`Veil::edited`].
    pub(super) fn rest(&self, pieces: &mut Pieces) -> Result<Vec<Vec<u8>>, Refusal> {
        self.for_reader(|keys| pieces.rest(keys)).map_err(|why| unmaskable("client", &why))
    }

    /// The value of a header field as its reader gets it, if that is another: one that repeats an argument changes with it, so the message
    /// goes before its head.
    pub(super) fn edited_header(&self, name: &str, value: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(argument) = argument_of(name) else { return Ok(None) };
        let spelt = spelt(value);
        if let Some(to) = self.became(&spelt) {
            return Ok(Some(header_value(&to)));
        }
        let (to, sides) = self.way.reader();
        let mut shown = spelt.clone();
        for Applied { side, .. } in sides.into_iter().filter(|applied| !applied.side.is_empty()) {
            let form = Form::Text { name: Some(argument) };
            let masked = self.mask_for_reader(side, shown.as_bytes(), form).map_err(|why| unmaskable(to, &why))?;
            shown = String::from_utf8_lossy(&applied(shown.as_bytes(), &masked.edits)).into_owned();
        }
        Ok((shown != spelt).then(|| header_value(&shown)))
    }

    /// What has taken the place of a value of the message.
    fn became(&self, value: &str) -> Option<String> {
        self.changed.borrow().iter().find(|(from, _)| from == value).map(|(_, to)| to.clone())
    }

    /// What was masked so far: it goes into the record, last.
    pub(super) fn marks(&self) -> Option<Masks> {
        let marks = self.places.take();
        let salt = self.commitments.get().map(|(salt, _)| BASE64_STANDARD_NO_PAD.encode(salt));
        (!marks.is_empty() || salt.is_some()).then_some(Masks { salt, marks })
    }

    fn mark(&self, to: &'static str, side: &Side, marks: Vec<Mark>, place: Option<&str>) {
        let places = marks.into_iter().map(|mark| Place {
            to,
            path: place.map_or(mark.path, str::to_owned),
            rule: side.rule(mark.rule).to_owned(),
            kind: mark.kind.map(|found| self.masking.kind(found).to_owned()),
            count: mark.commitments.len(),
            // Whoever can prove what was masked for another reader can do so by the record's own value, or its commitment.
            commitments: match to {
                "record" => mark.commitments.iter().map(|one| BASE64_STANDARD_NO_PAD.encode(one)).collect(),
                _ => Vec::new(),
            },
        });
        self.places.borrow_mut().extend(places);
    }

    /// Commitments are to a value at its place in the record, which `mask prove` makes anew.
    fn mask(&self, side: &Side, place: Option<&str>, bytes: &[u8], form: Form<'_>) -> Result<Masked, String> {
        let commit = |parts: &[&[u8]]| match (place, parts) {
            (Some(place), [_, rest @ ..]) => mac(&self.commitment_key().1, &[&[place.as_bytes()], rest].concat()),
            _ => mac(&self.commitment_key().1, parts),
        };
        side.mask(bytes, form, &Keys { commit: &commit, token: &|parts| mac(self.token_key(), parts) })
    }

    /// As [`Veil::mask`]. Only the record commits to values.
    fn mask_for_reader(&self, side: &Side, bytes: &[u8], form: Form<'_>) -> Result<Masked, String> {
        self.for_reader(|keys| side.mask(bytes, form, keys))
    }

    fn for_reader<T>(&self, with: impl FnOnce(&Keys<'_>) -> T) -> T {
        with(&Keys { commit: &|_| [0; 32], token: &|parts| mac(self.token_key(), parts) })
    }

    fn commitment_key(&self) -> &([u8; 16], Key) {
        self.commitments.get_or_init(|| {
            let mut salt = [0; 16];
            // Without random numbers the key is the gateway's own for all records: equal values can be told then, and nothing more.
            let _ = rand::fill(&mut salt);
            (salt, self.masking.keys().of_record(&salt))
        })
    }

    fn token_key(&self) -> &Key {
        self.tokens.get_or_init(|| self.masking.keys().of_tokens(&self.masking.token_scope(self.server, self.session)))
    }
}

impl Content {
    fn form(self, followed: &Followed) -> Form<'_> {
        match self {
            Content::Message => Form::Message(followed),
            Content::Other => Form::Text { name: None },
        }
    }
}

fn unmaskable(reader: &str, why: &str) -> Refusal {
    let message = format!("a message for the {reader} was withheld: {why}");
    Refusal { side: Party::Gateway, reason: "masking", ..Refusal::upstream(message, UNMASKABLE) }
}

/// The argument that a header field repeats.
fn argument_of(name: &str) -> Option<&str> {
    let (prefix, argument) = name.split_at_checked(PARAM.len())?;
    prefix.eq_ignore_ascii_case(PARAM).then_some(argument)
}

/// What a field that repeats an argument means: `=?base64?…?=` is base64 (MCP 2026-07-28, basic/transports).
fn spelt(value: &str) -> String {
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let decoded = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| value.to_owned())
}

fn header_value(text: &str) -> Vec<u8> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text && !text.starts_with("=?base64?");
    if is_plain { text.as_bytes().to_vec() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(text)).into_bytes() }
}

/// Both sides of an edit that takes the place of a whole value, as a header field would have them.
fn whole(before: &[u8], edit: &Edit) -> Option<(String, String)> {
    let scalar = |json: &[u8]| match serde_json::from_slice(json).ok()? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => std::str::from_utf8(json).ok().map(str::to_owned),
        _ => None,
    };
    Some((scalar(before.get(edit.start..edit.end)?)?, scalar(&edit.with)?))
}
