//! One masking of one body: what its parts share.

use std::collections::HashMap;

use crate::change::{Change, Value};
use crate::detect::Found;
use crate::edit::Edit;
use crate::how;
use crate::json::{Flaw, MAX_DEPTH, Tape, Type};
use crate::layer::{Decoded, latin1};
use crate::masker::Masker;
use crate::outcome::{Failure, Form, Keys, Mark, Masked};
use crate::path::Selected;
use crate::places::Places;
use crate::rule::How;
use crate::trail::{Step, Trail};

/// Layers of encoding that are read.
const LAYERS: usize = 8;
/// Levels of arrays and objects over all layers: the walk goes down on the stack.
const LEVELS: usize = 256;
/// Positions are held in 32 bits.
const LARGEST: usize = (u32::MAX >> 1) as usize;
/// Bytes that may be decoded and searched beyond those of the body.
const WORK: usize = 32 << 20;

/// What the parts of one masking share.
pub(crate) struct Pass<'a> {
    pub(crate) masker: &'a Masker,
    pub(crate) followed: &'a Places,
    keys: &'a Keys<'a>,
    limit: usize,
    work: usize,
    pub(crate) levels: usize,
    layers: usize,
}

/// What is known of a text from where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Stands<'a> {
    pub(crate) trail: &'a Trail<'a>,
    /// The field or column that it is of.
    pub(crate) name: Option<&'a str>,
    /// There may be a reason to look into it that only the name tells.
    pub(crate) hot: bool,
    /// The copy of `structuredContent` may be here.
    pub(crate) copy: bool,
}

/// A segment of a text, and what is known of the text around it.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// No detector could tell anything of it.
    pub(crate) quiet: bool,
}

