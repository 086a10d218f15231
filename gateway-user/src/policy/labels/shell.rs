//! `shell:…`: what a shell command in an argument does. Read as bash does; nothing is run, so what a variable holds is not known.

mod command;
mod script;
mod word;

use super::{Arguments, Found, last_name, name_has};
use script::Shell;

const NAMES: [&str; 11] = ["command", "commands", "cmd", "cmds", "script", "scripts", "shell", "bash", "sh", "commandline", "argv"];
/// The arrays of these are one command's words; those of the others hold a command each.
const WORDS: [&str; 7] = ["command", "cmd", "args", "argv", "arguments", "commandline", "exec"];
/// Beside `args`, what they are given to.
const PROGRAMS: [&str; 7] = ["command", "cmd", "executable", "program", "binary", "exec", "shell"];

/// Commands by which a text is known to be one.
const KNOWN: [&str; 72] = [
    "rm",
    "sudo",
    "su",
    "doas",
    "curl",
    "wget",
    "sh",
    "bash",
    "zsh",
    "dash",
    "ksh",
    "eval",
    "dd",
    "chmod",
    "chown",
    "mkfs",
    "nc",
    "ncat",
    "socat",
    "python",
    "python3",
    "perl",
    "node",
    "ruby",
    "php",
    "find",
    "xargs",
    "env",
    "nohup",
    "busybox",
    "timeout",
    "time",
    "cat",
    "ls",
    "cp",
    "mv",
    "ln",
    "mkdir",
    "rmdir",
    "touch",
    "tee",
    "grep",
    "sed",
    "awk",
    "tar",
    "gzip",
    "unzip",
    "zip",
    "ssh",
    "scp",
    "rsync",
    "git",
    "docker",
    "kubectl",
    "npm",
    "npx",
    "pip",
    "apt",
    "apt-get",
    "yum",
    "systemctl",
    "kill",
    "pkill",
    "echo",
    "printf",
    "export",
    "source",
    "cd",
    "base64",
    "openssl",
    "shred",
    "exec",
];
/// Of them, those that no sentence holds behind a `;` or `|`.
const STRONG: [&str; 25] = [
    "rm", "sudo", "su", "doas", "curl", "wget", "sh", "bash", "zsh", "dash", "ksh", "eval", "dd", "chmod", "chown", "mkfs", "nc", "ncat",
    "python", "python3", "perl", "node", "xargs", "tee", "base64",
];
/// What follows a command's name in a command, and in a sentence seldom.
const SYNTAX: [&str; 12] = [" -", " /", "|", "&&", "$", "`", ">", "~/", "./", "://", "<", "*"];

/// Labels `text`, the argument at `path`, if it is a shell command.
pub(super) fn label(path: &str, text: &str, arguments: &Arguments, found: &mut Found) {
    let name = last_name(path);
    let is_item = !path.ends_with(name) && name_has(name, &WORDS);
    if is_item && name_has(name, &["args", "argv", "arguments"]) {
        // The array is looked at as a whole.
        return;
    }
    if name_has(name, &["args"]) && !is_item {
        if let Some(program) = beside(path, arguments) {
            Shell::new(found).run(&format!("{program} {text}"));
        }
        return;
    }
    if name_has(name, &NAMES) && !is_item {
        if !text.trim().is_empty() {
            Shell::new(found).run(text);
        }
        return;
    }
    let (is_known, is_strong) = telling(text);
    if is_known {
        let mut own = Found::default();
        if Shell::new(&mut own).run(text) || is_strong {
            found.more |= own.more;
            own.labels.into_iter().for_each(|label| found.push(label));
        }
    }
}

/// Labels an array that holds the words of a command.
pub(super) fn label_list(path: &str, items: &[String], arguments: &Arguments, found: &mut Found) {
    let name = last_name(path);
    let quoted = || items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(" ");
    if name_has(name, &["args", "argv", "arguments"])
        && let Some(program) = beside(path, arguments)
    {
        Shell::new(found).run(&format!("{program} {}", quoted()));
    } else if name_has(name, &WORDS) || items.first().is_some_and(|first| STRONG.contains(&command::base_name(first).as_str())) {
        Shell::new(found).run(&quoted());
    }
}

/// The program that the words at `path` are for: the string of such a name in the same object.
fn beside<'a>(path: &str, arguments: &'a Arguments) -> Option<&'a str> {
    let parent = |path: &str| path.rsplit_once('.').map_or(0, |(parent, _)| parent.len());
    let of = &path[..parent(path)];
    arguments
        .strings()
        .find(|(other, _)| other[..parent(other)] == *of && *other != path && PROGRAMS.contains(&last_name(other)))
        .map(|(_, text)| text)
}

fn quoted(item: &str) -> String {
    format!("'{}'", item.replace('\'', "'\\''"))
}

/// Whether a text of an argument with any name looks like a command, and whether nothing else looks so.
fn telling(text: &str) -> (bool, bool) {
    let first = first_command(text);
    if KNOWN.contains(&first.as_str()) {
        return (
            SYNTAX.iter().any(|syntax| text.contains(syntax)) || text.split_whitespace().nth(1).is_some_and(|next| KNOWN.contains(&next)),
            STRONG.contains(&first.as_str()),
        );
    }
    let bytes = text.as_bytes();
    let is_strong = |at: usize| {
        let rest = text[at + 1..].trim_start_matches([' ', '\t']);
        let rest = &rest[..rest.floor_char_boundary(64)];
        let end = rest.find([' ', '\t', '\n', ';', '|', '&', ')', '}']).unwrap_or(rest.len());
        STRONG.contains(&command::base_name(&rest[..end]).as_str())
    };
    (memchr::memchr3_iter(b';', b'|', b'&', bytes).chain(memchr::memchr2_iter(b'(', b'{', bytes)).any(is_strong), false)
}

/// The name of the first command, without quotes; empty if it is long.
fn first_command(text: &str) -> String {
    let mut words = text.trim_start_matches(|c: char| c.is_whitespace() || "({!".contains(c)).split_ascii_whitespace();
    let is_assignment =
        |word: &str| word.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let first = words.by_ref().take(8).find(|word| !is_assignment(word)).filter(|word| word.len() <= 64);
    first.map(|first| command::base_name(&first.replace(['\'', '"', '\\'], ""))).unwrap_or_default()
}
