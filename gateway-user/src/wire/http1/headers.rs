use std::ops::Range;

use bytes::Bytes;

/// Header fields in the order received, with the spelling received.
///
/// Names are compared without case (RFC 9110 section 5.1). The fields of a received head are ranges of its
/// bytes, which live as long as this does: copy what must outlive the call. Lookups walk the list, which for a
/// head of usual size is faster than any map.
///
/// `Debug` prints names only: values may be credentials.
#[derive(Clone, Default)]
pub struct Headers {
    head: Bytes,
    fields: Vec<Field>,
}

#[derive(Clone)]
enum Field {
    /// Name and value in `head`.
    Received(Range<usize>, Range<usize>),
    Own(Bytes, Bytes),
}

impl Headers {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields that were parsed from `head`.
    pub(super) fn received(head: Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let start = head.as_ptr().addr();
        let place = |part: &[u8]| {
            let from = part.as_ptr().addr().saturating_sub(start);
            from..from + part.len()
        };
        let fields = parsed.iter().map(|field| Field::Received(place(field.name.as_bytes()), place(trim(field.value)))).collect();
        Self { head, fields }
    }

    /// Adds a field at the end. Nothing is checked here; the writers check before anything is sent.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push(Field::Own(name.into(), value.into()));
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The value of the only field of that name: `Err` when there are several.
    ///
    /// # Errors
    /// The number of fields of that name, when it is more than one.
    pub fn get_one(&self, name: &str) -> Result<Option<&[u8]>, usize> {
        let mut all = self.get_all(name);
        let first = all.next();
        match all.count() {
            0 => Ok(first),
            more => Err(more + 1),
        }
    }

    /// The values of every field of that name, in order.
    pub fn get_all<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Whether there is a field of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether any field of that name holds `token` in its comma-separated list, without case.
    pub fn contains_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The members of the comma-separated lists of every field of that name, trimmed, empty ones left out.
    pub fn tokens<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
        self.get_all(name).flat_map(|v| v.split(|b| *b == b',')).map(trim).filter(|t| !t.is_empty())
    }

    /// Every field: name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let part = |range: &Range<usize>| self.head.get(range.clone()).unwrap_or_default();
        self.fields.iter().map(move |field| match field {
            Field::Received(name, value) => (part(name), part(value)),
            Field::Own(name, value) => (name.as_ref(), value.as_ref()),
        })
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

/// Which fields belong to this connection only, and so are never sent on.
///
/// Those are what RFC 9110 section 7.6.1 lists, what `Connection` names, and what we answer or write ourselves
/// (`Expect`, `Content-Length`).
pub(super) struct HopByHop<'h> {
    named: Vec<&'h [u8]>,
}

impl<'h> HopByHop<'h> {
    pub(super) fn of(headers: &'h Headers) -> Self {
        Self { named: headers.tokens("connection").collect() }
    }

    pub(super) fn includes(&self, name: &[u8]) -> bool {
        const ALWAYS: [&[u8]; 11] = [
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"proxy-authenticate",
            b"proxy-authorization",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
            b"expect",
            b"content-length",
        ];
        ALWAYS.iter().any(|hop| name.eq_ignore_ascii_case(hop))
            || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"))
            || self.named.iter().any(|token| token.eq_ignore_ascii_case(name))
    }
}

/// Without the white space (space, tab) around it.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
