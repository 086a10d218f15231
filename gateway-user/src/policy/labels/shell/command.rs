//! What one command does, by its name and words.

use super::{
    STRONG,
    script::{Input, Shell},
    word::Word,
};

/// Commands that run the one behind them: their one-letter options that take a value, and how many words of their own they have first.
const WRAPPERS: [(&str, &str, usize); 30] = [
    ("sudo", "ugpCDTRrthU", 0),
    ("doas", "uC", 0),
    ("pkexec", "", 0),
    ("env", "uC", 0),
    ("nohup", "", 0),
    ("time", "fo", 0),
    ("nice", "n", 0),
    ("ionice", "cnpPu", 0),
    ("timeout", "sk", 1),
    ("gtimeout", "sk", 1),
    ("stdbuf", "ioe", 0),
    ("setsid", "", 0),
    ("xargs", "IiLlnPsadE", 0),
    ("busybox", "", 0),
    ("toybox", "", 0),
    ("command", "", 0),
    ("builtin", "", 0),
    ("exec", "a", 0),
    ("chroot", "", 1),
    ("flock", "wE", 1),
    ("unshare", "", 0),
    ("nsenter", "tSG", 0),
    ("strace", "oepPs", 0),
    ("ltrace", "oep", 0),
    ("watch", "nd", 0),
    ("parallel", "jIn", 0),
    ("runuser", "ug", 0),
    ("caffeinate", "tw", 0),
    ("taskset", "", 1),
    ("chrt", "", 1),
];
const SHELLS: [&str; 12] = ["sh", "bash", "zsh", "dash", "ksh", "mksh", "ash", "fish", "csh", "tcsh", "rbash", "hush"];
const INTERPRETERS: [&str; 11] = ["python", "perl", "node", "nodejs", "ruby", "php", "lua", "osascript", "deno", "pwsh", "powershell"];
const PRIVILEGE: [&str; 6] = ["sudo", "su", "doas", "pkexec", "runuser", "sudoedit"];
const DOWNLOADS: [&str; 12] = ["curl", "wget", "aria2c", "axel", "lwp-request", "fetch", "ftp", "sftp", "scp", "httpie", "http", "xh"];
const STDIN: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
/// More commands than one line has, behind one another's names.
const STARTS: usize = 64;

/// The last part of a program's path, in lower case.
pub(super) fn base_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.strip_suffix(".exe").map_or(name.clone(), str::to_owned)
}

/// Whether nothing is kept or harmed by writing there.
pub(super) fn is_harmless_device(path: &str) -> bool {
    let Some(device) = path.strip_prefix("/dev/") else { return false };
    matches!(device, "null" | "stdout" | "stderr" | "stdin" | "tty" | "zero" | "full")
        || device.starts_with("fd/")
        || device.starts_with("pts/")
}

/// Labels a command, and those that it is given to run.
pub(super) fn label(shell: &mut Shell<'_>, words: &[Word], input: &Input) {
    let mut fetched = Vec::with_capacity(words.len());
    for word in words {
        let fetches: Vec<bool> = word.runs.iter().map(|run| shell.nested(run)).collect();
        fetched.push(fetches.contains(&true));
    }
    for text in &input.texts {
        text.runs.iter().for_each(|run| {
            shell.nested(run);
        });
    }
    let mut starts = vec![0];
    let mut scanned = false;
    let mut next = 0;
    while let Some(&start) = starts.get(next) {
        next += 1;
        let Some(rest) = words.get(start..).filter(|rest| !rest.is_empty()) else { continue };
        if starts.len() > STARTS {
            shell.found.add("shell:unparsed");
            return;
        }
        let mut one = One { shell, words: rest, fetched: fetched.get(start..).unwrap_or_default(), input };
        if let Some(behind) = one.label() {
            let mut add = |start| {
                if !starts.contains(&start) {
                    starts.push(start)
                }
            };
            add(start + behind);
            // An option's value may have been taken for the command: whatever else may be one is looked at too.
            if behind > 0 && is_wrapper(&rest[0].text) && !std::mem::replace(&mut scanned, true) {
                let strong = (start + 1..words.len()).filter(|at| STRONG.contains(&base_name(&words[*at].text).as_str()));
                strong.take(STARTS).for_each(add);
            }
        }
    }
}

fn is_wrapper(name: &str) -> bool {
    let name = base_name(name);
    WRAPPERS.iter().any(|(wrapper, ..)| *wrapper == name)
}

struct One<'a, 'b> {
    shell: &'a mut Shell<'b>,
    words: &'a [Word],
    /// Which words hold what another command fetches from a network.
    fetched: &'a [bool],
    input: &'a Input,
}

