//! Finds sensitive values in MCP messages, by place and by kind, and says what takes their place.
//!
//! Pure: bytes in, edits out; no clock, no socket, no file, no runtime.
#![forbid(unsafe_code)]

mod change;
mod control;
mod detect;
mod edit;
mod follow;
mod hits;
mod how;
mod json;
mod kind;
mod layer;
mod masker;
mod name;
mod outcome;
mod parts;
mod pass;
mod path;
mod places;
mod rule;
mod sql;
mod table;
mod tables;
mod text;
mod trail;
mod walk;
mod window;

pub use detect::{Detectors, Found, Hit, Own, OwnError, Validator, Wanted};
pub use edit::{Edit, applied};
pub use follow::Followed;
pub use kind::Kind;
pub use masker::Masker;
pub use name::Names;
pub use outcome::{Controls, Failure, Form, Keys, Mac, Mark, Masked};
pub use rule::{How, Rule, RuleError, What};
pub use sql::{Positions, Renamed, renamed};
pub use table::{Cell, Quoting, cells};
pub use window::{Passed, Window};
