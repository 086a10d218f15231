//! SAML 2.0: the gateway as a service provider.
//!
//! A login begins here ([`ServiceProvider::login`]), goes to the identity provider by redirect or POST, and comes back by POST
//! ([`ServiceProvider::verify`]). Nothing here has a socket, a file or a clock of its own, but for the `IssueInstant` of requests.
//!
//! What comes back is checked twice, by readers that share only the parser: `shape` refuses whatever is not one signed assertion in one
//! response, and the library verifies the signature and what the assertion says of itself. Values are taken only from where both agree.

mod assertion;
mod document;
mod error;
mod idp;
mod metadata;
mod replay;
mod shape;
#[cfg(test)]
mod tests;
mod verify;

use std::{fmt, time::Duration};

use saml_rs::{
    AcsEndpoint, AssertionSignaturePolicy, AudienceValidationPolicy, AuthnRequestSigningPolicy, CertificatePem, Credentials, EntityId,
    IdpDescriptor, MetadataTrustPolicy, NameIdCreationPolicy, NameIdFormat, PrivateKeyPem, RelayStateParam, Saml, Sp, SpConfig,
    SpValidationPolicy, StartSso, XmlSignatureProfile,
    crypto::{construct_message_signature, keys::load_private_key, verify_message_signature},
    raw::{
        Binding as WireBinding,
        metadata::{Endpoint as WireEndpoint, IdpMetadataConfig, generate_idp_metadata},
    },
};
use zeroize::Zeroizing;

pub use assertion::Assertion;
pub use error::SamlError;
pub use idp::{Binding, Certificate, Endpoint, Idp};

/// How a service provider is set up.
pub struct Settings {
    /// The identity provider's name in the configuration.
    pub name: String,
    /// As which the gateway is known to the identity provider, and the audience of its assertions.
    pub entity_id: String,
    /// Where assertions are taken: their recipient, exactly.
    pub acs_url: String,
    /// The identity provider's metadata. Whoever can change it can log in as anybody.
    pub idp_metadata: String,
    /// What requests are signed with and assertions encrypted for, if they are.
    pub credential: Option<Credential>,
    /// How far this host's clock and the identity provider's may be apart.
    pub skew: Duration,
}

/// A certificate and its key, both as PEM.
pub struct Credential {
    /// The certificate; what stands after the first is not used.
    pub certificate: String,
    /// Its RSA key.
    pub key: Zeroizing<String>,
}

/// The gateway as a service provider of one identity provider.
pub struct ServiceProvider {
    settings: Settings,
    idp: Idp,
    peer: IdpDescriptor,
    saml: Saml<Sp>,
    used: replay::Used,
}

/// A login that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The request's ID: the response must answer it.
    pub request_id: String,
    /// What the browser does.
    pub outbound: Outbound,
}

/// How the browser takes a request to the identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// It goes to this address.
    Redirect(String),
    /// It posts a form.
    Form {
        /// Where to.
        action: String,
        /// Names and values.
        fields: Vec<(String, String)>,
    },
}

impl ServiceProvider {
    /// A service provider, if its settings and the identity provider's metadata do.
    ///
    /// # Errors
    /// [`SamlError::Setup`]
    pub fn new(settings: Settings) -> Result<Self, SamlError> {
        let fault = |fault: String| SamlError::Setup { name: settings.name.clone(), fault };
        let library = |error: saml_rs::SamlError| fault(format!("it cannot be set up: {error}"));
        let idp = Idp::read(&settings.idp_metadata).map_err(fault)?;
        if let Some(credential) = &settings.credential {
            credential.check().map_err(fault)?;
        }
        if idp.wants_signed_requests && settings.credential.is_none() {
            return Err(fault("the identity provider takes signed requests only: set `certificate` and `key`".into()));
        }
        // The library reads metadata by name alone, so it gets none that somebody else wrote.
        let peer = generate_idp_metadata(&IdpMetadataConfig {
            entity_id: idp.entity_id.clone(),
            signing_certs: idp.usable().map(str::to_owned).collect(),
            want_authn_requests_signed: settings.credential.is_some(),
            single_sign_on_service: idp.endpoint().into_iter().map(|one| WireEndpoint::new(one.binding.into(), &one.location)).collect(),
            ..IdpMetadataConfig::default()
        });
        let peer = IdpDescriptor::from_metadata_xml(&peer, MetadataTrustPolicy::UnsignedForCompatibility).map_err(library)?;
        let config = SpConfig::builder(EntityId::try_new(&settings.entity_id).map_err(library)?)
            .acs_endpoint(AcsEndpoint::post(&settings.acs_url).map_err(library)?)
            .name_id_format(NameIdFormat::Unspecified)
            .credentials(settings.credential.as_ref().map_or_else(Credentials::default, Credential::for_signing))
            .validation(policy(settings.credential.is_some()))
            .build()
            .map_err(library)?;
        let saml = Saml::sp(config).map_err(library)?;
        Ok(ServiceProvider { idp, peer, saml, used: replay::Used::default(), settings })
    }

