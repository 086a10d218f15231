//! What an `@` tells of: e-mail addresses, and passwords in URLs.

use crate::Kind;

/// The most bytes before an `@` that belong to it.
const LOCAL: usize = 64;
const USERINFO: usize = 512;

/// What files end in, and no domain does: `icon@2x.png`.
const FILES: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "bmp", "js", "mjs", "css", "map", "json", "html", "htm", "xml", "txt", "yaml",
    "yml", "pdf", "tgz", "jar", "exe", "dll", "service", "socket", "timer", "target",
];

/// What is around this `@`.
pub(super) fn at(bytes: &[u8], at: usize) -> Option<(Kind, usize, usize)> {
    if let Some(user) = userinfo(bytes, at) {
        let (start, end) = user?;
        return Some((Kind::Password, start, end));
    }
    let (start, end) = address(bytes, at)?;
    Some((Kind::Email, start, end))
}

/// Whether this `@` is over a URL's user, and where the password in it stands (RFC 3986, 3.2.1).
fn userinfo(bytes: &[u8], at: usize) -> Option<Option<(usize, usize)>> {
    let from = at.saturating_sub(USERINFO);
    let is_in = |byte: &u8| {
        !byte.is_ascii_whitespace() && !byte.is_ascii_control() && !matches!(byte, b'/' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'?' | b'#')
    };
    let start = at - bytes[from..at].iter().rev().take_while(|byte| is_in(byte)).count();
    if !bytes[..start].ends_with(b"://") {
        return None;
    }
    let Some(colon) = memchr::memchr(b':', &bytes[start..at]) else { return Some(None) };
    let password = start + colon + 1..at;
    Some((!is_placeholder(&bytes[password.clone()])).then_some((password.start, password.end)))
}

/// Whether this stands for a value, and is none: `${PASSWORD}`, `<password>`, `***`.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    let alike = value.windows(2).all(|pair| pair[0] == pair[1]);
    let begins = matches!(value, [] | [b'$' | b'<' | b'{' | b'*' | b'[', ..])
        || (value.starts_with(b"%") && value.get(1).is_none_or(u8::is_ascii_alphabetic));
    begins
        || (alike && value.len() > 1 && !value[0].is_ascii_alphanumeric())
        || value.eq_ignore_ascii_case(b"xxx")
        || value.eq_ignore_ascii_case(b"redacted")
}

/// The address around this `@` (RFC 5321, without quoted local parts and address literals).
fn address(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(byte);
    let is_strict = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-'".contains(byte);
    let mut start = at - bytes[at.saturating_sub(LOCAL)..at].iter().rev().take_while(|byte| is_strict(byte)).count();
    while start < at && matches!(bytes[start], b'.' | b'\'' | b'-' | b'%') {
        start += 1;
    }
    let whole = start == 0 || !is_local(&bytes[start - 1]) || !bytes[start - 1].is_ascii_alphanumeric();
    let mut end = at + 1;
    let mut last = end;
    let mut dots = 0;
    loop {
        let label = bytes[end..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        let label = &bytes[end..end + label];
        let label = &label[..label.len() - label.iter().rev().take_while(|&&byte| byte == b'-').count()];
        if label.is_empty() || label.len() > 63 || label[0] == b'-' {
            break;
        }
        (last, end) = (end, end + label.len());
        if bytes.get(end) != Some(&b'.') || !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric) {
            break;
        }
        (dots, end) = (dots + 1, end + 1);
    }
    let top = bytes.get(last..end)?;
    let is_top = (top.len() > 1 && top.iter().all(u8::is_ascii_alphabetic)) || top.starts_with(b"xn--");
    let is_file = FILES.iter().any(|file| file.as_bytes().eq_ignore_ascii_case(top));
    // `git@github.com:owner/name` is where a repository is.
    let is_remote = &bytes[start..at] == b"git" && bytes.get(end) == Some(&b':');
    (whole && start < at && bytes[at - 1] != b'.' && dots > 0 && is_top && !is_file && !is_remote).then_some((start, end))
}
