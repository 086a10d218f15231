//! End-to-end tests.

pub mod clinic;
