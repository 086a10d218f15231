//! XML as the parser reads it that also verifies the signatures, so that both see the same.

use std::ops::Range;

use base64::{Engine, prelude::BASE64_STANDARD};
use uppsala::{Document, NodeId, NodeKind, Parser};

use super::SamlError;

pub(super) const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
pub(super) const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
pub(super) const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(super) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(super) const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Longer responses are not read: one with a thousand groups has a quarter of it.
pub(super) const MAX_BYTES: usize = 256 << 10;
const MAX_DEPTH: u32 = 32;

/// The text of a `SAMLResponse` field.
pub(super) fn decode(field: &str) -> Result<String, SamlError> {
    // Some identity providers break the lines of base64.
    let field: String = field.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    if field.len() > MAX_BYTES.div_ceil(3) * 4 {
        return Err(SamlError::Oversize(MAX_BYTES));
    }
    let bytes = BASE64_STANDARD.decode(field).map_err(|_| SamlError::Encoding("base64"))?;
    String::from_utf8(bytes).map_err(|_| SamlError::Encoding("UTF-8"))
}

/// Parses what came from outside. It has elements, attributes and text and nothing else: whatever readers of XML are known to take
/// differently is refused before any of them reads it.
pub(super) fn parse(text: &str) -> Result<Document<'_>, SamlError> {
    // `<` in text and attributes is always escaped, so these can be nothing but markup.
    if text.contains("<!DOCTYPE") {
        return Err(SamlError::Doctype);
    }
    if text.contains("<!") {
        return Err(SamlError::Markup("a comment or a CDATA section"));
    }
    let after_declaration = text.strip_prefix("<?xml ").unwrap_or(text);
    if after_declaration.contains("<?") {
        return Err(SamlError::Markup("a processing instruction"));
    }
    let parser = Parser::new().with_forbid_dtd(true).with_max_depth(MAX_DEPTH);
    let document = parser.parse(text).map_err(|_| SamlError::Malformed("it is no well-formed XML"))?;
    let encoding = document.xml_declaration.as_ref().and_then(|declaration| declaration.encoding.as_deref());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
        return Err(SamlError::Encoding("UTF-8"));
    }
    Ok(document)
}

/// An element of a document.
#[derive(Clone, Copy)]
pub(super) struct Element<'d> {
    document: &'d Document<'d>,
    id: NodeId,
}

impl<'d> Element<'d> {
    pub(super) fn root(document: &'d Document<'d>) -> Option<Self> {
        document.document_element().map(|id| Element { document, id })
    }

    fn node(self) -> Option<&'d uppsala::Element<'d>> {
        self.document.element(self.id)
    }

    pub(super) fn is(self, namespace: &str, name: &str) -> bool {
        self.node().is_some_and(|node| node.matches_name_ns(namespace, name))
    }

    pub(super) fn same(self, other: Element<'_>) -> bool {
        self.id == other.id
    }

    pub(super) fn name(self) -> &'d str {
        self.node().map_or("", |node| &*node.name.local_name)
    }

    pub(super) fn namespace(self) -> &'d str {
        self.node().and_then(|node| node.name.namespace_uri.as_deref()).unwrap_or("")
    }

    /// An attribute without a namespace.
    pub(super) fn attribute(self, name: &str) -> Option<&'d str> {
        self.attributes().find(|(namespace, local, _)| namespace.is_none() && *local == name).map(|(.., value)| value)
    }

    /// Namespace, name and value of each attribute.
    pub(super) fn attributes(self) -> impl Iterator<Item = (Option<&'d str>, &'d str, &'d str)> {
        let attributes = self.node().map_or(&[][..], |node| &node.attributes);
        attributes.iter().map(|one| (one.name.namespace_uri.as_deref(), &*one.name.local_name, &*one.value))
    }

    pub(super) fn is_nil(self) -> bool {
        self.attributes().any(|(namespace, name, value)| namespace == Some(XSI) && name == "nil" && matches!(value, "true" | "1"))
    }

    pub(super) fn children(self) -> impl Iterator<Item = Element<'d>> {
        let document = self.document;
        document.children_iter(self.id).map(move |id| Element { document, id }).filter(|child| child.node().is_some())
    }

    pub(super) fn children_named(self, namespace: &'static str, name: &'static str) -> impl Iterator<Item = Element<'d>> {
        self.children().filter(move |child| child.is(namespace, name))
    }

    /// The child of this name, if there is exactly one.
    pub(super) fn only(self, namespace: &'static str, name: &'static str) -> Option<Element<'d>> {
        let mut found = self.children_named(namespace, name);
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }

    /// All elements below this one, in the order of the document.
    pub(super) fn descendants(self) -> impl Iterator<Item = Element<'d>> {
        let document = self.document;
        document.descendants(self.id).into_iter().map(move |id| Element { document, id }).filter(|child| child.node().is_some())
    }

    /// The text, exactly, of an element that has nothing but text.
    pub(super) fn text(self) -> Option<String> {
        let mut text = String::new();
        for child in self.document.children_iter(self.id) {
            match self.document.node_kind(child) {
                Some(NodeKind::Text(part)) => text.push_str(part),
                _ => return None,
            }
        }
        Some(text)
    }

    /// Where it stands in the text.
    pub(super) fn range(self) -> Option<Range<usize>> {
        self.document.node_range(self.id)
    }
}

/// A SAML instant, in seconds since 1970. The last day of the year 9999 is none: with a skew added, the library would panic.
pub(super) fn instant(text: &str) -> Result<u64, SamlError> {
    const NONE: SamlError = SamlError::Malformed("an instant in it is none");
    let instant: jiff::Timestamp = text.trim().parse().map_err(|_| NONE)?;
    u64::try_from(instant.as_second()).map_err(|_| NONE)
}
