/// The request that opened an HTTP+SSE stream (2024-11-05).
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port as in the Host field.
    pub authority: &'a str,
    /// Path, and query if any.
    pub target: &'a str,
}

/// Why an `endpoint` event cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has bytes that URLs do not have, which clients drop or read in their own way.
    #[error("the endpoint event does not hold a plain URL (visible ASCII without a backslash)")]
    NotAUrl,
    /// It names another server: the client would post around the gateway, or give its credentials away.
    #[error("the endpoint event names another server, `{0}`; only the one that the stream came from may be named")]
    OtherAuthority(String),
}

/// The path and query that the client will POST its messages to, as an `endpoint` event of 2024-11-05 names
/// them (basic/transports, "HTTP with SSE"); `data` may be an absolute or a relative URL (RFC 3986 section 5).
///
/// # Errors
/// [`EndpointError`] when it is no URL, or one of another server.
pub fn endpoint_event(data: &[u8], base: Base<'_>) -> Result<String, EndpointError> {
    let data = data.trim_ascii();
    let fits = |b: &u8| b.is_ascii_graphic() && !br#"\"<>^`{|}"#.contains(b);
    let url = std::str::from_utf8(data).map_err(|_| EndpointError::NotAUrl)?;
    if !data.iter().all(fits) {
        return Err(EndpointError::NotAUrl);
    }
    let url = url.split('#').next().unwrap_or_default();
    let (base_path, base_query) = base.target.split_once('?').map_or((base.target, None), |(p, q)| (p, Some(q)));

    let reference = match scheme_of(url) {
        Some((scheme, rest)) => {
            if !scheme.eq_ignore_ascii_case(base.scheme) || !rest.starts_with("//") {
                return Err(EndpointError::OtherAuthority(url.to_owned()));
            }
            rest
        }
        None => url,
    };
    if let Some(rest) = reference.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if !same_authority(authority, base) {
            return Err(EndpointError::OtherAuthority(authority.to_owned()));
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        return Ok(joined(&without_dots(path), query));
    }
    let (path, query) = reference.split_once('?').map_or((reference, None), |(p, q)| (p, Some(q)));
    if path.is_empty() {
        return Ok(joined(&without_dots(base_path), query.or(base_query)));
    }
    if path.starts_with('/') {
        return Ok(joined(&without_dots(path), query));
    }
    let directory = base_path.rfind('/').map_or("/", |slash| &base_path[..=slash]);
    Ok(joined(&without_dots(&format!("{directory}{path}")), query))
}

fn scheme_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(fits)).then_some((scheme, rest))
}

fn same_authority(authority: &str, base: Base<'_>) -> bool {
    let default = if base.scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |authority: &str| {
        let lower = authority.to_ascii_lowercase();
        lower.strip_suffix(default).map(str::to_owned).unwrap_or(lower)
    };
    plain(authority) == plain(base.authority)
}

fn joined(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// RFC 3986 section 5.2.4, also for dots that are percent-encoded, as the WHATWG URL standard has it.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
