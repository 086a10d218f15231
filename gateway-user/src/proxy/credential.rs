//! The head of a request as it goes upstream, with the credential that only the gateway holds, and what of that comes back.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::{
    connection::Connection,
    entrance::hearsay,
    forward::{Flight, Lost},
    refusal::{Refusal, Side},
};
use crate::{
    config::CredentialConfig,
    credential::{CredentialError, EchoStream, Echoes, For, Held, Outgoing, Problem, Secret, aws::Answer, carries_credential},
    wire::http1::{Framing, Headers, Method, RequestHead, ResponseHead, Rewrite, sent_fields, write_request_head},
};

const NO_CREDENTIAL: &str = "The server did not get the call. Tell the operator of the gateway, whose log says more.";
const NOT_TAKEN: &str = "The server has refused the call. Tell the operator of the gateway, whose log says more.";

/// Which credential a request was sent with, for the record. None of it is secret.
#[derive(Serialize, Clone)]
pub(super) struct Used {
    kind: &'static str,
    /// The id of the AWS key: CloudTrail has it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// How often the server echoed it: that was masked.
    #[serde(skip_serializing_if = "is_zero")]
    echoed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The present request's credential, and what must not be seen of it.
pub(super) struct Furnished {
    held: Held,
    used: Used,
    echoes: Echoes,
    /// The answer's body, so far.
    answer: EchoStream,
}

impl Furnished {
    pub(super) fn used(&self) -> Used {
        Used { echoed: self.used.echoed + self.answer.found(), ..self.used.clone() }
    }
}

impl Connection {
    /// The head as it goes upstream: rebuilt, asking for an answer that can be read, without the client's connection matters, and with the
    /// server's credential in place of the caller's. `body` is all of the body, as it will be sent.
    pub(super) async fn request_head(&self, head: &RequestHead, framing: Framing, body: &[u8], flight: &mut Flight) -> Result<Bytes, Lost> {
        let host = self.host(head);
        let mut set: Vec<(&str, &[u8])> = vec![("Accept-Encoding", b"identity")];
        let mut remove: Vec<&str> = Vec::new();
        if self.vouched.as_ref().is_some_and(|vouched| vouched.token.is_some()) {
            // It was for the gateway: whoever has it could call in the caller's name.
            remove.push("Authorization");
        }
        if self.entrance.is_some() {
            set.push(("Host", host.as_bytes()));
            remove.extend(hearsay(head));
        }
        let rewrite = Rewrite { target: None, framing, set: &set, remove: &remove, keep_alive: true };
        // Before a browser's question anybody is asked who he is: it gets nothing of ours.
        let credential = self.worker.shared.credentials.of(self.server).filter(|_| head.method != Method::Options);
        let Some(credential) = credential else { return written(head, &rewrite) };

        let held = credential.get(&self.whom(&flight.session)).await.map_err(|error| Lost::Answer(unavailable(&error)))?;
        let fields: Vec<(&str, &[u8])> = sent_fields(&head.headers, &rewrite)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
            .filter(|(name, _)| !carries_credential(name))
            .collect();
        let outgoing = Outgoing { method: head.method.as_str(), target: &head.target, authority: &host, headers: &fields, body };
        let applied = held.apply(&outgoing).map_err(|error| Lost::Answer(unavailable(&error)))?;
        let names = head.headers.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
        let dropped: Vec<&str> = names.filter(|name| applied.removes(name)).collect();
        let all: Vec<(&str, &[u8])> =
            set.iter().copied().chain(applied.set.iter().map(|(name, value)| (&**name, value.expose().as_bytes()))).collect();
        let remove = [&remove[..], &dropped].concat();
        let target = applied.target.as_ref().map(Secret::expose);
        let written = written(head, &Rewrite { target, framing, set: &all, remove: &remove, keep_alive: true });
        let key = if let Held::Aws(signer) = &held { Some(signer.key_id().to_owned()) } else { None };
        let used = Used { kind: self.config().credential.kind(), key, echoed: 0 };
        flight.furnished = Some(Furnished { held, used, answer: EchoStream::new(applied.echoes.clone()), echoes: applied.echoes });
        written
    }

