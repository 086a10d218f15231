//! From a form field to an assertion that can be believed.

use std::time::{Duration, UNIX_EPOCH};

use saml_rs::{
    AcsEndpoint, BrowserInput, ClockSkew, FormField, MessageId, PendingAuthnRequest, RelayStateParam, ReplayPolicy, SamlValidationContext,
    SsoResponse, SsoResponseBinding, SsoSession, VerifiedXmlSignatureCoverage as Coverage,
    crypto::{AssertionDecryptionOptions, decrypt_assertion, keys::load_private_key, verify_signature},
    error::{SubjectConfirmationReason, TimeWindowField},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Assertion, SamlError, ServiceProvider, assertion,
    document::{self, Element},
    shape::{Content, Shape, shape},
};

impl ServiceProvider {
    /// Verifies the `SAMLResponse` of a form, as the browser sent it. `pending` says whether a request of this ID was sent by this
    /// browser and is still awaited; `now` is in seconds since 1970. Each assertion, and each request, is taken once.
    ///
    /// # Errors
    /// Whatever keeps it from saying who has logged in.
    pub fn verify(&self, field: &str, pending: impl Fn(&str) -> bool, now: u64) -> Result<Assertion, SamlError> {
        self.current(now)?;
        let text = document::decode(field)?;
        let received = document::parse(&text)?;
        let received = shape(root(&received)?)?;

        let request = received.response.attribute("InResponseTo").filter(|id| !id.is_empty()).ok_or(SamlError::Unsolicited)?;
        if !pending(request) {
            return Err(SamlError::InResponseTo);
        }
        if assertion::issuer(received.response)?.is_some_and(|issuer| issuer != self.idp.entity_id) {
            return Err(SamlError::Issuer);
        }
        match received.content {
            Content::Plain(stated) => self.verify_plain(&text, &received, stated, request, now),
            Content::Encrypted(encrypted) => {
                let opened = self.open(&text, &received, encrypted)?;
                let document = document::parse(&opened)?;
                let shaped = shape(root(&document)?)?;
                let Content::Plain(stated) = shaped.content else { return Err(SamlError::Decryption) };
                self.verify_plain(&opened, &shaped, stated, request, now)
            }
        }
    }

    fn verify_plain(&self, text: &str, shape: &Shape<'_>, stated: Element<'_>, request: &str, now: u64) -> Result<Assertion, SamlError> {
        // Read first, so that what it lacks is named; believed only at the end.
        let assertion = assertion::read(stated, request)?;
        let not_before = assertion::not_before(stated)?;
        let is_early = not_before.is_some_and(|begin| now + self.settings.skew.as_secs() < begin);
        let session = self.finish(text, request, now).map_err(|error| refusal(&error, is_early))?;

        let signs = |wanted| session.verified_xml_signatures().iter().any(|one| one.coverage() == wanted);
        if !signs(Coverage::ConsumedAssertion) {
            return Err(SamlError::Unsigned);
        }
        if shape.signature.is_some() && !signs(Coverage::ResponseRoot) {
            return Err(SamlError::Signature);
        }
        let agree = session.assertion_id().as_str() == assertion.id
            && session.issuer().as_str() == assertion.issuer
            && session.name_id().value() == assertion.name_id;
        if !agree {
            return Err(SamlError::Wrapped("an assertion that can be read in two ways"));
        }
        let until = assertion.not_on_or_after + self.settings.skew.as_secs() + 1;
        self.used.take([format!("assertion {}", assertion.id), format!("request {request}")], until, now)?;
        Ok(assertion)
    }

    /// The library's part: signatures, audience, recipient, destination, instants, and that it answers this request.
    fn finish(&self, text: &str, request: &str, now: u64) -> Result<SsoSession, saml_rs::SamlError> {
        let pending = PendingAuthnRequest::try_new(
            MessageId::try_new(request)?,
            RelayStateParam::absent(),
            AcsEndpoint::post(&self.settings.acs_url)?,
            SsoResponseBinding::Post,
            self.peer.entity_id().clone(),
        )?;
        let input = BrowserInput::<SsoResponse>::post(vec![FormField::new("SAMLResponse", BASE64_STANDARD.encode(text))]);
        let skew = i64::try_from(self.settings.skew.as_millis()).unwrap_or(0);
        let now = UNIX_EPOCH + Duration::from_secs(now);
        // What was used is remembered here, when all else was checked.
        let context =
            SamlValidationContext::new(now, ReplayPolicy::DisabledForCompatibility).with_clock_skew(ClockSkew::from_millis(-skew, skew));
        self.saml.finish_sso(&self.peer, &pending, input, context)
    }

