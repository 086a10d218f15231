#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod echo;
mod held;
mod oauth;
mod slot;
mod source;
mod withheld;
