//! A request's signature.

use std::{fmt, sync::Arc, time::SystemTime};

use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;

use super::{
    super::{Applied, CredentialError, Echoes, Label, Outgoing, Problem, Secret, carries_credential, held::without},
    keys::Keys,
    skew::{Answer, Clock},
};

/// Header fields that are not signed, as by the AWS SDKs: they are for one hop, or whoever is on the way adds to them or changes them.
const UNSIGNED: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "baggage",
    "cdn-loop",
    "connection",
    "expect",
    "forwarded",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-real-ip",
];
/// Header fields that the signature brings with it. The caller's own are dropped.
const OURS: [&str; 3] = ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// Signs requests to one server, with keys that hold now.
#[derive(Clone)]
pub struct Signer {
    keys: Arc<Keys>,
    service: Arc<str>,
    region: Arc<str>,
    clock: Arc<Clock>,
    label: Label,
}

/// How a service wants what is signed to be written.
#[derive(Clone, Copy)]
pub(super) struct Canon {
    /// The path without `.`, `..` and `//`, and encoded once more: by all services but S3, which has paths that mean something else then.
    pub(super) normalize: bool,
    pub(super) encode_twice: bool,
    /// `x-amz-content-sha256` is sent and signed.
    pub(super) content_hash: bool,
    /// `x-amz-security-token` is signed.
    pub(super) token: bool,
}

impl Canon {
    fn of(service: &str) -> Self {
        let is_s3 = matches!(service, "s3" | "s3express" | "s3-object-lambda" | "s3-outposts");
        Canon { normalize: !is_s3, encode_twice: !is_s3, content_hash: true, token: true }
    }
}

impl Signer {
    pub(super) fn new(keys: Arc<Keys>, service: Arc<str>, region: Arc<str>, clock: Arc<Clock>, label: Label) -> Self {
        Signer { keys, service, region, clock, label }
    }

    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Which key signs. It is no secret: every request shows it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.keys.credentials.access_key_id()
    }

    /// What the request becomes, signed over exactly what is sent.
    ///
    /// # Errors
    /// [`CredentialError`]: it is no request that can be signed.
    pub fn apply(&self, outgoing: &Outgoing<'_>) -> Result<Applied, CredentialError> {
        self.sign(outgoing, self.clock.time(SystemTime::now()), Canon::of(&self.service))
    }

    /// Whether an answer says that the signature's date is not the server's. Then the request is to be signed anew and sent once more: the
    /// server has done nothing with it, and signatures go by its clock from now on.
    #[must_use]
    pub fn is_skewed(&self, answer: &Answer<'_>) -> bool {
        self.clock.learn(answer, SystemTime::now())
    }

    /// The same, at a time and in a form.
    pub(super) fn sign(&self, outgoing: &Outgoing<'_>, time: SystemTime, canon: Canon) -> Result<Applied, CredentialError> {
        let cannot = |what| self.label.failed(Problem::Unsigned(what));
        let identity = Identity::from(self.keys.credentials.clone());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(time)
            .settings(settings(canon))
            .build()
            .map_err(|_| cannot("it has no region or service"))?
            .into();
        // The scheme decides nothing: `host` is among the fields.
        let target = without(outgoing.target, None, None);
        let url = format!("https://{}{}", outgoing.authority, target.as_ref().map_or(outgoing.target, Secret::expose));
        // A field that is no text stands in no canonical request, and may be sent all the same.
        let is_other = |name: &str| {
            outgoing.headers.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && std::str::from_utf8(value).is_err())
        };
        let fields = outgoing.headers.iter().filter(|(name, _)| is_signed(name) && !is_other(name));
        let fields = fields.filter_map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?)));
        let host = std::iter::once(("host", outgoing.authority));
        let body = SignableBody::Bytes(outgoing.body);
        let request = SignableRequest::new(outgoing.method, url, host.chain(fields), body).map_err(|_| cannot("its target is no URL"))?;
        let signed = sign(request, &params).map_err(|_| cannot("a field of its header is none"))?;
        let (instructions, signature) = signed.into_parts();
        let set = instructions.headers().map(|(name, value)| (name.into(), Secret::new(value.to_owned()))).collect();
        Ok(Applied { set, target, echoes: self.keys.echoes.and(&Echoes::of(&[&signature])) })
    }
}

fn settings(canon: Canon) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = if canon.encode_twice { PercentEncodingMode::Double } else { PercentEncodingMode::Single };
    settings.uri_path_normalization_mode =
        if canon.normalize { UriPathNormalizationMode::Enabled } else { UriPathNormalizationMode::Disabled };
    settings.payload_checksum_kind = if canon.content_hash { PayloadChecksumKind::XAmzSha256 } else { PayloadChecksumKind::NoHeader };
    settings.session_token_mode = if canon.token { SessionTokenMode::Include } else { SessionTokenMode::Exclude };
    settings
}

/// Whether a field of the request is signed.
fn is_signed(name: &str) -> bool {
    let is = |other: &&str| other.eq_ignore_ascii_case(name);
    let is_forwarded = name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded"));
    !(is(&"host") || OURS.iter().chain(&UNSIGNED).any(is) || is_forwarded || carries_credential(name))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.key_id()).field("service", &self.service).field("region", &self.region).finish()
    }
}
