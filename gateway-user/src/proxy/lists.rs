//! Lists of tools, prompts and resources, as a caller may see them: only what it may use.

use gateway_mask::Edit;

use super::{connection::Connection, forward::RAN, masks::Way, record, refusal::Refusal};
use crate::{
    audit::{Durability, Effect, Entry, Kind},
    config::OnToolChange,
    mcp::{self, List, Listing, Outcome, Response},
    policy::{Arguments, PolicySet},
    tools::{Definition, News},
};

/// What is changed in an answer before the caller gets it.
#[derive(Default)]
pub(super) struct Cut {
    pub edits: Vec<Edit>,
    /// The names of the entries that are taken out.
    pub withheld: Vec<String>,
}

impl Connection {
    /// Looks at an answer: learns what tools are, and finds what of it the caller may not see. `method` is that of the call that it answers;
    /// of an answer to a call that is not known any more, its shape decides.
    pub(super) async fn cut(&self, method: Option<&str>, response: &Response, data: &[u8], session: &str) -> Result<Cut, Refusal> {
        let Outcome::Result { span, .. } = &response.outcome else { return Ok(Cut::default()) };
        let unreadable = |what: String| {
            let message = format!("the server's answer was withheld: {what}");
            Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }
        };
        let policies = self.worker.shared.rules.policies();
        let lists = match method {
            Some("resources/read") => {
                let edit = policies.map(|_| mcp::made_private(data, *span)).transpose().map_err(unreadable)?;
                return Ok(Cut { edits: edit.flatten().into_iter().collect(), withheld: Vec::new() });
            }
            Some(method) => List::asked_by(method).map_or(&[][..], List::alone),
            None => &List::ALL,
        };
        let mut cut = Cut::default();
        for list in lists {
            let listing = match mcp::listing(data, *span, *list) {
                Ok(listing) => listing,
                Err(what) if policies.is_some() || self.config().on_tool_change != OnToolChange::Allow => return Err(unreadable(what)),
                // Nothing is decided by what it says.
                Err(_) => continue,
            };
            if *list == List::Tools {
                self.learn(&listing, data).await?;
            }
            if let Some(set) = &policies {
                let kept = self.usable(set, *list, &listing, session);
                cut.withheld.extend(listing.entries.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(entry, _)| entry.name.clone()));
                cut.edits.extend(listing.cuts(&kept));
            }
        }
        Ok(cut)
    }

    /// Which entries the caller may use, whatever arguments it gives.
    fn usable(&self, set: &PolicySet, list: List, listing: &Listing, session: &str) -> Vec<bool> {
        let tools = &self.worker.shared.rules.tools;
        let (facts, arguments) = (self.facts(None, session, None), Arguments::empty());
        let may_use = |name: &str| {
            let known = (list == List::Tools).then(|| tools.of(&self.config().name, name)).flatten();
            let facts = facts.clone().of(known.as_ref());
            set.may_use(&self.question(list.used_by(), Some(name), &arguments, &facts))
        };
        listing.entries.iter().map(|entry| may_use(&entry.name)).collect()
    }

    /// Takes note of what the server says its tools are. What is new is on record before anybody sees it.
    async fn learn(&self, listing: &Listing, data: &[u8]) -> Result<(), Refusal> {
        let shared = &self.worker.shared;
        let server = &self.config().name;
        let mut definitions = Vec::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            let definition = Definition::read(entry.span.of(data)).ok_or_else(|| {
                let message = format!("the server's answer was withheld: its definition of the tool `{}` cannot be read", entry.name);
                Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }
            })?;
            definitions.push(definition);
        }
        let (news, kept) = shared.rules.tools.seen(server, &definitions);
        if let Err(error) = kept {
            tracing::error!(
                server,
                "what is known of tools cannot be kept: {error}; after a restart, their next definition counts as the first"
            );
        }
        for (definition, news) in news {
            let before = match news {
                News::New => None,
                News::Changed { before } => Some(before),
            };
            let text =
                listing.entries.iter().find(|entry| entry.name == definition.name).map(|entry| entry.span.of(data)).unwrap_or_default();
            let masks = [self.masks_of_anything()];
            let body = record::Tool::new(server, definition, before, text, &self.veil(Way::Down(&masks), ""));
            if before.is_some() {
                tracing::warn!(server, tool = body.tool.as_str(), "the server has changed what it says of its tool");
            }
            let entry = Entry { kind: Kind::Tool, body: record::bytes(&body), effect: Effect::None };
            shared.audit.append(entry, Durability::Os).await?;
        }
        Ok(())
    }
}
