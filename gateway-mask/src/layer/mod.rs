//! Encodings of text within text.

pub(crate) mod base64;
mod charset;
mod decoded;
mod gzip;
pub(crate) mod percent;
mod url;

pub(crate) use charset::Charset;
pub(crate) use decoded::{Decoded, latin1};
pub(crate) use gzip::{Gunzip, gunzip, gzip};
