//! Requests to identity providers: bounded in size and time, never redirected, and over TLS.

use std::{future::Future, path::Path, pin::Pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http};
use thiserror::Error;

use crate::{
    outbound::{Dial, Outbound},
    tls::{self, TlsConfigError},
};

/// A discovery document or a set of keys is a few KiB.
const MAX_BYTES: usize = 1 << 20;
/// From the request to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why an identity provider gave no answer that could be read.
#[derive(Debug, Error)]
pub enum FetchError {
    /// It was not reached, or broke off.
    #[error("{url} cannot be fetched: {cause}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What happened, with its causes.
        cause: String,
    },
    /// It did not answer in time.
    #[error("{url} did not answer within {} s", TIMEOUT.as_secs())]
    Slow {
        /// What was asked for.
        url: String,
    },
    /// It is to be asked without TLS, where whoever is on the way could answer in its place.
    #[error("{url} is not an https:// URL, and its issuer has one")]
    Plain {
        /// What was to be asked for.
        url: String,
    },
}

/// A client of identity providers.
pub struct Http {
    client: Client<HttpsConnector<Dial>, Full<Bytes>>,
    tls_only: bool,
}

impl Http {
    /// Which trusts the authorities of a file, or the system's.
    ///
    /// # Errors
    /// [`TlsConfigError`]: they cannot be read.
    pub fn new(outbound: &Outbound, ca_file: Option<&Path>, tls_only: bool) -> Result<Self, TlsConfigError> {
        let config = tls::trusting(ca_file)?.with_no_client_auth();
        Ok(Http { client: Client::builder(TokioExecutor::new()).build(outbound.https(config)), tls_only })
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`FetchError`]. An answer of any status is none.
    pub async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let url = request.uri().to_string();
        if self.tls_only && request.uri().scheme_str() != Some("https") {
            return Err(FetchError::Plain { url });
        }
        match tokio::time::timeout(TIMEOUT, self.whole(request.map(|body| Full::new(Bytes::from(body))))).await {
            Ok(answer) => answer.map_err(|error| FetchError::Broken { url, cause: causes(&*error) }),
            Err(_) => Err(FetchError::Slow { url }),
        }
    }

    async fn whole(&self, request: http::Request<Full<Bytes>>) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BYTES).collect().await?.to_bytes();
        Ok(http::Response::from_parts(head, body.to_vec()))
    }
}

/// An error with its causes, but for those that it has told already: hyper's and openidconnect's say what happened only in their sources.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.fetch(request))
    }
}
