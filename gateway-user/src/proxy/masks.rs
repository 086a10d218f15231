//! Which masks are for a message: those of the call that it belongs to.

use std::sync::Arc;

use gateway_mask::{Followed, Masked};

use super::{connection::Connection, refusal::Refusal, veil::Veil};
use crate::{
    mask::{About, Plan, Side},
    mcp::Message,
};

const UNFOLLOWED: &str =
    "Write the query so that each column of its result is named by the query itself, or ask the operator of the gateway.";

/// The masks of one call, in both directions.
pub(super) struct CallMasks {
    up: Arc<Plan>,
    down: Arc<Plan>,
    /// As `down`, with rules of columns that look for every kind: for an answer that has a column and does not name it.
    nameless: Arc<Plan>,
    /// What the call's query names the columns of its answer, for each reader.
    record: Followed,
    client: Followed,
    /// There is nothing to follow in a request.
    none: Followed,
}

impl CallMasks {
    fn of(up: Arc<Plan>, down: Arc<Plan>) -> Self {
        let none = Followed::default;
        CallMasks { up, nameless: down.clone(), down, record: none(), client: none(), none: none() }
    }
}

/// The masks of one reader, as they are for a message.
#[derive(Clone, Copy)]
pub(super) struct Applied<'a> {
    pub side: &'a Side,
    pub followed: &'a Followed,
    /// What masks a message that has a column of the rules and does not name it.
    pub nameless: Option<&'a Side>,
}

impl<'a> Applied<'a> {
    fn down(side: &'a Side, followed: &'a Followed, nameless: &'a Side) -> Self {
        Applied { side, followed, nameless: followed.carries().then_some(nameless) }
    }

    /// What is masked of a message, by what masks it for one set of rules.
    pub(super) fn mask<E>(self, mask: impl Fn(&Side) -> Result<Masked, E>) -> Result<Masked, E> {
        let masked = mask(self.side)?;
        match self.nameless {
            Some(nameless) if !self.side.found_columns(&masked) => mask(nameless),
            _ => Ok(masked),
        }
    }
}

/// Which way a message goes, and for what calls' sake. Mostly it is one; of several, the masks of all apply.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    Up(&'a [Arc<CallMasks>]),
    Down(&'a [Arc<CallMasks>]),
}

impl<'a> Way<'a> {
    pub(super) fn record(self) -> Vec<Applied<'a>> {
        let up = |masks: &'a Arc<CallMasks>| Applied { side: &masks.up.up.record, followed: &masks.none, nameless: None };
        let down = |masks: &'a Arc<CallMasks>| Applied::down(&masks.down.down.record, &masks.record, &masks.nameless.down.record);
        match self {
            Way::Up(masks) => masks.iter().map(up).collect(),
            Way::Down(masks) => masks.iter().map(down).collect(),
        }
    }

    pub(super) fn reader(self) -> (&'static str, Vec<Applied<'a>>) {
        let up = |masks: &'a Arc<CallMasks>| Applied { side: &masks.up.up.reader, followed: &masks.none, nameless: None };
        let down = |masks: &'a Arc<CallMasks>| Applied::down(&masks.down.down.reader, &masks.client, &masks.nameless.down.reader);
        match self {
            Way::Up(masks) => ("server", masks.iter().map(up).collect()),
            Way::Down(masks) => ("client", masks.iter().map(down).collect()),
        }
    }
}

impl Connection {
    /// The masks of what belongs to no call that is known: all that could be for it.
    pub(super) fn masks_of_anything(&self) -> Arc<CallMasks> {
        let plan = self.worker.shared.masking.plan(&self.about(None, None));
        CallMasks::of(plan.clone(), plan).into()
    }

    /// The masks of an answer to a call that is not known any more, nor what its query called its columns.
    pub(super) fn masks_of_an_answer(&self) -> Arc<CallMasks> {
        let masking = &self.worker.shared.masking;
        let plan = masking.plan(&self.about(None, None));
        let down = masking.widened(&plan);
        CallMasks::of(plan, down).into()
    }

    /// The masks of the messages of a POST, each once, and those of each message in its order.
    ///
    /// # Errors
    /// Columns of an answer are to be masked, it cannot be told what the query calls them, and a rule refuses that.
    pub(super) fn masks(&self, body: &[u8], messages: &[Message]) -> Result<Vec<Arc<CallMasks>>, Refusal> {
        messages.iter().map(|message| self.masks_of(body, message)).collect()
    }

    fn masks_of(&self, body: &[u8], message: &Message) -> Result<Arc<CallMasks>, Refusal> {
        let masking = &self.worker.shared.masking;
        let (method, tool) = match message {
            Message::Request(request) => (request.method.as_str(), request.name.as_deref().filter(|_| request.method == "tools/call")),
            // Whatever they belong to, it is not told here.
            Message::Notification(_) | Message::Response(_) => return Ok(self.masks_of_anything()),
        };
        let plan = masking.plan(&self.about(Some(method), tool));
        let (record, client) = (plan.down.record.follow(body), plan.down.reader.follow(body));
        let unfollowed = record.unfollowed().or(client.unfollowed());
        if let (Some(why), Some(rule)) = (unfollowed, &plan.refuses_unfollowed) {
            let message =
                format!("columns of the answer are masked by the rule `{rule}`, and it cannot be told what they would be called: {why}");
            return Err(Refusal::client(403, "masking", message, UNFOLLOWED));
        }
        let is_told = unfollowed.is_none();
        let nameless = if is_told && !record.carries() && !client.carries() { plan.clone() } else { masking.widened(&plan) };
        let down = if is_told { plan.clone() } else { nameless.clone() };
        Ok(CallMasks { nameless, record, client, ..CallMasks::of(plan, down) }.into())
    }

    fn about<'a>(&'a self, method: Option<&'a str>, tool: Option<&'a str>) -> About<'a> {
        About { identity: self.identity(), server: self.known().map(|server| server.name.as_str()), method, tool }
    }

    pub(super) fn veil<'a>(&'a self, way: Way<'a>, session: &'a str) -> Veil<'a> {
        let shared = &self.worker.shared;
        let server = self.known().map_or("", |server| &server.name);
        Veil::new(&shared.masking, way, server, session, shared.config.audit.max_body)
    }
}