impl<'a> Pass<'a> {
    fn new(masker: &'a Masker, followed: &'a Places, keys: &'a Keys<'a>, size: usize) -> Pass<'a> {
        let limit = WORK.saturating_add(size.saturating_mul(16));
        Pass { masker, followed, keys, limit, work: 0, levels: 0, layers: 0 }
    }

    /// Masks a segment of a text that streams: what it becomes.
    pub(crate) fn segment(masker: &Masker, around: Around<'_>, keys: &Keys<'_>) -> Result<(String, Vec<Mark>), Failure> {
        let nothing = Places::default();
        let segment = around.text.get(around.start..around.end).unwrap_or_default();
        let changes = Pass::new(masker, &nothing, keys, segment.len()).in_segment(around)?;
        let masked = masked(changes, &Decoded::plain(segment));
        let text = crate::edit::applied(segment.as_bytes(), &masked.edits);
        Ok((String::from_utf8_lossy(&text).into_owned(), masked.marks))
    }

    pub(crate) fn over(masker: &'a Masker, body: &[u8], form: Form<'a>, keys: &'a Keys<'a>) -> Result<Masked, Failure> {
        if body.len() > LARGEST {
            return Err(Failure::Large { size: body.len(), limit: LARGEST });
        }
        let nothing = Places::default();
        let followed = match form {
            Form::Message(followed) => &followed.columns,
            Form::Text { .. } | Form::Url => &nothing,
        };
        let mut pass = Pass::new(masker, followed, keys, body.len());
        let text = std::str::from_utf8(body);
        let mut changes = Vec::new();
        let decoded = match (text, form) {
            (Ok(text), _) => Decoded::plain(text),
            (Err(error), Form::Message(_)) => return Err(Failure::NotJson { at: error.valid_up_to() }),
            (Err(_), _) => latin1(body),
        };
        match form {
            Form::Message(_) => pass.message(decoded.text(), &mut changes)?,
            Form::Text { name } => {
                let stands = Stands { trail: &Trail::ROOT, name, hot: name.is_some(), copy: false };
                pass.text(decoded.text(), stands, &mut changes)?;
            }
            Form::Url => pass.url(decoded.text(), &Trail::ROOT, &mut changes)?,
        }
        Ok(masked(changes, &decoded))
    }

    fn message(&mut self, text: &str, out: &mut Vec<Change>) -> Result<(), Failure> {
        let hits = crate::hits::Hits::of(text, self.masker, self.followed);
        if hits.is_empty() && self.masker.paths.is_empty() {
            return Ok(());
        }
        let tape = Tape::read(text).map_err(|flaw| self.unread(flaw))?;
        crate::walk::message(self, text, &tape, hits, out)
    }

    pub(crate) fn unread(&self, flaw: Flaw) -> Failure {
        match flaw {
            Flaw::Syntax(at) => Failure::NotJson { at },
            Flaw::Depth(at) => Failure::Nested { limit: MAX_DEPTH, at },
        }
    }

    /// Counts what is decoded and searched.
    pub(crate) fn spend(&mut self, bytes: usize, trail: &Trail<'_>) -> Result<(), Failure> {
        self.work = self.work.saturating_add(bytes);
        if self.work > self.limit { Err(Failure::Work { limit: self.limit, path: trail.path() }) } else { Ok(()) }
    }

    /// How many bytes may still be decoded.
    pub(crate) fn left(&self) -> usize {
        self.limit - self.work
    }

    /// Goes down a level of arrays and objects.
    pub(crate) fn deeper(&mut self, at: usize) -> Result<(), Failure> {
        self.levels += 1;
        if self.levels > LEVELS { Err(Failure::Nested { limit: LEVELS, at }) } else { Ok(()) }
    }

    /// Does something one layer of encoding further in.
    pub(crate) fn layer<T>(&mut self, trail: &Trail<'_>, inner: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.layers == LAYERS {
            return Err(Failure::Layers { limit: LAYERS, path: trail.path() });
        }
        self.layers += 1;
        let done = inner(self);
        self.layers -= 1;
        done
    }

    /// The text that takes the place of a text.
    pub(crate) fn replace(&self, text: &str, rule: usize, found: Option<Found>) -> String {
        self.value(text, rule, found).text(self.masker.how(rule))
    }

    /// The JSON that takes the place of a number or boolean.
    pub(crate) fn replace_scalar(&self, raw: &str, kind: Type, typed: bool, rule: usize, found: Option<Found>) -> String {
        self.value(raw, rule, found).scalar(self.masker.how(rule), kind, typed)
    }

    /// The text that takes the place of something whose text is not of use: an array or an object.
    pub(crate) fn redacted(&self, rule: usize, found: Option<Found>) -> String {
        self.value("", rule, found).text(How::Redact)
    }

    fn value<'v>(&'v self, text: &'v str, rule: usize, found: Option<Found>) -> how::Value<'v> {
        how::Value { text, label: self.masker.label(rule, found), token: self.keys.token }
    }

    /// What the record keeps of a value.
    pub(crate) fn mark(&self, trail: &Trail<'_>, kind: &str, value: &str, rule: usize, found: Option<Found>) -> Value {
        let path = trail.path();
        let mac = (self.keys.commit)(&[path.as_bytes(), kind.as_bytes(), value.as_bytes()]);
        let mut commitment = [0; 16];
        commitment.copy_from_slice(&mac[..16]);
        Value { path, rule, found, commitment }
    }

    /// The first rule that looks for a member of this name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.masker.fields.find(name).into_iter().chain(self.followed.find(name)).min()
    }

    /// The first rule that looks for a column of this name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.masker.columns.find(name).into_iter().chain(self.followed.find(name)).min()
    }

    pub(crate) fn too_large(&self, trail: &Trail<'_>) -> Failure {
        Failure::Work { limit: self.limit, path: trail.path() }
    }

    /// Masks what is in a text that was decoded from a part of another; nothing if there was nothing to mask.
    pub(crate) fn decoded(&mut self, text: &str, how: &'static str, stands: Stands<'_>) -> Result<Vec<Change>, Failure> {
        let trail = stands.trail.then(Step::Layer(how));
        self.spend(text.len(), &trail)?;
        self.layer(&trail, |pass| {
            let mut out = Vec::new();
            pass.text(text, Stands { trail: &trail, ..stands }, &mut out)?;
            Ok(out)
        })
    }

    /// What the queries of paths select.
    pub(crate) fn selected(&self, text: &str) -> Result<Selected, Failure> {
        let value = serde_json::from_str(text).map_err(|_| Failure::NotJson { at: 0 })?;
        Ok(Selected::of(&self.masker.paths, &value))
    }
}

/// The changes of the outermost text as edits of the body, and their marks, together where path, rule and kind are the same.
fn masked(changes: Vec<Change>, decoded: &Decoded<'_>) -> Masked {
    let mut masked = Masked::default();
    let mut at = HashMap::new();
    for change in changes {
        for value in change.values {
            let key = (value.path, value.rule, value.found);
            let mark = *at.entry(key).or_insert_with_key(|(path, rule, kind)| {
                masked.marks.push(Mark { path: path.clone(), rule: *rule, kind: *kind, commitments: Vec::new() });
                masked.marks.len() - 1
            });
            masked.marks[mark].commitments.push(value.commitment);
        }
        let (start, end) = (decoded.raw(change.start), decoded.raw(change.end));
        masked.edits.push(Edit { start, end, with: change.with.into_bytes() });
    }
    masked
}
