//! What a response must look like before anything in it is believed: one response, one assertion, signatures where they belong, and each
//! of them over what it stands in. That is all that wrapping another's signed assertion needs to be otherwise.

use std::collections::HashSet;

use super::{
    SamlError,
    document::{ASSERTION, DSIG, Element, PROTOCOL, XENC, instant},
};

/// Names that are read by name alone somewhere, and the one namespace in which they may stand.
const NAMES: [(&str, &[&str]); 4] = [
    (PROTOCOL, &["Response", "Status", "StatusCode"]),
    (
        ASSERTION,
        &[
            "Assertion",
            "Attribute",
            "AttributeStatement",
            "AttributeValue",
            "Audience",
            "AudienceRestriction",
            "AuthnStatement",
            "Conditions",
            "EncryptedAssertion",
            "Issuer",
            "NameID",
            "Subject",
            "SubjectConfirmation",
            "SubjectConfirmationData",
        ],
    ),
    (DSIG, &["Signature", "SignedInfo", "Reference", "Transforms", "Transform", "X509Certificate"]),
    (XENC, &["EncryptedData", "CipherData", "CipherValue"]),
];
/// Attributes that are read by name alone somewhere: they have no namespace.
const ATTRIBUTES: [&str; 16] = [
    "Algorithm",
    "AssertionID",
    "Destination",
    "Format",
    "ID",
    "Id",
    "InResponseTo",
    "IssueInstant",
    "Method",
    "Name",
    "NotBefore",
    "NotOnOrAfter",
    "Recipient",
    "URI",
    "Value",
    "Version",
];
/// Attributes that hold an instant.
const INSTANTS: [&str; 5] = ["AuthnInstant", "IssueInstant", "NotBefore", "NotOnOrAfter", "SessionNotOnOrAfter"];

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SIGNATURES: [&str; 3] = [
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
];
const DIGESTS: [&str; 3] =
    ["http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512"];
/// Nobody can change what these encrypt.
const CIPHERS: [&str; 3] = [
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2009/xmlenc11#aes192-gcm",
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
];
/// What these encrypt can be changed, and by that be read bit by bit: they are taken under a signature, which is verified first.
const CIPHERS_UNDER_SIGNATURE: [&str; 3] = [
    "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
    "http://www.w3.org/2001/04/xmlenc#aes192-cbc",
    "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
];
const KEY_TRANSPORTS: [&str; 2] = ["http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", "http://www.w3.org/2009/xmlenc11#rsa-oaep"];

/// A response of the right shape.
#[derive(Clone, Copy)]
pub(super) struct Shape<'d> {
    pub(super) response: Element<'d>,
    pub(super) content: Content<'d>,
    /// The response's own signature.
    pub(super) signature: Option<Element<'d>>,
}

#[derive(Clone, Copy)]
pub(super) enum Content<'d> {
    /// A signed assertion.
    Plain(Element<'d>),
    Encrypted(Element<'d>),
}

pub(super) fn shape<'d>(root: Element<'d>) -> Result<Shape<'d>, SamlError> {
    names(root)?;
    if !root.is(PROTOCOL, "Response") {
        return Err(SamlError::Malformed("it is no Response"));
    }
    if root.descendants().any(|one| one.is(PROTOCOL, "Response")) {
        return Err(SamlError::Wrapped("a response in a response"));
    }
    status(root)?;
    let content = content(root)?;
    let parents = match content {
        Content::Plain(assertion) => vec![root, assertion],
        Content::Encrypted(_) => vec![root],
    };
    let all = root.descendants().filter(|one| one.is(DSIG, "Signature")).count();
    let mut placed = 0;
    for parent in parents {
        let here: Vec<_> = parent.children_named(DSIG, "Signature").collect();
        placed += here.len();
        match here[..] {
            [] => {}
            [one] => signature(one, parent)?,
            _ => return Err(SamlError::Wrapped("several signatures in one place")),
        }
    }
    if placed != all {
        return Err(SamlError::Wrapped("a signature in an odd place"));
    }
    if let Content::Plain(assertion) = content
        && assertion.only(DSIG, "Signature").is_none()
    {
        return Err(SamlError::Unsigned);
    }
    Ok(Shape { response: root, content, signature: root.only(DSIG, "Signature") })
}

/// Every name stands in its own namespace, and every ID once.
fn names(root: Element<'_>) -> Result<(), SamlError> {
    let mut ids = HashSet::new();
    for element in [root].into_iter().chain(root.descendants()) {
        let own = NAMES.iter().find(|(_, names)| names.contains(&element.name()));
        if own.is_some_and(|(namespace, _)| *namespace != element.namespace()) {
            return Err(SamlError::Namespace);
        }
        for (namespace, name, value) in element.attributes() {
            if namespace.is_some() && ATTRIBUTES.contains(&name) {
                return Err(SamlError::Namespace);
            }
            if (name.eq_ignore_ascii_case("ID") || name == "AssertionID") && !ids.insert(value) {
                return Err(SamlError::DuplicateId);
            }
            if INSTANTS.contains(&name) {
                instant(value)?;
            }
        }
    }
    Ok(())
}