    /// The response with its assertion decrypted. Its own signature is over what was encrypted: it is verified and taken out.
    fn open(&self, text: &str, received: &Shape<'_>, encrypted: Element<'_>) -> Result<String, SamlError> {
        let credential = self.settings.credential.as_ref().ok_or(SamlError::NoKey)?;
        let mut cuts = vec![(encrypted.range(), None)];
        if let Some(signature) = received.signature {
            let certificates: Vec<String> = self.idp.usable().map(str::to_owned).collect();
            match verify_signature(text, &certificates) {
                Ok((true, Some(_))) => cuts.push((signature.range(), Some(""))),
                Ok(_) => return Err(SamlError::Signature),
                Err(error) => return Err(refusal(&error, false)),
            }
        }
        let key = load_private_key(&credential.key, None).map_err(|_| SamlError::NoKey)?;
        let options = AssertionDecryptionOptions::default();
        let (_, assertion) = decrypt_assertion(text, &key, options).map_err(|_| SamlError::Decryption)?;
        let mut opened = text.to_owned();
        cuts.sort_by_key(|(range, _)| std::cmp::Reverse(range.as_ref().map(|range| range.start)));
        for (range, instead) in cuts {
            let range = range.ok_or(SamlError::Malformed("a part of it has no place"))?;
            opened.replace_range(range, instead.unwrap_or(&assertion));
        }
        Ok(opened)
    }
}

fn root<'d>(document: &'d uppsala::Document<'d>) -> Result<Element<'d>, SamlError> {
    Element::root(document).ok_or(SamlError::Malformed("it is empty"))
}

/// The library's errors, without what they repeat of the response.
fn refusal(error: &saml_rs::SamlError, is_early: bool) -> SamlError {
    use saml_rs::SamlError as Library;
    let time = || if is_early { SamlError::NotYet } else { SamlError::Expired };
    match error {
        Library::SignatureMissing | Library::AssertionSignatureRequired => SamlError::Unsigned,
        Library::CertificateMismatch | Library::UnmatchCertificate => SamlError::Certificate,
        Library::ReferenceResolution { .. } | Library::SignedReferenceMismatch => SamlError::Reference,
        Library::AlgorithmUnsupported => SamlError::Algorithm,
        Library::PotentialWrappingAttack | Library::PrincipalMismatch => SamlError::Wrapped("signed and unsigned parts mixed"),
        Library::IssuerMismatch { .. } => SamlError::Issuer,
        Library::DestinationMismatch { .. } => SamlError::Destination,
        Library::InResponseToMismatch { .. } => SamlError::InResponseTo,
        Library::AudienceMismatch { .. } => SamlError::Audience,
        Library::UnrecognizedCondition { .. } => SamlError::Condition,
        Library::StatusNotSuccess { .. } | Library::UndefinedStatus => SamlError::Status("another reason"),
        Library::TimeWindowInvalid { field: TimeWindowField::SessionNotOnOrAfter } => SamlError::SessionExpired,
        Library::TimeWindowInvalid { .. } => time(),
        Library::SubjectConfirmationInvalid { reason } => match reason {
            SubjectConfirmationReason::TimeWindowInvalid => SamlError::Expired,
            SubjectConfirmationReason::RecipientMismatch => SamlError::Recipient,
            SubjectConfirmationReason::InResponseToMismatch => SamlError::InResponseTo,
            _ => SamlError::Confirmation,
        },
        Library::SignatureVerification { .. } | Library::NoTrustedCertificate | Library::Crypto(_) => SamlError::Signature,
        _ => SamlError::Malformed("it is no response as SAML 2.0 has it"),
    }
}