    /// The identity provider, as its metadata has it.
    #[must_use]
    pub fn idp(&self) -> &Idp {
        &self.idp
    }

    /// The gateway's own metadata, for the identity provider.
    #[must_use]
    pub fn metadata(&self) -> String {
        metadata::write(&self.settings)
    }

    /// Begins a login. `relay_state` comes back with the response, unchanged but not authenticated: at most 80 bytes. `now` is in seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`SamlError::MetadataExpired`], or [`SamlError::Setup`] if a request cannot be made.
    pub fn login(&self, relay_state: Option<&str>, now: u64) -> Result<Login, SamlError> {
        let library = |error: saml_rs::SamlError| self.fault(format!("a request cannot be made: {error}"));
        self.current(now)?;
        let start = match self.idp.endpoint().map(|endpoint| endpoint.binding) {
            Some(Binding::Redirect) => StartSso::redirect(),
            _ => StartSso::post(),
        };
        let relay_state = RelayStateParam::try_from_option(relay_state).map_err(library)?;
        let start = start.relay_state(relay_state).apply_web_browser_sso_generation_rules();
        let started = self.saml.start_sso(&self.peer, start).map_err(library)?.outbound;
        let outbound = if let Ok(url) = started.redirect_url() {
            Outbound::Redirect(url.to_owned())
        } else {
            let form = started.post_form().map_err(library)?;
            let fields = form.fields().iter().map(|field| (field.name().to_owned(), field.value().to_owned()));
            Outbound::Form { action: form.action().as_str().to_owned(), fields: fields.collect() }
        };
        Ok(Login { request_id: started.id().as_str().to_owned(), outbound })
    }

    fn current(&self, now: u64) -> Result<(), SamlError> {
        if self.idp.valid_until.is_some_and(|until| until <= now) { Err(SamlError::MetadataExpired) } else { Ok(()) }
    }

    fn fault(&self, fault: String) -> SamlError {
        SamlError::Setup { name: self.settings.name.clone(), fault }
    }
}

impl fmt::Debug for ServiceProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceProvider").field("name", &self.settings.name).field("idp", &self.idp.entity_id).finish_non_exhaustive()
    }
}

/// Everything that the library can check, and nothing left to its presets.
fn policy(sign: bool) -> SpValidationPolicy {
    SpValidationPolicy {
        assertions: AssertionSignaturePolicy::RequireSigned,
        xml_signatures: XmlSignatureProfile::StrictRsaSha2,
        authn_requests: if sign { AuthnRequestSigningPolicy::Sign } else { AuthnRequestSigningPolicy::DoNotSignForCompatibility },
        audience: AudienceValidationPolicy::Validate,
        name_id_creation: NameIdCreationPolicy::AllowCreate,
        ..SpValidationPolicy::recommended()
    }
}

impl From<Binding> for WireBinding {
    fn from(binding: Binding) -> Self {
        match binding {
            Binding::Redirect => WireBinding::Redirect,
            Binding::Post => WireBinding::Post,
        }
    }
}

impl Credential {
    fn for_signing(&self) -> Credentials {
        Credentials {
            signing_key: Some(PrivateKeyPem::new(self.key.as_str())),
            signing_certificate: Some(CertificatePem::new(&self.certificate)),
            ..Credentials::default()
        }
    }

    /// The key belongs to the certificate, and both can be used.
    fn check(&self) -> Result<(), String> {
        const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
        let key = load_private_key(&self.key, None).map_err(|_| "its `key` cannot be read: it must be an RSA key as PEM, not encrypted")?;
        let signature = construct_message_signature("probe", &key, RSA_SHA256).map_err(|_| "its `key` is no RSA key")?;
        match verify_message_signature("probe", &signature, &self.certificate, RSA_SHA256) {
            Ok(true) => Ok(()),
            Ok(false) => Err("its `key` does not belong to its `certificate`".into()),
            Err(_) => Err("its `certificate` cannot be read: it must be an X.509 certificate with an RSA key, as PEM".into()),
        }
    }
}
