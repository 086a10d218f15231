#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{Reader, TokenScope, Way, parse};

const SERVER: &str = "[endpoint]\n[[server]]\nname = \"clinic-db\"\nurl = \"http://127.0.0.1:9/\"\n";

fn faults(rule: &str) -> String {
    parse("gateway.toml", &format!("{SERVER}{rule}")).map(|_| String::new()).unwrap_or_else(|errors| errors.to_string())
}

#[test]
fn a_rule_has_defaults() {
    let config = parse("gateway.toml", &format!("{SERVER}[[mask]]\ncolumns = [\"ssn\"]\n")).unwrap().masking;
    let rule = &config.rules[0];
    assert_eq!(
        (rule.rule.name.as_str(), &rule.ways[..], &rule.to[..]),
        ("mask-1", &[Way::Up, Way::Down][..], &[Reader::Record, Reader::Client][..])
    );
    assert_eq!((config.tokens, config.secrets, config.joins_pieces), (TokenScope::Session, true, false));
    assert_eq!(config.key_file.to_str(), Some("/var/lib/mcp-gateway/masking/key"));
}

#[test]
fn a_rule_that_can_never_match_is_refused() {
    for (rule, expected) in [
        ("server = \"vault\"\nkinds = [\"card\"]", "gateway.toml:6: mask.server: no server is called `vault`"),
        ("method = \"ping\"\ntool = \"query\"\nkinds = [\"card\"]", "mask.method: `ping` is not tools/call"),
        ("on = \"request\"\nto = [\"client\"]\nkinds = [\"card\"]", "mask.to: a client reads responses"),
        ("on = \"response\"\nto = [\"record\", \"server\"]\nkinds = [\"card\"]", "mask.to: a client reads responses"),
        ("to = []\nkinds = [\"card\"]", "mask.to"),
        ("paths = [\"$[\"]", "mask.paths: the mask rule `mask-1` has the path `$[`, which is not JSONPath"),
        ("to = [\"record\"]", "mask.name: the mask rule `mask-1` selects nothing"),
        ("columns = [\"\"]", "mask.name: the mask rule `mask-1` looks for the name ``"),
        ("kinds = [\"emial\"]", "mask.kinds: there is no kind `emial`; did you mean `email`?"),
        ("kinds = [\"card\"]\nkeep = 2", "mask.keep: is for how = \"partial\""),
        ("kinds = [\"card\"]\nhow = \"hide\"", "mask.how: expected \"redact\" or \"partial\""),
        ("kinds = [\"card\"]\nunless = ['principal in Grup::\"dba\"']", "mask.unless: expected what a policy's scope says"),
        ("kinds = [\"card\"]\ncolums = [\"ssn\"]", "mask.colums: unknown key; did you mean `columns`?"),
        (
            "name = \"a\"\nkinds = [\"card\"]\n[[mask]]\nname = \"a\"\nkinds = [\"iban\"]",
            "mask.name: `a` is the name of another rule already",
        ),
    ] {
        let found = faults(&format!("[[mask]]\n{rule}\n"));
        assert!(found.contains(expected), "{rule}\n{found}");
    }
}

#[test]
fn a_detector_is_tried_on_its_examples_and_has_a_name_of_its_own() {
    let own = "[[detector]]\nname = \"patient\"\npattern = '\\bPN-\\d{8}\\b'\nkeywords = [\"PN-\"]\nmatches = [\"see PN-00000018\"]\nmismatches = [\"PN-1\"]\n";
    assert_eq!(faults(&format!("{own}[[mask]]\nkinds = [\"patient\", \"secrets\"]\n")), "");
    for (from, to, expected) in [
        ("PN-1\"", "PN-12345678\"", "PN-12345678"),
        ("PN-00000018", "PN-0", "PN-0"),
        ("\"patient\"", "\"card\"", "is a kind of the gateway's own"),
        ("{8}", "{8", "patient"),
    ] {
        let found = faults(&own.replace(from, to));
        assert!(found.contains("detector.name") && found.contains(expected), "{from} {to}: {found}");
    }
}
