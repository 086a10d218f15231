//! The clinic: a small real MCP server over made-up patients.
//!
//! Three tools over one SQLite file: `query` (reads), `execute` (writes) and `export` (a large answer, with progress).
//! It speaks every revision that `rmcp` speaks: sessions for the older ones, none for 2026-07-28.
//!
//! With a *seen file* it writes one line for each call that reached it, before it does anything else. The crash test holds that file
//! against the audit log: a call that the server saw must be on the record.

mod patients;
mod tools;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::IntoResponse,
};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager};
use serde::{Deserialize, Serialize};

pub use patients::{PATIENTS, create as create_database};
pub use tools::Clinic;

/// One call that reached the clinic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The JSON-RPC id, as JSON.
    pub id: serde_json::Value,
    /// The tool that was called.
    pub tool: String,
    /// What the caller put in the `marker` argument.
    pub marker: Option<String>,
}

/// Where calls are noted as they arrive.
#[derive(Debug, Clone, Default)]
pub struct SeenFile(Option<Arc<Mutex<File>>>);

impl SeenFile {
    /// Appends to the file at `path`, creating it when it is not there.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {} for the calls seen", path.display()))?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    /// Notes one call, in one write.
    ///
    /// # Errors
    /// The line could not be written: the call must then not be served, or the comparison would lie.
    pub fn note(&self, seen: &Seen) -> anyhow::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let mut line = serde_json::to_vec(seen)?;
        line.push(b'\n');
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        Ok(())
    }

    /// Reads back what was noted in the file at `path`. A file that is not there holds nothing.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not what [`SeenFile::note`] writes.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Seen>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a call: {line}"))).collect()
    }
}

/// What a clinic is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 lets the kernel pick.
    pub listen: SocketAddr,
    /// The SQLite file; it is made anew, always with the same patients.
    pub database: PathBuf,
    /// Where to note the calls that arrive.
    pub seen: Option<PathBuf>,
    /// A file with the key that requests must have in `X-Api-Key`; without one, none is asked for.
    pub key: Option<PathBuf>,
}

/// Serves until the process is told to stop. Says on standard output where it listens, in one line, once it does.
///
/// # Errors
/// The database cannot be made, or the address cannot be listened on.
pub async fn serve(options: Options) -> anyhow::Result<()> {
    create_database(&options.database)?;
    let seen = match &options.seen {
        Some(path) => SeenFile::open(path)?,
        None => SeenFile::default(),
    };
    let clinic = Clinic::open(&options.database, seen)?;
    // The clinic is reached by the address of a network namespace, which rmcp does not know as a loopback name.
    let config = StreamableHttpServerConfig::default().disable_allowed_hosts();
    let service = StreamableHttpService::new(move || Ok(clinic.clone()), Arc::new(LocalSessionManager::default()), config);
    let key = options.key.map(std::fs::read_to_string).transpose().context("the key cannot be read")?;
    let router = axum::Router::new().nest_service("/mcp", service).layer(middleware::from_fn(move |request: Request, next: Next| {
        let given = request.headers().get("x-api-key").and_then(|given| given.to_str().ok());
        let is_let_in = key.as_deref().is_none_or(|key| given == Some(key.trim()));
        async move { if is_let_in { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() } }
    }));
    let listener = tokio::net::TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("clinic: http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            // Nothing to do differently when the signal cannot be watched: the process then ends by it.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