    fn whom<'a>(&'a self, session: &'a str) -> For<'a> {
        let token = self.vouched.as_ref().and_then(|vouched| vouched.token.as_ref());
        For { identity: self.identity(), token: token.map(Secret::expose), session }
    }

    /// Whether what is sent is signed: then all of it must be known before.
    pub(super) fn is_signed(&self) -> bool {
        matches!(self.config().credential, CredentialConfig::SigV4(_))
    }

    /// Whether an answer is about our credential, and not about the call: that is not for the caller to mend.
    pub(super) fn is_taken(&self, answer: &ResponseHead, flight: &Flight) -> Result<(), Lost> {
        let credential = self.worker.shared.credentials.of(self.server);
        let (Some(credential), Some(furnished)) = (credential, &flight.furnished) else { return Ok(()) };
        if answer.status != 401 || matches!(furnished.held, Held::Nothing) {
            return Ok(());
        }
        credential.refused(&self.whom(&flight.session), &furnished.held);
        let message = format!("`{}` does not take the gateway's credential for it (status 401)", self.config().name);
        Err(Lost::Answer(Refusal { reason: "credential", ..Refusal::upstream(message, NOT_TAKEN) }))
    }
}

impl Flight {
    /// Whether an answer may say that the time of the signature is wrong: its body tells.
    pub(super) fn may_be_skewed(&self, answer: &ResponseHead) -> bool {
        matches!(answer.status, 400 | 401 | 403) && self.furnished.as_ref().is_some_and(|furnished| matches!(furnished.held, Held::Aws(_)))
    }

    /// Whether it does. The server has done nothing then, and signatures go by its clock from now on.
    pub(super) fn is_skewed(&self, head: &ResponseHead, body: &[u8]) -> bool {
        let text = |name| head.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let answer = Answer { status: head.status, date: text("date"), error: text("x-amzn-errortype"), body };
        matches!(&self.furnished, Some(Furnished { held: Held::Aws(signer), .. }) if signer.is_skewed(&answer))
    }

    /// A piece of the answer without what the server echoes of our credential. What could be its beginning waits for the next piece.
    pub(super) fn masked(&mut self, piece: Bytes) -> Bytes {
        let Some(furnished) = self.furnished.as_mut().filter(|furnished| !furnished.echoes.is_empty()) else { return piece };
        let mut out = Vec::with_capacity(piece.len() + furnished.answer.held());
        furnished.answer.push(&piece, &mut out);
        out.into()
    }

    /// What waited, at the end of the answer.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        let furnished = self.furnished.as_mut()?;
        let mut out = Vec::new();
        furnished.answer.finish(&mut out);
        (!out.is_empty()).then(|| out.into())
    }

    /// An answer's head without echoes of our credential.
    pub(super) fn masked_head(&mut self, head: &mut ResponseHead) {
        let Some(furnished) = self.furnished.as_mut().filter(|furnished| !furnished.echoes.is_empty()) else { return };
        let (mut headers, mut found) = (Headers::new(), 0);
        for (name, value) in head.headers.iter() {
            let mut value = value.to_vec();
            found += furnished.echoes.mask(&mut value);
            headers.push(name.to_vec(), value);
        }
        if found > 0 {
            head.headers = headers;
            furnished.used.echoed += found;
        }
    }
}

fn written(head: &RequestHead, rewrite: &Rewrite<'_>) -> Result<Bytes, Lost> {
    let mut out = BytesMut::with_capacity(1024);
    write_request_head(&mut out, head, rewrite).map_err(|error| {
        Lost::Answer(Refusal::client(400, "malformed", format!("the request cannot be sent on: {error}"), "Correct the HTTP request."))
    })?;
    Ok(out.freeze())
}

fn unavailable(error: &CredentialError) -> Refusal {
    let refusal = Refusal { reason: "credential", side: Side::Gateway, ..Refusal::upstream(error.to_string(), NO_CREDENTIAL) };
    match error.problem {
        // It is for the caller to mend.
        Problem::NoToken | Problem::Nobody | Problem::Subject { .. } => {
            Refusal { side: Side::Client, status: 403, help: "Log in, or send a token of your own, and call again.", ..refusal }
        }
        _ => refusal,
    }
}
