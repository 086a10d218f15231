//! What people see.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_SECURITY_POLICY},
    response::{Html, IntoResponse, Response},
};

/// Something to read.
#[derive(Template)]
#[template(path = "console/note.html")]
struct Note<'a> {
    heading: &'a str,
    message: &'a str,
}

/// A terminal that waits.
#[derive(Template)]
#[template(path = "console/terminal.html")]
pub(super) struct Terminal<'a> {
    pub number: &'a str,
    pub user: &'a str,
    pub host: &'a str,
    pub idp: &'a str,
}

/// Where its code is typed.
#[derive(Template)]
#[template(path = "console/code.html")]
pub(super) struct Code<'a> {
    pub number: &'a str,
    pub user: &'a str,
    pub host: &'a str,
    pub person: &'a str,
    pub wrong: bool,
}

/// A request on its way to an identity provider that takes it by POST.
#[derive(Template)]
#[template(path = "console/send.html")]
pub(super) struct Send<'a> {
    pub idp: &'a str,
    pub action: &'a str,
    pub fields: &'a [(String, String)],
}

/// The console's first page.
#[derive(Template)]
#[template(path = "console/home.html")]
pub(super) struct Home<'a> {
    pub host: &'a str,
    pub idps: &'a [&'a str],
    pub me: Option<Me>,
}

/// Who has logged in at the console.
pub(super) struct Me {
    pub person: String,
    pub subject: String,
    pub issuer: String,
    pub groups: Vec<String>,
    pub until: String,
    pub logins: Vec<HostLogin>,
}

/// A login of that person's on this host.
pub(super) struct HostLogin {
    pub id: String,
    pub uid: u32,
    pub session: String,
    pub until: String,
}

/// A page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!("a page of the console cannot be shown: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page with a message.
pub(super) fn note(status: StatusCode, heading: &str, message: &str) -> Response {
    page(status, &Note { heading, message })
}

/// What pages may do, with forms that go there.
pub(super) fn policy(form_action: &str) -> String {
    format!("default-src 'none'; style-src 'self'; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'")
}

/// The page, whose form goes to this address on another host.
pub(super) fn posting_to(mut page: Response, action: &str) -> Response {
    let origin: String = action.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    // A metadata file could name anything: what would end the directive, or begin another, gets no permission.
    let is_origin = origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-[]".contains(&byte));
    if let Some(value) = HeaderValue::from_str(&policy(&origin)).ok().filter(|_| is_origin) {
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, value);
    }
    page
}

/// An instant, for people.
pub(super) fn instant(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "for ever".into(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}
