//! Reads the files under `corpus/`: see the README there.
#![expect(clippy::panic, reason = "a test fails by panicking")]

/// One block: its lines in order.
pub(crate) struct Block(Vec<(String, String)>);

impl Block {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    pub(crate) fn all<'b, 'k>(&'b self, key: &'k str) -> impl Iterator<Item = &'b str> + use<'b, 'k> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The name, for messages of failed tests.
    pub(crate) fn name(&self) -> &str {
        self.get("name").expect("every block has a name")
    }

    /// `body`, with `\xNN` decoded.
    pub(crate) fn body(&self) -> Vec<u8> {
        decoded(self.get("body").expect("a body"), false)
    }

    /// `bytes`, with `\xNN`, `\r`, `\n`, `\t` and `\\` decoded.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        decoded(self.get("bytes").expect("bytes"), true)
    }
}

pub(crate) fn blocks(file: &str) -> Vec<Block> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let blocks: Vec<Block> = text
        .split("\n\n")
        .map(|block| block.lines().filter(|line| !line.starts_with('#') && !line.is_empty()))
        .map(|lines| lines.map(|line| line.split_once(':').unwrap_or_else(|| panic!("{file}: {line}"))))
        .map(|lines| lines.map(|(k, v)| (k.to_owned(), v.strip_prefix(' ').unwrap_or(v).to_owned())).collect())
        .map(Block)
        .filter(|block| !block.0.is_empty())
        .collect();
    assert!(blocks.len() > 5, "{file} was not read");
    blocks
}

fn decoded(text: &str, all: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, len) = match (first, tail) {
            (b'\\', [b'x', high, low, ..]) => {
                let hex = [*high, *low];
                let hex = std::str::from_utf8(&hex).expect("ASCII");
                (u8::from_str_radix(hex, 16).expect("two hexadecimal digits"), 4)
            }
            (b'\\', [b'r', ..]) if all => (b'\r', 2),
            (b'\\', [b'n', ..]) if all => (b'\n', 2),
            (b'\\', [b't', ..]) if all => (b'\t', 2),
            (b'\\', [b'\\', ..]) if all => (b'\\', 2),
            _ => (*first, 1),
        };
        out.push(byte);
        rest = &rest[len..];
    }
    out
}
