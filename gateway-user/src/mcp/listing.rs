//! Lists that servers give: what each entry names, and the same list with fewer entries.
//!
//! What is taken out is cut from the bytes as they came; all others stay as they are.

use gateway_mask::{Edit, applied};

use super::scan::{Fault, Kind, Scanner};
use super::{Flaw, Span};

/// A kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    ResourceTemplates,
}

impl List {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    /// This one, in a list of lists.
    pub fn alone(self) -> &'static [Self] {
        match self {
            Self::Tools => &[Self::Tools],
            Self::Prompts => &[Self::Prompts],
            Self::Resources => &[Self::Resources],
            Self::ResourceTemplates => &[Self::ResourceTemplates],
        }
    }

    /// The list that a method asks for.
    pub fn asked_by(method: &str) -> Option<Self> {
        Some(match method {
            "tools/list" => Self::Tools,
            "prompts/list" => Self::Prompts,
            "resources/list" => Self::Resources,
            "resources/templates/list" => Self::ResourceTemplates,
            _ => return None,
        })
    }

    /// The method that uses an entry.
    pub fn used_by(self) -> &'static str {
        match self {
            Self::Tools => "tools/call",
            Self::Prompts => "prompts/get",
            Self::Resources | Self::ResourceTemplates => "resources/read",
        }
    }

    /// The member of the result that holds the entries, and the member of an entry that names it.
    fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Tools => ("tools", "name"),
            Self::Prompts => ("prompts", "name"),
            Self::Resources => ("resources", "uri"),
            Self::ResourceTemplates => ("resourceTemplates", "uriTemplate"),
        }
    }
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is called or read by.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// What an answer lists, and who may keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries, in their order.
    pub entries: Vec<Listed>,
    scope: Scope,
}

/// The member `cacheScope` of a result: who may keep it (2026-07-28, server/utilities/caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The result says `private`, or may not be kept by anybody.
    Private,
    /// Something else: where the value stands.
    Other(Span),
    /// It may be kept, and does not say by whom: where the member can be put.
    Missing(usize),
}

const CACHE: [&str; 2] = ["cacheScope", "ttlMs"];

/// Reads the list that `result` holds, a range of `bytes` that [`super::read`] has accepted. A result without the list's own member lists
/// nothing.
///
/// # Errors
/// It cannot be told what the list holds: it is no list, or an entry has no name. The text says so, for people.
pub fn listing(bytes: &[u8], result: Span, list: List) -> Result<Listing, String> {
    let (member, name) = list.members();
    let text = text(bytes, result)?;
    let mut scan = Scanner::new(text, usize::MAX);
    let mut entries = Vec::new();
    let scope = members(&mut scan, result.start, |scan, key| {
        if key != member {
            scan.check_variant(key, &[member]);
            return Ok(false);
        }
        if scan.kind()? != Kind::Array {
            return Err(Fault::new(Flaw::Syntax, format!("`{member}` is no array")));
        }
        scan.open_array()?;
        while scan.item(entries.is_empty())? {
            entries.push(entry(scan, result.start, name)?);
        }
        Ok(true)
    });
    let scope = scope.map_err(|fault| format!("the list of {member} cannot be read: {}", fault.into_parts().1))?;
    Ok(Listing { entries, scope })
}

/// What makes an answer one that is not kept for others; nothing where it says so already. `result` is a range of `bytes` that
/// [`super::read`] has accepted.
///
/// # Errors
/// As [`listing`].
pub fn made_private(bytes: &[u8], result: Span) -> Result<Option<Edit>, String> {
    let mut scan = Scanner::new(text(bytes, result)?, usize::MAX);
    let scope = members(&mut scan, result.start, |_, _| Ok(false)).map_err(|fault| fault.into_parts().1)?;
    Ok(scope.edit())
}

fn text(bytes: &[u8], result: Span) -> Result<&str, String> {
    std::str::from_utf8(result.of(bytes)).map_err(|error| error.to_string())
}

