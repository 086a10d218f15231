use thiserror::Error;

/// Why a SAML response does not say who somebody is, or why the service provider cannot be set up. Nothing that stands in an assertion
/// is repeated here.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum SamlError {
    /// The service provider's own settings do not do.
    #[error("SAML provider `{name}`: {fault}")]
    Setup {
        /// The provider's name in the configuration.
        name: String,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// The identity provider's metadata may not be used any more.
    #[error("the metadata of the identity provider ended at its `validUntil`: fetch it again")]
    MetadataExpired,
    /// It is longer than any response should be.
    #[error("the SAML response is longer than {0} bytes")]
    Oversize(usize),
    /// It is not base64, or not UTF-8.
    #[error("the SAML response is not {0}")]
    Encoding(&'static str),
    /// It is no XML, or no response as SAML has it.
    #[error("the SAML response cannot be read: {0}")]
    Malformed(&'static str),
    /// It has a document type, with which XML could mean anything.
    #[error("the SAML response has a DOCTYPE")]
    Doctype,
    /// It has comments, CDATA sections or processing instructions, which readers of XML do not all take alike.
    #[error("the SAML response has {0}, which no identity provider writes")]
    Markup(&'static str),
    /// A name of SAML stands in a namespace that is not its own.
    #[error("the SAML response has a name of SAML in another namespace")]
    Namespace,
    /// An identifier stands there twice.
    #[error("the SAML response has an ID twice")]
    DuplicateId,
    /// It does not consist of one assertion in one response, with signatures where they belong.
    #[error("the SAML response has {0}: somebody may have wrapped another's")]
    Wrapped(&'static str),
    /// The identity provider has not authenticated anybody.
    #[error("the identity provider answered that the login failed ({0}): its log says why")]
    Status(&'static str),
    /// It has no assertion.
    #[error("the SAML response has no assertion")]
    NoAssertion,
    /// The assertion itself is not signed.
    #[error("the assertion is not signed: have the identity provider sign assertions, not only responses")]
    Unsigned,
    /// A signature signs something else than what it stands in.
    #[error("a signature of the SAML response refers to something else than what it stands in")]
    Reference,
    /// A signature is made in a way that is not taken.
    #[error("a signature of the SAML response is not RSA with SHA-256, SHA-384 or SHA-512: set one of them at the identity provider")]
    Algorithm,
    /// A signature does not sign what stands there, but what becomes of it.
    #[error("a signature of the SAML response has a transform other than `enveloped-signature` and exclusive canonicalization")]
    Transform,
    /// The response carries a certificate that the metadata does not have.
    #[error("the SAML response is signed with a certificate that the identity provider's metadata does not have: fetch the metadata again")]
    Certificate,
    /// A signature is not right.
    #[error("the signature of the SAML response is not right")]
    Signature,
    /// The assertion is encrypted and there is no key for it.
    #[error("the assertion is encrypted, and no `certificate` and `key` are set for it")]
    NoKey,
    /// The encryption is one that does not protect.
    #[error(
        "the assertion is not encrypted with RSA-OAEP and AES-GCM, or AES-CBC in a signed response: set that at the identity provider, or \
         have it sign responses too"
    )]
    Cipher,
    /// It is encrypted for somebody else, or was changed.
    #[error("the assertion cannot be decrypted with this service provider's key: give the identity provider the metadata again")]
    Decryption,
    /// It is from somebody else.
    #[error("the SAML response is not from the identity provider of the metadata")]
    Issuer,
    /// It answers no request.
    #[error("the SAML response answers no request: a login begins here, not at the identity provider")]
    Unsolicited,
    /// It answers a request that is not pending.
    #[error("the SAML response answers a request that is not pending here: log in again")]
    InResponseTo,
    /// It was sent to another address.
    #[error("the SAML response was sent to another address (`Destination`): correct the ACS URL at the identity provider")]
    Destination,
    /// It may be used at another address.
    #[error("the assertion is for another address (`Recipient`): correct the ACS URL at the identity provider")]
    Recipient,
    /// It is for another service.
    #[error("the assertion is not for this service provider (`Audience`): correct the entity ID at the identity provider")]
    Audience,
    /// Whoever has it is not thereby its subject.
    #[error("the assertion has no bearer confirmation that can be used")]
    Confirmation,
    /// It has a condition that is not understood.
    #[error("the assertion has a condition that is not understood")]
    Condition,
    /// It holds no more.
    #[error("the assertion has ended: look at this host's clock and the identity provider's, or log in again")]
    Expired,
    /// It does not hold yet.
    #[error("the assertion does not hold yet: look at this host's clock and the identity provider's")]
    NotYet,
    /// The session at the identity provider is over.
    #[error("the session at the identity provider has ended: log in again")]
    SessionExpired,
    /// It does not say who it is about.
    #[error("the assertion has no subject that can be used: {0}")]
    Subject(&'static str),
    /// Its name is another one at every login.
    #[error("the NameID is transient, so it says nothing tomorrow: have the identity provider send a persistent one, or an address")]
    Transient,
    /// It was used before.
    #[error("the assertion was used before")]
    Replayed,
    /// What was used cannot be remembered.
    #[error("too many logins at once: {0} assertions that were used are being remembered. Log in again in some minutes")]
    Busy(usize),
}

impl SamlError {
    /// One word for machines.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            SamlError::Setup { .. } => "setup",
            SamlError::MetadataExpired => "metadata-expired",
            SamlError::Oversize(_) => "oversize",
            SamlError::Encoding(_) => "encoding",
            SamlError::Malformed(_) => "malformed",
            SamlError::Doctype => "doctype",
            SamlError::Markup(_) => "markup",
            SamlError::Namespace => "namespace",
            SamlError::DuplicateId => "duplicate-id",
            SamlError::Wrapped(_) => "wrapped",
            SamlError::Status(_) => "status",
            SamlError::NoAssertion => "no-assertion",
            SamlError::Unsigned => "unsigned",
            SamlError::Reference => "reference",
            SamlError::Algorithm => "algorithm",
            SamlError::Transform => "transform",
            SamlError::Certificate => "certificate",
            SamlError::Signature => "signature",
            SamlError::NoKey => "no-key",
            SamlError::Cipher => "cipher",
            SamlError::Decryption => "decryption",
            SamlError::Issuer => "issuer",
            SamlError::Unsolicited => "unsolicited",
            SamlError::InResponseTo => "in-response-to",
            SamlError::Destination => "destination",
            SamlError::Recipient => "recipient",
            SamlError::Audience => "audience",
            SamlError::Confirmation => "confirmation",
            SamlError::Condition => "condition",
            SamlError::Expired => "expired",
            SamlError::NotYet => "not-yet",
            SamlError::SessionExpired => "session-expired",
            SamlError::Subject(_) => "subject",
            SamlError::Transient => "transient",
            SamlError::Replayed => "replayed",
            SamlError::Busy(_) => "busy",
        }
    }
}
