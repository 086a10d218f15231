//! What stands in a response and its assertion.

use std::{collections::BTreeMap, fmt};

use super::{
    SamlError,
    document::{ASSERTION, Element, instant},
};

const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
const ENTITY: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const MAX_NAME_BYTES: usize = 1024;

/// What an identity provider says of somebody who has logged in there; all of it was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Its ID.
    pub id: String,
    /// The identity provider's entity ID.
    pub issuer: String,
    /// The identity provider's name of the person: with the issuer, it alone says who it is.
    pub name_id: String,
    /// What kind of name that is.
    pub name_id_format: Option<String>,
    /// The attributes, each by its `Name`, and by its `FriendlyName` where no other has that.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// The session's name at the identity provider.
    pub session_index: Option<String>,
    /// When the person logged in there, in seconds since 1970.
    pub authn_instant: Option<u64>,
    /// When the session there ends, in seconds since 1970.
    pub session_not_on_or_after: Option<u64>,
    /// Until when it could be used, in seconds since 1970.
    pub not_on_or_after: u64,
    /// The request that it answers.
    pub in_response_to: String,
}

/// What it says of whom is for records, not for logs.
impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").field("id", &self.id).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The issuer that stands in a response or an assertion.
pub(super) fn issuer(of: Element<'_>) -> Result<Option<String>, SamlError> {
    let mut all = of.children_named(ASSERTION, "Issuer");
    let Some(issuer) = all.next() else { return Ok(None) };
    let is_entity = matches!(issuer.attribute("Format"), None | Some(ENTITY));
    if all.next().is_some() || !is_entity || issuer.attribute("NameQualifier").is_some() {
        return Err(SamlError::Issuer);
    }
    Ok(issuer.text())
}

/// The `NotBefore` of the conditions.
pub(super) fn not_before(assertion: Element<'_>) -> Result<Option<u64>, SamlError> {
    assertion.only(ASSERTION, "Conditions").and_then(|conditions| conditions.attribute("NotBefore")).map(instant).transpose()
}

/// Reads an assertion that answers this request.
pub(super) fn read(assertion: Element<'_>, in_response_to: &str) -> Result<Assertion, SamlError> {
    let subject = assertion.only(ASSERTION, "Subject").ok_or(SamlError::Subject("none, or several"))?;
    let (name_id, name_id_format) = name_id(subject)?;
    let statement = assertion
        .children_named(ASSERTION, "AuthnStatement")
        .next()
        .ok_or(SamlError::Subject("it does not say that the person has logged in (`AuthnStatement`)"))?;
    Ok(Assertion {
        id: assertion.attribute("ID").ok_or(SamlError::Malformed("its assertion has no ID"))?.to_owned(),
        issuer: issuer(assertion)?.ok_or(SamlError::Issuer)?,
        name_id,
        name_id_format,
        attributes: attributes(assertion),
        session_index: statement.attribute("SessionIndex").map(str::to_owned),
        authn_instant: statement.attribute("AuthnInstant").map(instant).transpose()?,
        session_not_on_or_after: assertion
            .children_named(ASSERTION, "AuthnStatement")
            .filter_map(|one| one.attribute("SessionNotOnOrAfter"))
            .map(instant)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .min(),
        not_on_or_after: usable_until(subject)?,
        in_response_to: in_response_to.to_owned(),
    })
}

fn name_id(subject: Element<'_>) -> Result<(String, Option<String>), SamlError> {
    let name_id = subject.only(ASSERTION, "NameID").ok_or(SamlError::Subject("not one NameID; an encrypted one is not taken"))?;
    let format = name_id.attribute("Format").map(str::to_owned);
    if format.as_deref() == Some(TRANSIENT) {
        return Err(SamlError::Transient);
    }
    let name = name_id.text().ok_or(SamlError::Subject("its NameID is not plain text"))?;
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(SamlError::Subject("its NameID is empty, too long, or has control characters"));
    }
    if name.trim() != name {
        return Err(SamlError::Subject("its NameID begins or ends with a blank"));
    }
    Ok((name, format))
}

/// When the last of the bearer confirmations ends. `NotBefore` must not stand in them (profiles 4.1.4.2).
fn usable_until(subject: Element<'_>) -> Result<u64, SamlError> {
    let bearer = subject.children_named(ASSERTION, "SubjectConfirmation").filter(|one| one.attribute("Method") == Some(BEARER));
    let mut until = None;
    for confirmation in bearer {
        let data = confirmation.only(ASSERTION, "SubjectConfirmationData").ok_or(SamlError::Confirmation)?;
        let end = data.attribute("NotOnOrAfter").ok_or(SamlError::Confirmation)?;
        if data.attribute("NotBefore").is_some() {
            return Err(SamlError::Confirmation);
        }
        until = until.max(Some(instant(end)?));
    }
    until.ok_or(SamlError::Confirmation)
}

fn attributes(assertion: Element<'_>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut friendly: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let statements = assertion.children_named(ASSERTION, "AttributeStatement");
    for attribute in statements.flat_map(|statement| statement.children_named(ASSERTION, "Attribute")) {
        let values = attribute.children_named(ASSERTION, "AttributeValue").filter(|value| !value.is_nil());
        let values: Vec<String> = values.filter_map(Element::text).collect();
        if let Some(name) = attribute.attribute("FriendlyName") {
            friendly.entry(name.to_owned()).or_insert_with(|| values.clone());
        }
        if let Some(name) = attribute.attribute("Name") {
            found.entry(name.to_owned()).or_default().extend(values);
        }
    }
    for (name, values) in friendly {
        found.entry(name).or_insert(values);
    }
    found
}