fn status(response: Element<'_>) -> Result<(), SamlError> {
    const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
    /// What an identity provider may say, for the operator; anything else is not repeated.
    const KNOWN: [&str; 10] = [
        "AuthnFailed",
        "InvalidNameIDPolicy",
        "NoAuthnContext",
        "NoPassive",
        "RequestDenied",
        "RequestUnsupported",
        "UnknownPrincipal",
        "Requester",
        "Responder",
        "VersionMismatch",
    ];
    let status = response.only(PROTOCOL, "Status").ok_or(SamlError::Status("no status"))?;
    let code = status.only(PROTOCOL, "StatusCode").ok_or(SamlError::Status("no status"))?;
    if code.attribute("Value") == Some(SUCCESS) {
        return Ok(());
    }
    let second = code.only(PROTOCOL, "StatusCode").and_then(|code| code.attribute("Value"));
    let said = [second, code.attribute("Value")].into_iter().flatten().filter_map(|value| value.rsplit(':').next());
    Err(SamlError::Status(said.filter_map(|said| KNOWN.into_iter().find(|known| *known == said)).next().unwrap_or("another reason")))
}

fn content<'d>(response: Element<'d>) -> Result<Content<'d>, SamlError> {
    let is_content = |one: &Element<'_>| one.is(ASSERTION, "Assertion") || one.is(ASSERTION, "EncryptedAssertion");
    let mut all = response.descendants().filter(is_content);
    let one = all.next().ok_or(SamlError::NoAssertion)?;
    if all.next().is_some() {
        return Err(SamlError::Wrapped("more than one assertion"));
    }
    if !response.children().any(|child| child.same(one)) {
        return Err(SamlError::Wrapped("its assertion in an odd place"));
    }
    if one.is(ASSERTION, "Assertion") {
        return Ok(Content::Plain(one));
    }
    encryption(one, response.only(DSIG, "Signature").is_some())?;
    Ok(Content::Encrypted(one))
}

/// A signature is over the element that it stands in, whole, and over nothing else.
fn signature(signature: Element<'_>, signed: Element<'_>) -> Result<(), SamlError> {
    if signature.children_named(DSIG, "Object").next().is_some() {
        return Err(SamlError::Wrapped("an object in a signature"));
    }
    let info = signature.only(DSIG, "SignedInfo").ok_or(SamlError::Malformed("a signature is incomplete"))?;
    let reference = info.only(DSIG, "Reference").ok_or(SamlError::Reference)?;
    let target = reference.attribute("URI").and_then(|uri| uri.strip_prefix('#'));
    if target.is_none_or(str::is_empty) || target != signed.attribute("ID") {
        return Err(SamlError::Reference);
    }
    let algorithm = |parent: Element<'_>, name| parent.only(DSIG, name).and_then(|one| one.attribute("Algorithm").map(str::to_owned));
    let is_one_of = |found: Option<String>, known: &[&str]| found.is_some_and(|found| known.contains(&found.as_str()));
    if !is_one_of(algorithm(info, "SignatureMethod"), &SIGNATURES) || !is_one_of(algorithm(reference, "DigestMethod"), &DIGESTS) {
        return Err(SamlError::Algorithm);
    }
    let transforms = reference.only(DSIG, "Transforms").ok_or(SamlError::Transform)?;
    let known = |one: Element<'_>| one.is(DSIG, "Transform") && matches!(one.attribute("Algorithm"), Some(ENVELOPED | EXCLUSIVE));
    if !transforms.children().all(known) || !is_one_of(algorithm(info, "CanonicalizationMethod"), &[EXCLUSIVE]) {
        return Err(SamlError::Transform);
    }
    Ok(())
}

/// One key and one text, both in the document itself, and encrypted so that nobody can change or probe them.
fn encryption(encrypted: Element<'_>, is_signed: bool) -> Result<(), SamlError> {
    let odd = SamlError::Malformed("its encrypted assertion is not one text with one key in it");
    let data = encrypted.only(XENC, "EncryptedData").ok_or(odd.clone())?;
    let key = data.only(DSIG, "KeyInfo").and_then(|info| info.only(XENC, "EncryptedKey")).ok_or(odd.clone())?;
    for part in [data, key] {
        part.only(XENC, "CipherData").and_then(|data| data.only(XENC, "CipherValue")).ok_or(odd.clone())?;
    }
    let count = |name| encrypted.descendants().filter(|one| one.name() == name).count();
    if count("EncryptedData") != 1 || count("EncryptedKey") != 1 || count("CipherValue") != 2 || count("CipherReference") != 0 {
        return Err(odd);
    }
    let method = |part: Element<'_>| part.only(XENC, "EncryptionMethod").and_then(|one| one.attribute("Algorithm").map(str::to_owned));
    let is_one_of = |found: Option<String>, known: &[&str]| found.is_some_and(|found| known.contains(&found.as_str()));
    let is_safe = is_one_of(method(data), &CIPHERS) || (is_signed && is_one_of(method(data), &CIPHERS_UNDER_SIGNATURE));
    if !is_safe || !is_one_of(method(key), &KEY_TRANSPORTS) {
        return Err(SamlError::Cipher);
    }
    Ok(())
}
