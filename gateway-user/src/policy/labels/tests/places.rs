use super::{Rule, check, labels};

const PATHS: &[Rule] = &[
    (
        "path:absolute",
        &["/a", "/etc/passwd", "C:\\Users\\x", "c:/x", "\\\\host\\share", "file:///a", "%2Fetc%2Fpasswd"],
        &["a", "a/b", "http://h/a", "//comment", "1/2"],
    ),
    (
        "path:traversal",
        &["../a", "a/../../b", "..\\a", "/a/../b", "%2e%2e/a", "..%2f..%2fa", "%252e%252e%252fa", "file:///a/../b"],
        &["a/b", "a..b", "wait...", "./a"],
    ),
    ("path:home", &["~", "~/a", "~root/x", "$HOME/x", "${HOME}/x"], &["a~", "/home/x", "a/~b"]),
    (
        "path:system",
        &[
            "/etc/passwd",
            "/usr/bin/x",
            "/proc/1/mem",
            "/sys/x",
            "/dev/sda",
            "/boot/vmlinuz",
            "/a/../etc/x",
            "/./etc//x",
            "../../../etc/passwd",
            "C:\\Windows\\x",
            "file:///etc/x",
            "/%65tc/x",
        ],
        &["/home/x", "/etcetera", "etc/x", "/srv/etc", "C:\\Users\\x"],
    ),
    (
        "path:secrets",
        &[
            "~/.ssh/id_rsa",
            "/home/x/.ssh/config",
            "~/.aws/credentials",
            "/etc/shadow",
            ".env",
            "/srv/app/.env",
            ".env.production",
            "~/.kube/config",
            "~/.netrc",
            "/a/b.pem",
            "server.key",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "/var/run/docker.sock",
            "/proc/self/environ",
            "file:///root/.ssh/id_ed25519",
            "%2e%65nv",
            "/a/.SSH/x",
            "/home/x/.config/gcloud/credentials.db",
            "~/.gnupg/x",
            "/a/x.pem\0.txt",
            "\\\\h\\c$\\.aws\\x",
        ],
        &["/home/x/env", "/a/shadows", ".env.example", "key", "a.keys", "/a/.sshx/b", "my credentials", "/home/x/a.txt"],
    ),
];

const URLS: &[Rule] = &[
    (
        "url:private",
        &[
            "http://127.0.0.1/",
            "http://localhost:80",
            "http://10.1.2.3/a",
            "https://192.168.0.1",
            "http://172.16.0.1",
            "http://169.254.1.1",
            "http://100.64.0.1",
            "http://0.0.0.0",
            "http://0/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fc00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[2002:7f00:1::]/",
            "see (http://10.0.0.1).",
            "ftp://127.0.0.1/",
            "redis://2130706433:6379",
            "http://LOCALHOST./",
            "http://a@10.0.0.1/",
            "http:\u{ff0f}\u{ff0f}x http://\u{2460}27.0.0.1/",
            "http://a.internal/",
        ],
        &[
            "http://8.8.8.8/",
            "https://example.com/?a=10.0.0.1",
            "http://172.32.0.1",
            "http://100.128.0.1",
            "http://[2001:db8::1]/",
            "10.0.0.1",
            "http://localhost.example.com/",
        ],
    ),
    (
        "url:metadata",
        &[
            "http://169.254.169.254/latest/meta-data/",
            "http://[fd00:ec2::254]/",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/",
            "http://metadata.google.internal/",
            "http://100.100.100.200/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[::ffff:169.254.169.254]/",
            "http://METADATA.google.internal./",
            "get http://169.254.169.254, now",
        ],
        &["http://169.254.1.1/", "http://example.com/169.254.169.254", "http://metadata.example.com/", "http://100.100.100.201/"],
    ),
    ("url:credentials", &["http://u:p@h/", "https://u@h/", "postgres://u:p@h/db"], &["http://h/@x", "http://h/?a=u:p@h", "mailto:a@b"]),
    ("url:plain", &["http://h/", "HTTP://h", "ws://h/"], &["https://h/", "wss://h/", "http is plain", "http:h"]),
    ("url:file", &["file:///etc/passwd", "FILE://h/a", "file:/a", "x file:///a"], &["http://h/file", "profile://x", "a file: b"]),
    (
        "url:host:example.com",
        &["https://example.com/", "http://EXAMPLE.com:8080", "(see https://example.com)", "wss://u@example.com."],
        &["https://example.com.evil.org/", "example.com", "https://h/example.com"],
    ),
];

#[test]
fn paths_are_labelled_by_where_they_lead() {
    check("text", PATHS);
}

#[test]
fn urls_are_labelled_by_where_they_lead() {
    check("text", URLS);
}

#[test]
fn a_url_is_no_path() {
    assert!(!labels("text", "https://example.com/etc/x").contains("path:absolute"));
    assert!(!labels("text", "/ is what one divides by, and so it is not a path").contains("path:absolute"));
}
