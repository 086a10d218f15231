//! Content-Type and Content-Encoding, as far as they decide who can read a body.

use super::http1::Headers;

/// A field that must stand once stands more often, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header field `{0}` stands more than once or cannot be read; what the body is, is not certain")]
pub struct Unclear(
    /// The name of the field.
    pub &'static str,
);

/// The media type of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// `type/subtype` in lower case.
    pub essence: String,
    /// The `charset` parameter in lower case, without quotes.
    pub charset: Option<String>,
}

/// The media type that Content-Type names: compared in lower case and without parameters, because readers do
/// (`Application/JSON; charset=utf-8` is `application/json`).
///
/// # Errors
/// [`Unclear`] when the field is repeated, is not `type/subtype`, or has two charsets.
pub fn media_type(headers: &Headers) -> Result<Option<MediaType>, Unclear> {
    let unclear = || Unclear("Content-Type");
    let Some(value) = headers.get_one("content-type").map_err(|_| unclear())? else {
        return Ok(None);
    };
    let value = std::str::from_utf8(value).map_err(|_| unclear())?;
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = |part: &str| !part.is_empty() && part.bytes().all(super::http1::is_token);
    if !essence.split_once('/').is_some_and(|(top, sub)| fits(top) && fits(sub)) {
        return Err(unclear());
    }
    let mut charset = None;
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if !name.trim().eq_ignore_ascii_case("charset") {
            continue;
        }
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        if charset.replace(value).is_some() {
            return Err(unclear());
        }
    }
    Ok(Some(MediaType { essence, charset }))
}

/// The content codings of a body, in lower case, in the order applied; empty when it can be read as it is.
///
/// # Errors
/// [`Unclear`] when the field cannot be read.
pub fn content_encoding(headers: &Headers) -> Result<Vec<String>, Unclear> {
    let mut codings = Vec::new();
    for token in headers.tokens("content-encoding") {
        let token = std::str::from_utf8(token).map_err(|_| Unclear("Content-Encoding"))?.to_ascii_lowercase();
        if token != "identity" {
            codings.push(token);
        }
    }
    Ok(codings)
}
