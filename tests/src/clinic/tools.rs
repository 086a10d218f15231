use std::{
    fmt::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock, ProgressNotificationParam, ServerCapabilities, ServerConfig},
    schemars,
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Seen, SeenFile};

/// Rows that one `query` answers at most.
const MAX_ROWS: usize = 1_000;
/// How many times `export` reports progress.
const PROGRESS_STEPS: u32 = 5;

/// The server's handler. Cloned for each session; all clones share the database.
#[derive(Clone)]
pub struct Clinic {
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Mutex<Connection>>,
    seen: SeenFile,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Query {
    /// One SELECT statement.
    sql: String,
    /// Kept with the note of the call.
    #[serde(default)]
    marker: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Execute {
    /// One INSERT, UPDATE or DELETE statement.
    sql: String,
    /// Kept with the note of the call.
    #[serde(default)]
    marker: Option<String>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Export {
    /// The least size of the answer in bytes: the patients are repeated until it is reached. By default they come once.
    #[serde(default)]
    at_least_bytes: Option<usize>,
    /// Kept with the note of the call.
    #[serde(default)]
    marker: Option<String>,
}

impl Clinic {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// The file is not a database that can be opened.
    pub fn open(path: &Path, seen: SeenFile) -> anyhow::Result<Self> {
        let open = |flags| {
            let connection = Connection::open_with_flags(path, flags).with_context(|| format!("cannot open {}", path.display()))?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            anyhow::Ok(Arc::new(Mutex::new(connection)))
        };
        Ok(Self { writer: open(OpenFlags::SQLITE_OPEN_READ_WRITE)?, reader: open(OpenFlags::SQLITE_OPEN_READ_ONLY)?, seen })
    }

    fn note(&self, context: &RequestContext<RoleServer>, tool: &str, marker: Option<String>) -> Result<(), ErrorData> {
        let id = serde_json::to_value(&context.id).unwrap_or(Value::Null);
        let seen = Seen { id, tool: tool.to_owned(), marker };
        self.seen.note(&seen).map_err(|e| ErrorData::internal_error(format!("cannot note the call: {e}"), None))
    }
}

#[tool_router]
impl Clinic {
    /// Reads patients.
    #[tool(description = "Run one read-only SQL SELECT over `patients` and `visits`")]
    async fn query(
        &self,
        Parameters(Query { sql, marker }): Parameters<Query>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        self.note(&context, "query", marker)?;
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match select(&connection, &sql) {
            Ok(answer) => CallToolResult::structured(answer),
            Err(e) => CallToolResult::error(vec![ContentBlock::text(e.to_string())]),
        })
    }

    /// Changes patients.
    #[tool(description = "Run one SQL INSERT, UPDATE or DELETE; answers how many rows changed")]
    async fn execute(
        &self,
        Parameters(Execute { sql, marker }): Parameters<Execute>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        self.note(&context, "execute", marker)?;
        let connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match connection.execute(&sql, ()) {
            Ok(rows) => CallToolResult::structured(json!({ "rows_affected": rows })),
            Err(e) => CallToolResult::error(vec![ContentBlock::text(e.to_string())]),
        })
    }

    /// Hands out all patients.
    #[tool(description = "All patients as CSV; reports progress when asked to")]
    async fn export(
        &self,
        Parameters(Export { at_least_bytes, marker }): Parameters<Export>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        self.note(&context, "export", marker)?;
        let once = {
            let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            csv(&connection).map_err(|e| ErrorData::internal_error(e.to_string(), None))?
        };
        let mut answer = String::from("id,name,ssn,birth_date,email,phone,diagnosis\n");
        answer.push_str(&once);
        while answer.len() < at_least_bytes.unwrap_or(0) {
            answer.push_str(&once);
        }
        if let Some(token) = context.meta.get_progress_token() {
            for step in 1..=PROGRESS_STEPS {
                let report = ProgressNotificationParam::new(token.clone(), f64::from(step))
                    .with_total(f64::from(PROGRESS_STEPS))
                    .with_message(format!("part {step} of {PROGRESS_STEPS}"));
                // A client that has gone away gets no progress, and no answer either.
                let _ = context.peer.notify_progress(report).await;
            }
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(answer)]))
    }
}

#[tool_handler]
impl ServerHandler for Clinic {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("A clinic's database. Everyone in it is made up.")
    }
}

fn select(connection: &Connection, sql: &str) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare(sql)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query(())?;
    let mut rows = Vec::new();
    let mut truncated = false;
    while let Some(row) = found.next()? {
        if rows.len() == MAX_ROWS {
            truncated = true;
            break;
        }
        let mut object = Map::new();
        for (index, column) in columns.iter().enumerate() {
            object.insert(column.clone(), json_of(row.get_ref(index)?));
        }
        rows.push(Value::Object(object));
    }
    Ok(json!({ "columns": columns, "rows": rows, "truncated": truncated }))
}

fn json_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => i.into(),
        ValueRef::Real(f) => f.into(),
        ValueRef::Text(t) => String::from_utf8_lossy(t).into(),
        ValueRef::Blob(b) => format!("<{} bytes>", b.len()).into(),
    }
}

fn csv(connection: &Connection) -> anyhow::Result<String> {
    let mut statement = connection.prepare("SELECT id, name, ssn, birth_date, email, phone, diagnosis FROM patients ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        write!(text, "{id}")?;
        for column in 1..7 {
            let value: String = row.get(column)?;
            write!(text, ",\"{value}\"")?;
        }
        text.push('\n');
    }
    Ok(text)
}
