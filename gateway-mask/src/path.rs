//! JSONPath (RFC 9535), from the nodes of a tree back to the spans of the text.

use std::collections::HashMap;

use serde_json::Value;
use serde_json_path::{JsonPath, NormalizedPath, PathElement};

/// A query.
#[derive(Debug)]
pub(crate) struct Path {
    query: JsonPath,
    /// It begins with `$.result.structuredContent`: then it holds for the copy of that as text, too.
    structured: bool,
}

impl Path {
    pub(crate) fn new(path: &str) -> Result<Path, String> {
        let query = JsonPath::parse(path).map_err(|error| error.to_string())?;
        let plain = path.replace("['", ".").replace("[\"", ".");
        let structured = plain.starts_with("$.result.structuredContent") || plain.starts_with("$..") || plain.starts_with("$.*");
        Ok(Path { query, structured })
    }
}

/// Which rules select the nodes of a tree: a tree of its own, with a node for each selected one and those above it.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pub(crate) rule: Option<usize>,
    members: HashMap<String, Selected>,
    items: HashMap<usize, Selected>,
}

impl Selected {
    /// What the queries select in a value.
    pub(crate) fn of(paths: &[(Path, usize)], value: &Value) -> Selected {
        let mut root = Selected::default();
        for (path, rule) in paths {
            path.query.query_located(value).iter().for_each(|node| root.add(node.location(), *rule));
        }
        root
    }

    /// What the queries for `structuredContent` select in a text that is a copy of it.
    pub(crate) fn of_copy(paths: &[(Path, usize)], copy: Value) -> Option<Selected> {
        let value = serde_json::json!({ "result": { "structuredContent": copy } });
        let mut root = Selected::default();
        for (path, rule) in paths.iter().filter(|(path, _)| path.structured) {
            path.query.query_located(&value).iter().for_each(|node| root.add(node.location(), *rule));
        }
        root.members.remove("result")?.members.remove("structuredContent")
    }

    fn add(&mut self, path: &NormalizedPath<'_>, rule: usize) {
        let node = path.iter().fold(self, |node, element| match element {
            PathElement::Name(name) => node.members.entry((*name).to_owned()).or_default(),
            PathElement::Index(index) => node.items.entry(*index).or_default(),
        });
        node.rule = Some(node.rule.map_or(rule, |earlier| earlier.min(rule)));
    }

    pub(crate) fn member(&self, key: &str) -> Option<&Selected> {
        self.members.get(key)
    }

    pub(crate) fn item(&self, index: usize) -> Option<&Selected> {
        self.items.get(&index)
    }
}
