//! `path:…`: files that an argument names.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::Found;

/// Longer texts are no path (`PATH_MAX`, in bytes, with room for percent-encoding).
const LONGEST: usize = 3 * 4096;
const SYSTEM: [&str; 11] = ["etc", "usr", "boot", "proc", "sys", "dev", "bin", "sbin", "lib", "lib64", "root"];
/// Directories whose contents are secrets.
const SECRET_DIRS: [&str; 7] = [".ssh", ".aws", ".gnupg", ".azure", ".kube", "secrets.d", ".password-store"];
/// Files that are secrets, wherever they stand.
const SECRET_FILES: [&str; 26] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    ".dockercfg",
    "shadow",
    "shadow-",
    "gshadow",
    "sudoers",
    "credentials",
    "credentials.json",
    "credentials.db",
    "docker.sock",
    "containerd.sock",
    "podman.sock",
    "secrets.yml",
    "secrets.yaml",
    "secrets.json",
];
const SECRET_ENDINGS: [&str; 7] = [".pem", ".key", ".pfx", ".p12", ".jks", ".keystore", ".kdbx"];

/// Labels `text` if it is a path as a whole.
pub(super) fn label(text: &str, found: &mut Found) {
    let text = text.trim();
    let could_be = text.len() <= LONGEST && memchr::memchr3(b'/', b'\\', b'.', text.as_bytes()).is_some() && !text.contains(['\n', '\t']);
    if !could_be && !text.starts_with('~') && !is_percent_encoded(text) {
        return;
    }
    // A sentence may begin with a slash or hold two dots: it names no file that policies are about.
    if text.split(' ').nth(8).is_some() {
        return;
    }
    one(text, found);
    if let Cow::Owned(decoded) = decoded(text) {
        one(&decoded, found);
    }
}

fn is_percent_encoded(text: &str) -> bool {
    text.len() <= LONGEST && memchr::memchr(b'%', text.as_bytes()).is_some() && !text.contains(' ')
}

/// What encoding layers hide: three are taken off, which is one more than servers do.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut decoded = Cow::Borrowed(text);
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return decoded;
    }
    for _ in 0..3 {
        match percent_decode_str(&decoded).decode_utf8_lossy() {
            Cow::Borrowed(_) => break,
            Cow::Owned(once) => decoded = Cow::Owned(once),
        }
    }
    decoded
}

fn one(text: &str, found: &mut Found) {
    let lower = text.to_lowercase();
    let (path, is_url) = match lower.strip_prefix("file:") {
        Some(rest) => (rest.trim_start_matches("//").trim_start_matches("localhost"), true),
        None => (lower.as_str(), false),
    };
    let drive = path.trim_start_matches('/').as_bytes();
    let is_windows = matches!(drive, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic()) || path.starts_with("\\\\");
    let is_absolute = path.starts_with('/') && !path.starts_with("//") || path.starts_with("///") || is_windows || is_url;
    let is_home = path.starts_with('~') || path.starts_with("$home") || path.starts_with("${home}") || path.starts_with("%userprofile%");
    let has_parent = path.split(['/', '\\']).any(|segment| segment.trim_end_matches(' ') == "..");
    let segments = normal(path);
    if is_absolute {
        found.add("path:absolute");
    }
    if has_parent && (path.contains(['/', '\\']) || path == "..") {
        found.add("path:traversal");
    }
    if is_home {
        found.add("path:home");
    }
    let first = segments.first().map_or("", |segment| segment.as_ref());
    let is_system = if is_windows {
        segments.get(1).is_some_and(|second| matches!(second.as_ref(), "windows" | "winnt" | "programdata"))
            || path.starts_with("\\\\.\\")
            || path.starts_with("\\\\?\\globalroot")
    } else {
        SYSTEM.contains(&first)
    };
    if is_system && (is_absolute || has_parent) {
        found.add("path:system");
    }
    let named = is_absolute || has_parent || is_home || segments.len() > 1 || !path.contains(' ');
    if named && is_secret(&segments) {
        found.add("path:secrets");
    }
}

/// The segments that are left when `.`, `..` and empty ones are resolved; `..` at the beginning leads to the root at worst.
fn normal(path: &str) -> Vec<Cow<'_, str>> {
    let mut segments = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment.trim_end_matches('\0') {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(Cow::Borrowed(segment)),
        }
    }
    segments
}

fn is_secret(segments: &[Cow<'_, str>]) -> bool {
    let Some(last) = segments.last() else { return false };
    // What follows a NUL is not seen by the system call; Windows cuts `::$DATA` and dots.
    let last = last.split('\0').next().unwrap_or_default();
    let last = last.split("::").next().unwrap_or_default();
    let joined = segments.join("/");
    segments.iter().any(|segment| SECRET_DIRS.contains(&segment.as_ref()))
        || SECRET_FILES.contains(&last)
        || last == ".env"
        || last.starts_with(".env.") && !matches!(last, ".env.example" | ".env.sample" | ".env.template")
        || SECRET_ENDINGS.iter().any(|ending| last.ends_with(ending) && last.len() > ending.len())
        || joined.contains("run/secrets/")
        || joined.ends_with("run/secrets")
        || joined.contains(".config/gcloud")
        || joined.contains(".docker/config.json")
        || joined.starts_with("proc/") && matches!(last, "environ" | "mem" | "kcore")
        || joined.ends_with("windows/system32/config/sam")
}