/// Goes through the members of a result. `take` reads the values that it wants, and says whether it did.
fn members(
    scan: &mut Scanner<'_>,
    offset: usize,
    mut take: impl FnMut(&mut Scanner<'_>, &str) -> Result<bool, Fault>,
) -> Result<Scope, Fault> {
    if scan.kind()? != Kind::Object {
        return Err(Fault::new(Flaw::Syntax, "the result is no object"));
    }
    let mut object = scan.open(false)?;
    let start = offset + scan.position();
    let (mut scope, mut kept) = (None, false);
    while let Some(key) = scan.key(&mut object)? {
        let key = key.decode(scan.input);
        if take(scan, &key)? {
            continue;
        }
        scan.check_variant(&key, &CACHE);
        let span = scan.skip(0)?;
        match &*key {
            "cacheScope" if span.of(scan.input.as_bytes()) == br#""private""# => scope = Some(Scope::Private),
            "cacheScope" => scope = Some(Scope::Other(Span { start: offset + span.start, end: offset + span.end })),
            "ttlMs" => kept = true,
            _ => {}
        }
    }
    match scan.take_noted() {
        Some(fault) => Err(fault),
        None => Ok(scope.unwrap_or(if kept { Scope::Missing(start) } else { Scope::Private })),
    }
}

fn entry(scan: &mut Scanner<'_>, offset: usize, name: &str) -> Result<Listed, Fault> {
    let start = scan.here();
    if scan.kind()? != Kind::Object {
        return Err(Fault::new(Flaw::Syntax, "an entry is no object"));
    }
    let mut object = scan.open(true)?;
    let mut found = None;
    while let Some(key) = scan.key(&mut object)? {
        let key = key.decode(scan.input);
        if key == name {
            found = scan.optional_string()?;
        } else {
            scan.check_variant(&key, &[name]);
            scan.skip(0)?;
        }
    }
    let span = Span { start: offset + start, end: offset + scan.position() };
    found.map(|name| Listed { name, span }).ok_or_else(|| Fault::new(Flaw::Syntax, format!("an entry has no `{name}`")))
}

impl Scope {
    fn edit(self) -> Option<Edit> {
        match self {
            Self::Private => None,
            Self::Other(span) => Some(edit(span, r#""private""#)),
            Self::Missing(at) => Some(edit(Span { start: at, end: at }, r#""cacheScope":"private","#)),
        }
    }
}

impl Listing {
    /// What takes out the entries that are not to be `kept`, one of these for each entry, and lets nobody keep the rest for others.
    pub fn cuts(&self, kept: &[bool]) -> Vec<Edit> {
        let mut cuts: Vec<Edit> = Vec::new();
        for (at, entry) in self.entries.iter().enumerate().filter(|(at, _)| kept.get(*at) != Some(&true)) {
            // With the comma before it if one that stays stands before, else with the comma behind it.
            let before = kept.iter().take(at).any(|kept| *kept);
            let span = match (before, self.entries.get(at.wrapping_sub(1)), self.entries.get(at + 1)) {
                (true, Some(last), _) => Span { start: last.span.end, end: entry.span.end },
                (_, _, Some(next)) => Span { start: entry.span.start, end: next.span.start },
                _ => entry.span,
            };
            cuts.push(edit(span, ""));
        }
        cuts.extend(self.scope.edit());
        cuts
    }
}

fn edit(span: Span, with: &str) -> Edit {
    Edit { start: span.start, end: span.end, with: with.into() }
}

/// Bytes with edits made, none of which overlaps another.
pub fn edited(bytes: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.start);
    applied(bytes, &edits)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::mcp::{Limits, Message, Outcome, Payload, read};

    fn result_of(bytes: &[u8]) -> Span {
        match read(bytes, &Limits::default()).unwrap() {
            Payload::Single(Message::Response(response)) => match response.outcome {
                Outcome::Result { span, .. } => span,
                Outcome::Error { .. } => unreachable!("a result"),
            },
            _ => unreachable!("one answer"),
        }
    }

    fn only(text: &str, keep: impl Fn(&str) -> bool) -> Option<String> {
        let found = listing(text.as_bytes(), result_of(text.as_bytes()), List::Tools).unwrap();
        let kept: Vec<bool> = found.entries.iter().map(|entry| keep(&entry.name)).collect();
        let cuts = found.cuts(&kept);
        (!cuts.is_empty()).then(|| String::from_utf8(edited(text.as_bytes(), cuts)).unwrap())
    }

    #[test]
    fn what_stays_is_byte_for_byte_what_came() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{ "tools" : [ {"name":"a","x":1e2} , {"name":"b"},{"n":{"name":"z"},"name":"c"} ], "nextCursor":"q" }}"#;
        assert_eq!(only(text, |_| true), None);
        let keeps = |names: &'static str| move |name: &str| names.contains(name);
        let entries = |inner: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{ "tools" : [{inner}], "nextCursor":"q" }}}}"#);
        assert_eq!(only(text, keeps("ac")).unwrap(), entries(r#" {"name":"a","x":1e2},{"n":{"name":"z"},"name":"c"} "#));
        assert_eq!(only(text, keeps("b")).unwrap(), entries(r#" {"name":"b"} "#));
        assert_eq!(only(text, keeps("c")).unwrap(), entries(r#" {"n":{"name":"z"},"name":"c"} "#));
        assert_eq!(only(text, keeps("")).unwrap(), entries("  "));
    }

    #[test]
    fn a_list_that_was_cut_for_one_caller_is_kept_for_that_one_only() {
        let with = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}"tools":[{{"name":"a"}}]}}}}"#);
        let private = r#""ttlMs":5,"cacheScope":"private","#;
        assert_eq!(only(&with(r#""ttlMs":5,"cacheScope":"public","#), |_| true).unwrap(), with(private));
        assert_eq!(only(&with(r#""ttlMs":5,"cacheScope":null,"#), |_| true).unwrap(), with(private));
        assert_eq!(only(&with(r#""ttlMs":5,"#), |_| true).unwrap(), with(r#""cacheScope":"private","ttlMs":5,"#));
        assert_eq!(only(&with(private), |_| true), None);
        assert_eq!(only(&with(""), |_| true), None);
        let read = r#"{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"public","contents":[],"ttlMs":1}}"#.as_bytes();
        let private = edited(read, vec![made_private(read, result_of(read)).unwrap().unwrap()]);
        assert!(std::str::from_utf8(&private).unwrap().contains(r#""cacheScope":"private""#));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error() {
        for result in [
            r#"{"tools":{}}"#,
            r#"{"tools":[1]}"#,
            r#"{"tools":[{"title":"a"}]}"#,
            r#"{"tools":[{"name":1}]}"#,
            r#"{"tools":[{"name":"a","Name":"b"}]}"#,
            r#"{"tools":[{"na\u006de\u0000":"b","name":"a"}]}"#,
            r#"{"Tools":[{"name":"a"}]}"#,
            r#"{"tools":[],"cachescope":"public"}"#,
            "[]",
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            // What the strict reader refuses does not come so far.
            if read(text.as_bytes(), &Limits::default()).is_ok() {
                assert!(listing(text.as_bytes(), result_of(text.as_bytes()), List::Tools).is_err(), "{result}");
            }
        }
    }

    #[test]
    fn each_list_has_its_own_members() {
        for (method, text, name) in [
            ("tools/list", r#"{"tools":[{"name":"x"}]}"#, "x"),
            ("prompts/list", r#"{"prompts":[{"name":"x"}]}"#, "x"),
            ("resources/list", r#"{"resources":[{"name":"n","uri":"file:///x"}]}"#, "file:///x"),
            ("resources/templates/list", r#"{"resourceTemplates":[{"name":"n","uriTemplate":"file:///{x}"}]}"#, "file:///{x}"),
        ] {
            let list = List::asked_by(method).unwrap();
            let found = listing(text.as_bytes(), Span { start: 0, end: text.len() }, list).unwrap();
            assert_eq!(found.entries[0].name, name);
        }
        assert_eq!(List::asked_by("tools/call"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_cut_the_rest_is_what_a_tree_would_give(names in prop::collection::vec("[a-d]", 0..8), kept in "[a-d]{0,4}", pad in "[ \n]{0,2}") {
            let entries: Vec<String> = names.iter().enumerate().map(|(at, name)| format!("{{\"at\":{at},\"name\":\"{name}\"}}")).collect();
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"tools\":[{pad}{}{pad}],\"_meta\":{{}}}}}}", entries.join(&format!("{pad},{pad}")));
            let cut = only(&text, |name| kept.contains(name)).unwrap_or(text.clone());
            let mut tree: Value = serde_json::from_str(&text).unwrap();
            let left: Vec<Value> = tree["result"]["tools"].as_array().unwrap().iter().filter(|tool| kept.contains(tool["name"].as_str().unwrap())).cloned().collect();
            tree["result"]["tools"] = json!(left);
            prop_assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), tree);
        }
    }
}
