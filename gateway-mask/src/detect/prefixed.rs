//! Keys and tokens that begin as their issuers say.

use aho_corasick::packed::{self, Searcher};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use regex_automata::{Anchored, Input, meta::Regex, util::captures::Captures};
use serde_json::value::RawValue;

use super::{Found, Hit, Wanted, mail::is_placeholder, words::is_escape};
use crate::Kind;

struct Pattern {
    kind: Kind,
    /// What all such values have.
    literals: &'static [&'static str],
    /// How many bytes the literal stands after the beginning.
    back: usize,
    /// The whole; group 1 is the value, if there is one.
    regex: &'static str,
}

const fn begins(kind: Kind, literals: &'static [&'static str], regex: &'static str) -> Pattern {
    Pattern { kind, literals, back: 0, regex }
}

const PATTERNS: &[Pattern] = &[
    begins(Kind::AwsKey, &["AKIA", "ASIA", "ABIA", "ACCA"], r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}"),
    begins(Kind::GcpKey, &["AIza"], r"AIza[0-9A-Za-z_-]{35}"),
    begins(Kind::GcpKey, &["ya29."], r"ya29\.[0-9A-Za-z_-]{20,512}"),
    begins(Kind::GcpKey, &["GOCSPX-"], r"GOCSPX-[0-9A-Za-z_-]{28}"),
    begins(Kind::AzureKey, &["AccountKey="], r"AccountKey=([0-9A-Za-z+/]{86}==)"),
    begins(Kind::AzureKey, &["SharedAccessKey="], r"SharedAccessKey=([0-9A-Za-z+/]{43}=)"),
    begins(Kind::AzureKey, &["sig="], r"sig=((?:[0-9A-Za-z]|%2[BbFf]|[+/]){43}(?:%3[Dd]|=))"),
    Pattern { kind: Kind::AzureKey, literals: &["7Q~", "8Q~"], back: 3, regex: r"[0-9A-Za-z_~.-]{3}[78]Q~[0-9A-Za-z_~.-]{31,34}" },
    begins(Kind::GithubToken, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[0-9A-Za-z]{36,251}"),
    begins(Kind::GithubToken, &["github_pat_"], r"github_pat_[0-9A-Za-z_]{22,244}"),
    begins(
        Kind::GitlabToken,
        &["glpat-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "gloas-", "glffct-"],
        r"gl(?:pat|dt|rtr?|cbt|ptt|ft|imt|agent|soat|oas|ffct)-[0-9A-Za-z_-]{20,128}(?:\.[0-9A-Za-z_-]{2,32}){0,2}",
    ),
    begins(
        Kind::SlackToken,
        &["xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-"],
        r"xox(?:[aboprs]|e(?:\.xox[bp])?)-[0-9A-Za-z-]{10,250}",
    ),
    begins(Kind::SlackToken, &["xapp-"], r"xapp-[0-9]-[0-9A-Za-z]{8,16}-[0-9A-Za-z-]{20,128}"),
    begins(Kind::SlackToken, &["hooks.slack.com/"], r"hooks\.slack\.com/(?:services|workflows|triggers)/[0-9A-Za-z+/]{20,128}"),
    begins(Kind::StripeKey, &["sk_live_", "sk_test_", "rk_live_", "rk_test_"], r"[sr]k_(?:live|test)_[0-9A-Za-z]{16,247}"),
    begins(Kind::StripeKey, &["whsec_"], r"whsec_[0-9A-Za-z+/]{32,64}={0,2}"),
    begins(Kind::AnthropicKey, &["sk-ant-"], r"sk-ant-[a-z]{3,8}[0-9]{2}-[0-9A-Za-z_-]{24,256}"),
    begins(
        Kind::OpenaiKey,
        &["sk-"],
        r"sk-(?:(?:proj|svcacct|admin|None|service)-[0-9A-Za-z_-]{20,256}|[0-9A-Za-z]{20}T3BlbkFJ[0-9A-Za-z]{20}|[0-9A-Za-z]{48})",
    ),
    // `{"`, `{ ` and `{` before a line break, in base64.
    begins(
        Kind::Jwt,
        &["eyJ", "eyA", "ewo", "ew0"],
        r"e[0-9A-Za-z_-]{12,}\.[0-9A-Za-z_-]{2,}\.(?:[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+|[0-9A-Za-z_-]*)",
    ),
    begins(
        Kind::PrivateKey,
        &["-----BEGIN "],
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[0-9A-Za-z+/=\s\\:,.()]|-[0-9A-Za-z])*(?:-----END [A-Z0-9 ]{0,40}-----)?",
    ),
];

pub(super) struct Prefixed {
    searcher: Searcher,
    /// For each literal, its pattern.
    of: Vec<usize>,
    regexes: Vec<Regex>,
}

impl Prefixed {
    #[expect(clippy::unwrap_used, reason = "the patterns are constants, which every test builds")]
    pub(super) fn new() -> Prefixed {
        let literals = PATTERNS.iter().flat_map(|pattern| pattern.literals);
        Prefixed {
            searcher: packed::Config::new().builder().extend(literals).build().unwrap(),
            of: PATTERNS.iter().enumerate().flat_map(|(at, pattern)| pattern.literals.iter().map(move |_| at)).collect(),
            regexes: PATTERNS.iter().map(|pattern| Regex::new(pattern.regex).unwrap()).collect(),
        }
    }

    pub(super) fn positions<'a>(&'a self, raw: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        self.places(raw).map(|(_, start)| start)
    }

    /// Where a pattern may begin.
    fn places<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.searcher.find_iter(bytes).filter_map(|found| {
            let pattern = self.of[found.pattern().as_usize()];
            let start = found.start().checked_sub(PATTERNS[pattern].back)?;
            // A token of three parts without bounds is begun only where its first part can begin: else a long one is read many times.
            let within = |byte: u8| byte.is_ascii_alphanumeric() || (PATTERNS[pattern].kind == Kind::Jwt && matches!(byte, b'-' | b'_'));
            let is_first = start == 0 || !within(bytes[start - 1]) || is_escape(bytes, start);
            is_first.then_some((pattern, start))
        })
    }

    pub(super) fn find(&self, text: &str, wanted: Wanted, out: &mut Vec<Hit>) {
        for (pattern, start) in self.places(text.as_bytes()) {
            let kind = PATTERNS[pattern].kind;
            if !wanted.has(kind) {
                continue;
            }
            let regex = &self.regexes[pattern];
            let mut captures: Captures = regex.create_captures();
            regex.captures(Input::new(text).range(start..).anchored(Anchored::Yes), &mut captures);
            let Some(value) = captures.get_group(1).or_else(|| captures.get_group(0)) else { continue };
            let value = value.range();
            let goes_on = text.as_bytes().get(value.end).is_some_and(u8::is_ascii_alphanumeric);
            let holds = match kind {
                Kind::Jwt => is_jwt(&text[value.clone()]),
                Kind::PrivateKey => true,
                _ => !goes_on && !is_placeholder(text[value.clone()].as_bytes()),
            };
            if holds {
                out.push(Hit { start: value.start, end: value.end, what: Found::Kind(kind) });
            }
        }
    }
}

/// Whether the first part is a JSON object (RFC 7519, 7.2).
fn is_jwt(token: &str) -> bool {
    let header = token.split('.').next().and_then(|header| BASE64_URL_SAFE_NO_PAD.decode(header).ok());
    header.is_some_and(|header| serde_json::from_slice::<&RawValue>(&header).is_ok_and(|json| json.get().starts_with('{')))
}
