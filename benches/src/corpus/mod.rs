//! Messages in the shapes of MCP, with values of every kind at places that are known, and what looks like them.
//!
//! The same in every run. Names, sentences and formats are those that people and systems write, whether a detector knows them or not.

mod names;
mod negatives;
mod persons;
mod random;
mod values;

use gateway_mask::Kind;
use serde_json::{Value as Json, json};

use self::names::{field, is_told, sentence};
pub use self::{
    negatives::negative,
    random::Random,
    values::{Value, value},
};

/// A string of a message once it is decoded, the name it stands under, and what stands in it.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The field or column, if there is one.
    pub name: Option<String>,
    /// The text.
    pub text: String,
    /// The values in it, in bytes of the text, ascending.
    pub spans: Vec<(usize, usize, Kind)>,
}

/// A message and all its strings that are worth reading.
#[derive(Debug, Clone)]
pub struct Message {
    /// As it goes over the wire.
    pub json: String,
    /// Its strings, those inside JSON in text and the cells of tables too.
    pub texts: Vec<Text>,
}

impl Text {
    fn named(name: &str) -> Text {
        Text { name: Some(name.to_owned()), ..Text::default() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn value(&mut self, kind: Kind, random: &mut Random) {
        let Value { before, value, after } = if kind == Kind::Phone && random.once_in(2) && is_told(self, kind) {
            values::national_phone(random).into()
        } else {
            value(kind, random)
        };
        self.push(&before);
        self.spans.push((self.text.len(), self.text.len() + value.len(), kind));
        self.push(&value);
        self.push(&after);
    }

    fn append(&mut self, other: Text) {
        let from = self.text.len();
        self.spans.extend(other.spans.into_iter().map(|(start, end, kind)| (from + start, from + end, kind)));
        self.text += &other.text;
    }
}

/// So many messages.
#[must_use]
pub fn messages(seed: u64, many: usize) -> Vec<Message> {
    let mut random = Random::new(seed);
    (0..many).map(|at| message(at, &mut random)).collect()
}

/// A field of a row: its name, and a value of this kind or something that is none.
fn cell(kind: Option<Kind>, random: &mut Random) -> Text {
    match kind {
        Some(kind) => {
            let mut text = Text::named(field(kind, random));
            text.value(kind, random);
            text
        }
        None => {
            let (name, value) = negative(random);
            Text { name: Some(name.to_owned()), text: value, spans: Vec::new() }
        }
    }
}

fn prose(kind: Option<Kind>, random: &mut Random) -> Text {
    let mut text = Text::default();
    match kind {
        Some(kind) => {
            let (before, after) = sentence(kind, random);
            text.push(before);
            text.value(kind, random);
            text.push(after);
        }
        None => {
            let (name, value) = negative(random);
            let before = match random.below(4) {
                0 => format!("The {} is ", name.replace('_', " ")),
                1 => format!("{name}={value} was followed by {name}="),
                2 => format!("{name}: "),
                _ => format!("See {name} "),
            };
            text.push(&format!("{before}{value}{}", random.pick(&[".", " and more", "\n", " (done)", ""])));
        }
    }
    text
}

fn kind_of(at: usize, random: &mut Random) -> Option<Kind> {
    // Every kind comes in its turn, so that none is rare.
    (!random.once_in(3)).then(|| Kind::ALL[(at + random.below(3)) % Kind::ALL.len()])
}

/// A message of the shape of this turn.
fn message(at: usize, random: &mut Random) -> Message {
    let id = at;
    let mut texts = Vec::new();
    let result = |result: Json| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let kind = |random: &mut Random| kind_of(at / 9, random);
    let json = match at % 9 {
        0 => {
            let mut all = Text::default();
            for _ in 0..random.within(1, 4) {
                let kind = kind(random);
                all.append(prose(kind, random));
                all.push("\n");
            }
            texts.push(all.clone());
            result(json!({"content": [{"type": "text", "text": all.text}]}))
        }
        1 | 2 => {
            let rows: Vec<Json> = (0..random.within(1, 4))
                .map(|_| {
                    let cells: Vec<Text> = (0..3)
                        .map(|_| {
                            let kind = kind(random);
                            cell(kind, random)
                        })
                        .collect();
                    let row = cells.iter().map(|cell| (cell.name.clone().unwrap_or_default(), Json::from(cell.text.as_str())));
                    let row = Json::Object(row.collect());
                    texts.extend(cells);
                    row
                })
                .collect();
            // As structured content, or as JSON in a text.
            if at % 9 == 1 {
                result(json!({"content": [], "structuredContent": {"rows": rows}}))
            } else {
                result(json!({"content": [{"type": "text", "text": json!({"rows": rows}).to_string()}]}))
            }
        }
        3 => {
            let mut lines = Vec::new();
            let columns: Vec<Option<Kind>> = (0..4).map(|_| kind(random).filter(|&kind| kind != Kind::PrivateKey)).collect();
            for row in 0..random.within(2, 5) {
                let cells: Vec<Text> = columns.iter().map(|&kind| cell(kind, random)).collect();
                if row == 0 {
                    lines.push(cells.iter().filter_map(|cell| cell.name.clone()).collect::<Vec<_>>().join(","));
                }
                lines.push(cells.iter().map(|cell| format!("\"{}\"", cell.text)).collect::<Vec<_>>().join(","));
                texts.extend(cells);
            }
            result(json!({"content": [{"type": "text", "text": lines.join("\n")}]}))
        }
        4 => {
            let mut log = Text::default();
            for _ in 0..random.within(1, 5) {
                log.push(&format!(
                    "2026-0{}-1{} 1{}:22:31.{:03} INFO  [worker-{}] ",
                    random.within(1, 9),
                    random.below(10),
                    random.below(10),
                    random.below(1000),
                    random.below(9)
                ));
                let kind = kind(random).filter(|&kind| kind != Kind::PrivateKey);
                if let Some(kind) = kind
                    && random.once_in(2)
                {
                    log.push(&format!("request done {}=", field(kind, random)));
                    log.value(kind, random);
                    log.push(&format!(" took={}ms", random.below(900)));
                } else {
                    log.append(prose(kind, random));
                }
                log.push("\n");
            }
            texts.push(log.clone());
            result(json!({"contents": [{"uri": "file:///var/log/app.log", "mimeType": "text/plain", "text": log.text}]}))
        }
        5 => {
            let kind = kind(random);
            let mut sql = Text::named("sql");
            match kind {
                Some(kind) => {
                    sql.push(&format!("SELECT * FROM people WHERE {} = '", field(kind, random)));
                    sql.value(kind, random);
                    sql.push("' LIMIT 10");
                }
                None => {
                    let (name, value) = negative(random);
                    sql.push(&format!("SELECT * FROM orders WHERE {name} = '{value}'"));
                }
            }
            texts.push(sql.clone());
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": sql.text}}})
        }
        6 => {
            let kind = kind(random);
            let error = prose(kind, random);
            texts.push(error.clone());
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": error.text}})
        }
        7 => {
            let mut lines = Text::default();
            for _ in 0..random.within(2, 5) {
                let kind = kind(random);
                let cell = cell(kind, random);
                lines.push(&format!("{}{}", cell.name.clone().unwrap_or_default(), random.pick(&[": ", " = ", "=", ":\t"])));
                lines.append(cell);
                lines.push("\n");
            }
            texts.push(lines.clone());
            result(json!({"content": [{"type": "resource", "resource": {"uri": "file:///etc/app.conf", "text": lines.text}}]}))
        }
        _ => {
            let arguments: Vec<Text> = (0..3)
                .map(|_| {
                    let kind = kind(random);
                    cell(kind, random)
                })
                .collect();
            let fields = arguments.iter().map(|cell| (cell.name.clone().unwrap_or_default(), Json::from(cell.text.as_str()))).collect();
            texts.extend(arguments);
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "create", "arguments": Json::Object(fields)}})
        }
    };
    Message { json: json.to_string(), texts }
}
