//! The engine: what is selected, what takes its place, and what stays.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod help;
mod places;
mod properties;
mod replacements;
mod streams;
