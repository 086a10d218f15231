//! What a token endpoint answers (RFC 6749 section 5), from its bytes.

use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Echoes, Held, Label, Problem, Secret, slot::Timed};

/// For a token that does not say how long it lasts, which it should (RFC 6749 section 5.1).
const UNSAID: Duration = Duration::from_secs(300);
/// No token is kept for longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A token is fetched anew when so much is left of it, or a fifth if that is less.
const EARLY: Duration = Duration::from_secs(60);
/// With so little left, or a tenth and [`ROUNDED`] if that is less, it could end on its way.
const LAST: Duration = Duration::from_secs(10);
/// Issuers count in whole seconds: a token that lasts for four, and was issued late in a second, ends after little more than three
/// (`exp` and `iat`, RFC 7519 section 4.1).
const ROUNDED: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Token {
    access_token: Zeroizing<String>,
    token_type: String,
    expires_in: Option<Seconds>,
}

/// Some servers put the number in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// RFC 6749 section 5.2
#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
}

/// Why there is no token in an answer.
#[derive(PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server says so.
    Said { code: String, description: Option<String> },
    /// It is no answer of a token endpoint's; it may be one of something that stands before it.
    Nonsense(String),
    /// What it gives cannot be used.
    Unusable(String),
}

impl Refusal {
    /// Whether the client's secret may be an old one.
    pub(super) fn is_about_client(&self) -> bool {
        matches!(self, Refusal::Said { code, .. } if code == "invalid_client" || code == "unauthorized_client")
    }

    /// What that comes to.
    pub(super) fn problem(self, is_exchange: bool) -> Problem {
        match self {
            // The second is RFC 8693's own code for it (section 2.2.2), the first what many servers say.
            Refusal::Said { code, .. } if is_exchange && (code == "invalid_grant" || code == "invalid_request") => {
                Problem::Subject { code }
            }
            Refusal::Said { code, .. } if code == "temporarily_unavailable" || code == "server_error" => {
                Problem::Unreachable(format!("it answers `{code}`"))
            }
            Refusal::Said { code, .. } => Problem::Refused { code },
            Refusal::Nonsense(what) => Problem::Unreachable(what),
            Refusal::Unusable(what) => Problem::Unusable(what),
        }
    }

    /// What the server says in its own words is for who runs the gateway, and without what it was sent.
    pub(super) fn log<'a>(&self, label: &Label, hidden: impl Iterator<Item = &'a Secret>) {
        if let Refusal::Said { code, description: Some(description) } = self {
            let hidden: Vec<&str> = hidden.map(Secret::expose).collect();
            let description = masked(description, &Echoes::of(&hidden));
            tracing::warn!(server = &*label.server, code, description, "{} gives no token", label.asked);
        }
    }
}

fn masked(text: &str, hidden: &Echoes) -> String {
    let mut bytes = text.as_bytes().to_vec();
    hidden.mask(&mut bytes);
    String::from_utf8_lossy(&bytes).chars().filter(|one| !one.is_control()).take(300).collect()
}

/// Reads an answer to what was asked at that time.
pub(super) fn read(status: u16, body: &[u8], asked: Instant) -> Result<Timed<Held>, Refusal> {
    if status != 200 {
        let Ok(ErrorAnswer { error, error_description }) = serde_json::from_slice(body) else {
            return Err(Refusal::Nonsense(format!("it answers with status {status} and no error of OAuth's")));
        };
        // RFC 6749 section 5.2 allows no more; what is not a code is in somebody's own words.
        let is_code =
            !error.is_empty() && error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let code = if is_code { error } else { "an error without a code".into() };
        return Err(Refusal::Said { code, description: error_description });
    }
    let token: Token = serde_json::from_slice(body).map_err(|_| {
        Refusal::Nonsense("it answers with something else than a token, as JSON with `access_token` and `token_type`".into())
    })?;
    if !token.token_type.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Unusable("gives tokens that are no bearer tokens, which the gateway cannot use".into()));
    }
    let secret = Secret::sendable(&token.access_token).map_err(|what| Refusal::Unusable(format!("gives a token that {what}")))?;
    let lasts = match token.expires_in {
        None => UNSAID,
        Some(said) => seconds(&said).ok_or_else(|| Refusal::Unusable("gives a token whose `expires_in` is no number".into()))?,
    };
    if lasts.is_zero() {
        return Err(Refusal::Unusable("gives a token that has ended".into()));
    }
    Ok(timed(Held::field("authorization", "Bearer ", &secret), asked, lasts))
}

fn seconds(said: &Seconds) -> Option<Duration> {
    let number = match said {
        Seconds::Number(number) => *number,
        Seconds::Text(text) => text.parse().ok()?,
    };
    // Negative ones and what is no number at all are none.
    (number >= 0.0).then(|| Duration::from_secs_f64(number.min(LONGEST.as_secs_f64())))
}

fn timed<T>(value: T, asked: Instant, lasts: Duration) -> Timed<T> {
    let last = LAST.min(lasts / 10 + ROUNDED).min(lasts / 2);
    // There is time to fetch another meanwhile.
    let early = EARLY.min(lasts / 5).max(last + last / 2);
    Timed { value, asked, due: asked + lasts - early, until: asked + lasts - last }
}