impl One<'_, '_> {
    /// Says how many words on another command begins.
    fn label(&mut self) -> Option<usize> {
        let first = &self.words[0];
        if first.is_dynamic || first.text.contains(['*', '?', '[']) && first.text != "[" && first.text != "[[" {
            self.add("shell:dynamic");
        }
        if self.fetched[0] || first.is_pipe {
            self.add("shell:pipe-to-shell");
        }
        // A variable that holds nothing is no word.
        if first.text.is_empty() {
            return Some(1);
        }
        let name = base_name(&first.text);
        self.shell.found.name("shell:command:", &name);
        let name = name.as_str();
        if PRIVILEGE.contains(&name) {
            self.add("shell:privilege");
        }
        if DOWNLOADS.contains(&name) {
            self.add("shell:download");
        }
        self.devices(name);
        if let Some((_, options, own)) = WRAPPERS.iter().find(|(wrapper, ..)| *wrapper == name) {
            return self.wrapped(name, options, *own);
        }
        if SHELLS.contains(&name) {
            self.shell_call();
        } else if INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
            self.interpreter();
        }
        match name {
            "rm" if self.words[1..].iter().any(|word| is_recursive(&word.text)) => self.add("shell:recursive-delete"),
            "find" => self.find(),
            "chmod" if self.words[1..].iter().any(|word| is_world_writable(&word.text)) => self.add("shell:chmod-world"),
            "eval" => {
                let text = self.words[1..].iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
                if self.words[1..].iter().any(|word| !word.runs.is_empty()) {
                    self.add("shell:pipe-to-shell");
                }
                self.nested(&text);
            }
            "source" | "." if self.words.get(1).is_some_and(is_input) => self.add("shell:pipe-to-shell"),
            "trap" | "alias" => self.words[1..].iter().take(8).for_each(|word| {
                let text = if name == "alias" { word.text.split_once('=').map_or("", |(_, text)| text) } else { &word.text };
                if text.contains(' ') {
                    self.shell.nested(text);
                }
            }),
            "su" => self.values_of(&["-c", "--command"]),
            "ssh" => {
                let text = self.words[1..].iter().skip_while(|word| word.text.starts_with('-')).skip(1).map(|word| word.text.as_str());
                let text = text.collect::<Vec<_>>().join(" ");
                self.nested(&text);
            }
            _ => {}
        }
        None
    }

    fn add(&mut self, label: &'static str) {
        self.shell.found.add(label);
    }

    fn nested(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.shell.nested(text);
        }
    }

    fn wrapped(&mut self, name: &str, options: &str, own: usize) -> Option<usize> {
        self.values_of(&["-c", "-S", "--command", "--split-string"]);
        let mut own = own;
        let mut at = 1;
        while let Some(word) = self.words.get(at) {
            let text = word.text.as_str();
            let is_assignment =
                text.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            if text == "--" || is_assignment && matches!(name, "env" | "sudo" | "doas") {
            } else if let Some(letters) = text.strip_prefix('-') {
                let takes_value = letters.len() == 1 && options.contains(letters);
                at += usize::from(takes_value);
            } else if own > 0 {
                own -= 1;
            } else {
                break;
            }
            at += 1;
        }
        let command = self.words.get(at)?;
        if name == "xargs" && matches!(base_name(&command.text).as_str(), "rm" | "unlink" | "shred") {
            self.add("shell:recursive-delete");
        }
        if command.text.contains(' ') {
            self.nested(&command.text);
        }
        Some(at)
    }

    /// The scripts that options hold.
    fn values_of(&mut self, options: &[&str]) {
        for (at, word) in self.words.iter().enumerate().skip(1) {
            let text = word.text.as_str();
            let value = match text.split_once('=') {
                Some((option, value)) if options.contains(&option) => Some(value),
                _ if options.contains(&text) => self.words.get(at + 1).map(|next| next.text.as_str()),
                _ => None,
            };
            // Other commands have such options too: what is no script has one word.
            if let Some(value) = value.filter(|value| value.contains(' ')) {
                self.shell.nested(value);
            }
        }
    }

    fn shell_call(&mut self) {
        let mut has_script = false;
        let mut at = 1;
        while let Some(word) = self.words.get(at) {
            let text = word.text.as_str();
            if STDIN.contains(&text) || word.is_pipe {
                break;
            }
            let Some(letters) = text.strip_prefix(['-', '+']) else { break };
            if !text.starts_with("--") {
                has_script |= letters.contains('c');
                at += usize::from(letters.ends_with('o') || letters.ends_with('O'));
            } else if matches!(text, "--rcfile" | "--init-file") {
                at += 1;
            }
            at += 1;
        }
        let reads_options = self.words[1..at.min(self.words.len())]
            .iter()
            .any(|word| word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains('s'));
        match self.words.get(at) {
            Some(script) if has_script => {
                let begins = !script.runs.is_empty() && script.text.trim().is_empty();
                if begins || self.fetched.get(at) == Some(&true) {
                    self.add("shell:pipe-to-shell");
                }
                let text = script.text.clone();
                self.nested(&text);
            }
            Some(operand) if is_pipe(operand) => self.add("shell:pipe-to-shell"),
            Some(operand) if !is_input(operand) && !reads_options => {}
            _ => self.standard_input(true),
        }
    }

    fn interpreter(&mut self) {
        if self.fetched[1..].contains(&true) {
            self.add("shell:pipe-to-shell");
        }
        let has_code = self.words[1..].iter().any(|word| {
            matches!(word.text.as_str(), "-c" | "-e" | "-E" | "-r" | "-m" | "-p" | "-n" | "-ne" | "-pe" | "-ane" | "eval" | "-command")
        });
        match self.words[1..].iter().find(|word| !word.text.starts_with('-') || STDIN.contains(&word.text.as_str())) {
            Some(operand) if is_pipe(operand) => self.add("shell:pipe-to-shell"),
            Some(operand) if !is_input(operand) => {}
            _ if has_code => {}
            _ => self.standard_input(false),
        }
    }

    /// The script comes on standard input.
    fn standard_input(&mut self, is_shell: bool) {
        if self.input.is_piped || self.input.texts.iter().any(|text| !text.runs.is_empty()) {
            self.add("shell:pipe-to-shell");
        }
        for text in self.input.texts.iter().filter(|_| is_shell) {
            self.nested(&text.text);
        }
    }

    fn find(&mut self) {
        for (at, word) in self.words.iter().enumerate() {
            match word.text.as_str() {
                "-delete" => self.add("shell:recursive-delete"),
                "-exec" | "-execdir" | "-ok" | "-okdir" => {
                    let rest = &self.words[at + 1..];
                    let end = rest.iter().position(|word| word.text == ";" || word.text == "+").unwrap_or(rest.len());
                    let names: Vec<String> = rest[..end].iter().take(STARTS).map(|word| base_name(&word.text)).collect();
                    if names.iter().any(|name| matches!(name.as_str(), "rm" | "unlink" | "shred" | "rmdir")) {
                        self.add("shell:recursive-delete");
                    }
                    let text =
                        rest[..end].iter().map(|word| format!("'{}'", word.text.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ");
                    self.nested(&text);
                }
                _ => {}
            }
        }
    }

    /// Writing to what a disk is seen as.
    fn devices(&mut self, name: &str) {
        let is_device = |path: &str| path.starts_with("/dev/") && !is_harmless_device(path) && !path.starts_with("/dev/shm/");
        let operands = || self.words[1..].iter().map(|word| word.text.as_str());
        let writes = match name {
            "dd" => operands().filter_map(|word| word.strip_prefix("of=")).any(is_device),
            "tee" | "shred" | "wipefs" | "blkdiscard" | "fdisk" | "parted" | "sgdisk" | "sfdisk" => operands().any(is_device),
            "cp" | "mv" | "install" => operands().next_back().is_some_and(is_device),
            _ => name == "mkfs" || name.starts_with("mkfs.") || name == "mkswap",
        };
        if writes {
            self.add("shell:device-write");
        }
    }
}

fn is_pipe(word: &Word) -> bool {
    word.is_pipe
}

fn is_input(word: &Word) -> bool {
    word.is_pipe || STDIN.contains(&word.text.as_str())
}

fn is_recursive(option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => !long.is_empty() && "recursive".starts_with(&long.to_ascii_lowercase()),
        None => option.strip_prefix('-').is_some_and(|letters| letters.contains(['r', 'R'])),
    }
}

/// `777`, `o+w`, `a=rwx`.
fn is_world_writable(mode: &str) -> bool {
    let bytes = mode.as_bytes();
    if (1..=5).contains(&bytes.len()) && bytes.iter().all(|byte| (b'0'..=b'7').contains(byte)) {
        return matches!(bytes.last(), Some(b'2' | b'3' | b'6' | b'7'));
    }
    mode.split(',').any(|clause| {
        let Some(at) = clause.find(['+', '=']) else { return false };
        let (who, what) = clause.split_at(at);
        who.bytes().all(|byte| b"ugoa".contains(&byte))
            && who.contains(['o', 'a'])
            && what.contains('w')
            && what[1..].bytes().all(|byte| b"rwxXst+=-".contains(&byte))
    })
}
