//! Texts in other encodings than UTF-8, as blobs and files have them.

/// How a text is written in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    /// With the byte order mark, if it has one, as its first character.
    Utf16 {
        little: bool,
    },
    /// ISO 8859-1, and what else has ASCII in its lower half: a character for each byte.
    Latin1,
}

impl Charset {
    /// How these bytes are written, if they are a text.
    pub(crate) fn of(bytes: &[u8]) -> Option<Charset> {
        let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
        let pairs = bytes.len() / 2;
        match bytes {
            [0xFF, 0xFE, ..] => return Some(Charset::Utf16 { little: true }),
            [0xFE, 0xFF, ..] => return Some(Charset::Utf16 { little: false }),
            // Letters of ASCII have a zero beside each.
            _ if pairs > 2 && zeros(1) * 4 > pairs * 3 => return Some(Charset::Utf16 { little: true }),
            _ if pairs > 2 && zeros(0) * 4 > pairs * 3 => return Some(Charset::Utf16 { little: false }),
            _ => {}
        }
        if std::str::from_utf8(bytes).is_ok() {
            return Some(Charset::Utf8);
        }
        let is_plain = |byte: &&u8| matches!(**byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        let plain = bytes.iter().filter(is_plain).count();
        // Pictures and programs are not so plain.
        (plain * 10 > bytes.len() * 8 && !bytes.contains(&0)).then_some(Charset::Latin1)
    }

    /// The text of bytes that are written so.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Charset::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Charset::Latin1 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
            Charset::Utf16 { little } => {
                let (pairs, rest) = bytes.as_chunks::<2>();
                let units: Vec<u16> =
                    pairs.iter().map(|pair| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) }).collect();
                rest.is_empty().then(|| String::from_utf16(&units).ok())?
            }
        }
    }

    /// A text written so. What the encoding does not have becomes `?`.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Charset::Utf8 => text.as_bytes().to_vec(),
            Charset::Latin1 => text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect(),
            Charset::Utf16 { little } => {
                text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_written() {
        let utf16 = |text: &str, little| Charset::Utf16 { little }.encode(text);
        for (bytes, charset, text) in [
            ("Jürgen 1".as_bytes().to_vec(), Charset::Utf8, "Jürgen 1"),
            (b"name;J\xFCrgen;ssn".to_vec(), Charset::Latin1, "name;Jürgen;ssn"),
            (utf16("name;Jürgen", true), Charset::Utf16 { little: true }, "name;Jürgen"),
            (utf16("name;Jürgen", false), Charset::Utf16 { little: false }, "name;Jürgen"),
            (utf16("\u{feff}患者", true), Charset::Utf16 { little: true }, "\u{feff}患者"),
        ] {
            assert_eq!(Charset::of(&bytes), Some(charset), "{text}");
            assert_eq!(charset.decode(&bytes).unwrap(), text);
            assert_eq!(charset.encode(text), bytes);
        }
    }

    #[test]
    fn what_is_no_text_is_left_alone() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\x01\0\x08\x06\0\0\0\\r\xA8f";
        assert_eq!(Charset::of(png), None);
        let noise: Vec<u8> = (0..200_u8).map(|at| at.wrapping_mul(97) | 0x80).collect();
        assert_eq!(Charset::of(&noise), None);
    }
}
