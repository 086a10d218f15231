//! A call's arguments, flattened: what policies compare and labels look at.

/// At most so many scalars are taken.
const SCALARS: usize = 1024;
/// At most so many bytes of decoded text, paths included, are taken.
const BYTES: usize = 1 << 20;

/// The arguments of a call: every scalar by its path (`sql`, `options.limit`, `rows.0.id`), decoded; and arrays of scalars whole.
///
/// At most 1,024 scalars and 1 MiB of text are taken: beyond that they are [partial](Self::is_partial).
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    scalars: Vec<Scalar>,
    lists: Vec<(String, Vec<String>)>,
    partial: bool,
}

#[derive(Debug, Clone)]
struct Scalar {
    path: String,
    text: String,
    is_string: bool,
}

impl Arguments {
    /// From the JSON of `params.arguments`. What is no object stands under the path `""`; `null` is nothing. Never fails: what cannot be
    /// read makes them partial.
    #[must_use]
    pub fn read(json: &[u8]) -> Self {
        let mut walk = Walk { json, at: 0, bytes: 0, open: Vec::new(), path: String::new(), found: Self::default() };
        if walk.run().is_none() {
            walk.found.partial = true;
        }
        walk.found
    }

    /// Of a call without any.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// All scalars by path: strings decoded, numbers and booleans as spelt.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scalars.iter().map(|scalar| (scalar.path.as_str(), scalar.text.as_str()))
    }

    /// Only the strings, decoded.
    pub fn strings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scalars.iter().filter(|scalar| scalar.is_string).map(|scalar| (scalar.path.as_str(), scalar.text.as_str()))
    }

    /// The numbers that are integers of 64 bits.
    pub fn integers(&self) -> impl Iterator<Item = (&str, i64)> {
        let numbers = self.scalars.iter().filter(|scalar| !scalar.is_string);
        numbers.filter_map(|scalar| Some((scalar.path.as_str(), scalar.text.parse().ok()?)))
    }

    /// Arrays that hold scalars only, by the array's path.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.lists.iter().map(|(path, items)| (path.as_str(), items.as_slice()))
    }

    /// The scalar at a path, as [`Self::texts`] has it.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.scalars.iter().find(|scalar| scalar.path == path).map(|scalar| scalar.text.as_str())
    }

    /// The number at a path, as [`Self::integers`] has it.
    pub(super) fn integer(&self, path: &str) -> Option<i64> {
        self.scalars.iter().find(|scalar| !scalar.is_string && scalar.path == path)?.text.parse().ok()
    }

    /// Whether two have one path, as in `{"a.b": 1, "a": {"b": 2}}`.
    pub(super) fn is_ambiguous(&self) -> bool {
        let twice = |mut paths: Vec<&str>| {
            paths.sort_unstable();
            paths.windows(2).any(|pair| pair[0] == pair[1])
        };
        twice(self.texts().map(|(path, _)| path).collect()) || twice(self.lists().map(|(path, _)| path).collect())
    }

    /// Whether there was more than is taken, or something that could not be read.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }
}

/// An object or array whose end has not come.
struct Open {
    /// Where its own path ends in `Walk::path`.
    path: usize,
    /// In an array, the place of the next item.
    index: Option<usize>,
    /// In an array that holds scalars only so far, those.
    list: Option<Vec<String>>,
}

/// Goes through the text without recursion, so that nesting costs no stack; numbers keep their spelling.
struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    bytes: usize,
    open: Vec<Open>,
    path: String,
    found: Arguments,
}

impl Walk<'_> {
    /// `None`: not all could be taken.
    fn run(&mut self) -> Option<()> {
        if self.peek().is_none() {
            return Some(());
        }
        loop {
            while self.value()? {}
            loop {
                let Some(open) = self.open.last_mut() else { return self.peek().is_none().then_some(()) };
                match self.json.get(self.at)? {
                    b'}' | b']' => {
                        self.at += 1;
                        self.close();
                    }
                    b',' => {
                        self.at += 1;
                        self.path.truncate(open.path);
                        break;
                    }
                    b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                    _ => return None,
                }
            }
        }
    }

    /// A value, with its name if it has one; of an object or array only the beginning, which is said.
    fn value(&mut self) -> Option<bool> {
        if self.open.last().is_some_and(|open| open.index.is_none()) {
            if self.peek()? == b'}' {
                return Some(false);
            }
            let name = self.string()?;
            self.step_into(&name);
            (self.peek()? == b':').then_some(())?;
            self.at += 1;
        } else if let Some(index) = self.open.last().and_then(|open| open.index) {
            if self.peek()? == b']' {
                return Some(false);
            }
            self.step_into(itoa::Buffer::new().format(index));
            if let Some(open) = self.open.last_mut() {
                open.index = Some(index + 1);
            }
        }
        match self.peek()? {
            b'{' => return Some(self.begin(None, None)),
            b'[' => return Some(self.begin(Some(0), Some(Vec::new()))),
            b'"' => {
                let text = self.string()?;
                self.take(text, true)?;
            }
            _ => {
                let rest = self.json.get(self.at..)?;
                let length = rest.iter().position(|byte| b",]} \t\r\n".contains(byte)).unwrap_or(rest.len());
                let text = str::from_utf8(&rest[..length]).ok().filter(|text| !text.is_empty())?;
                self.at += length;
                if text != "null" {
                    self.take(text.to_owned(), false)?;
                }
            }
        }
        Some(false)
    }

    fn begin(&mut self, index: Option<usize>, list: Option<Vec<String>>) -> bool {
        if let Some(parent) = self.open.last_mut() {
            parent.list = None;
        }
        self.at += 1;
        self.open.push(Open { path: self.path.len(), index, list });
        true
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.path.truncate(open.path);
        if let Some(list) = open.list.filter(|list| !list.is_empty()) {
            self.found.lists.push((self.path.clone(), list));
        }
    }

    fn step_into(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }

    fn take(&mut self, text: String, is_string: bool) -> Option<()> {
        self.bytes += text.len() + self.path.len();
        if self.found.scalars.len() == SCALARS || self.bytes > BYTES {
            return None;
        }
        if let Some(list) = self.open.last_mut().and_then(|open| open.list.as_mut()) {
            list.push(text.clone());
        }
        self.found.scalars.push(Scalar { path: self.path.clone(), text, is_string });
        Some(())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.json.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    fn string(&mut self) -> Option<String> {
        (self.peek()? == b'"').then_some(())?;
        let rest = self.json.get(self.at..)?;
        let mut end = 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', rest.get(end..)?)?;
            if rest[end] == b'"' {
                break;
            }
            end += 2;
        }
        self.at += end + 1;
        let raw = str::from_utf8(&rest[1..end]).ok()?;
        if !raw.contains('\\') {
            return Some(raw.to_owned());
        }
        // An escaped half of a surrogate pair is no text: looked at as it is spelt, and said to be partial.
        Some(serde_json::from_slice(&rest[..=end]).unwrap_or_else(|_| {
            self.found.partial = true;
            raw.to_owned()
        }))
    }
}
