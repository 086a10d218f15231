//! How files become a set, and what is said of those that do not.

use super::super::set::PolicySet;

fn sources(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect()
}

fn faults(text: &str) -> Vec<String> {
    let errors = PolicySet::from_sources(sources(&[("clinic.cedar", text)])).err().unwrap();
    errors.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn every_fault_is_told_with_its_place_and_what_to_do() {
    let all = "permit(principal, action, resource)";
    let table = [
        (
            format!("// readers\n{all} whn {{ true }};"),
            "clinic.cedar:2:37: invalid policy condition: whn; condition must be either `when` or `unless`",
        ),
        (
            format!("{all} when {{\n  resource.nam == \"x\"\n}};"),
            "clinic.cedar:2:3: for policy `clinic#1`, attribute `nam` on entity type `Prompt` not found; did you mean `name`?",
        ),
        (
            "permit(principal, action == Action::\"tools/cal\", resource);".into(),
            "clinic.cedar:1:29: for policy `clinic#1`, unrecognized action `Action::\"tools/cal\"`; did you mean `Action::\"call\"`?",
        ),
        (
            format!("{all} when {{ context.revision == \"2025-11-25\" }};"),
            "clinic.cedar:1:44: for policy `clinic#1`, unable to guarantee safety of access to optional attribute `revision` in context for \
             Action::\"completion/complete\"; try testing for the attribute's presence with `context has revision && ..`",
        ),
        (
            format!("@hold(\"a\")\n{all};"),
            "clinic.cedar:1:1: `@hold` stands on a permit; a call is held by a forbid: write `forbid`, or leave `@hold` out",
        ),
        ("\n  /* */".into(), "clinic.cedar:2:3: unexpected token `/`: expected `@` or identifier"),
        (
            format!("@hold\nforbid(principal, action, resource);\n@message(\" \")\n{all};"),
            "clinic.cedar:1:1: `@hold` has no text; say in it what the caller and the approver should know\n\
             clinic.cedar:3:1: `@message` has no text; say in it what the caller and the approver should know",
        ),
        (
            format!("@id(\"a\")\n{all};\n // and\n @id(\"a\") {all};"),
            "clinic.cedar:4:2: `a` is the id of another policy already, at clinic.cedar:1:1; give each an id of its own",
        ),
        (
            format!("@id(\"mcp-gateway:x\") {all};"),
            "clinic.cedar:1:1: `mcp-gateway:x` begins with `mcp-gateway:`, as only the gateway's own policies do; choose another id",
        ),
        (
            format!("{all};\npermit(principal == ?principal, action, resource);"),
            "clinic.cedar:2:1: a template (`?principal`, `?resource`) is never linked here, so it would never apply; name the principal or \
             the resource itself",
        ),
    ];
    let (found, told): (Vec<_>, Vec<_>) = table.iter().map(|(text, told)| (faults(text).join("\n"), *told)).unzip();
    assert_eq!(found, told);
}

#[test]
fn ids_and_lines_come_from_the_files() {
    let first = "// Nobody's; permit(principal, action, resource);\n\npermit(principal, action, resource); // and\n@id(\"own\")\n@message(\"m // n\")\nforbid(principal, action, resource)\n  // why\n  when { resource.name == \"//\" };permit(principal is Person, action, resource);";
    let set = PolicySet::from_sources(sources(&[("b.cedar", "permit(principal, action, resource);"), ("a.cedar", first)])).unwrap();
    let found: Vec<_> = set.policies().map(|policy| (policy.id.to_owned(), policy.file.to_owned(), policy.line)).collect();
    let is = |id: &str, file: &str, line| (id.to_owned(), file.to_owned(), line);
    assert_eq!(
        found,
        [
            is("mcp-gateway:session", "", 1),
            is("a#1", "a.cedar", 3),
            is("own", "a.cedar", 4),
            is("a#3", "a.cedar", 8),
            is("b#1", "b.cedar", 1)
        ]
    );
    let own = set.policies().find(|policy| policy.id == "own").unwrap();
    assert!(own.text.starts_with("@id(\"own\")") && own.text.ends_with("\"//\" };"), "{}", own.text);
    assert_eq!(own.message, Some("m // n"));
}

#[test]
fn what_means_nothing_is_a_warning() {
    let text =
        "@mesage(\"x\") @advice(\"y\") permit(principal, action, resource);\n@owner(\"z\") permit(principal is Tool, action, resource);";
    let set = PolicySet::from_sources(sources(&[("a.cedar", text)]));
    let errors = set.err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(errors.is_empty(), "{errors}");
    let set = PolicySet::from_sources(sources(&[("a.cedar", text)])).unwrap();
    let warnings: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings[0], "a.cedar:1:1: `@mesage` means nothing here; did you mean `@message`?");
    assert_eq!(warnings[1], "a.cedar:2:1: `@owner` means nothing here; known are @id, @message, @hold, @help, @advice");
    assert!(warnings[2].starts_with("a.cedar:2:"), "{warnings:?}");
}

#[test]
fn a_set_is_known_by_its_hash() {
    let hash = |files: &[(&str, &str)]| PolicySet::from_sources(sources(files)).unwrap().hash().to_owned();
    let one = hash(&[("a.cedar", "// 1"), ("b.cedar", "// 2")]);
    assert_eq!(one.len(), 64);
    assert_eq!(hash(&[("b.cedar", "// 2"), ("a.cedar", "// 1")]), one);
    for other in
        [vec![("a.cedar", "// 1")], vec![("a.cedar", "// 2"), ("b.cedar", "// 1")], vec![("a.cedar", "// 1 "), ("b.cedar", "// 2")]]
    {
        assert_ne!(hash(&other), one);
    }
    let set = PolicySet::from_sources(sources(&[("b.cedar", "// 2"), ("a.cedar", "// 1")])).unwrap();
    assert_eq!(PolicySet::from_sources(set.sources().to_vec()).unwrap().hash(), one);
}

#[test]
fn a_directory_is_read_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let told = || PolicySet::load(dir.path()).err().unwrap().to_string();
    let path = dir.path().display().to_string();
    assert_eq!(told(), format!("{path}: holds no policies, and without one nothing is permitted; write them in files that end in .cedar"));
    for (file, text) in [("b.cedar", "// b"), ("a.cedar", "permit(principal, action, resource);"), ("c.txt", "no"), (".d.cedar", "no")] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let set = PolicySet::load(dir.path()).unwrap();
    assert_eq!(set.sources().iter().map(|(file, _)| file.as_str()).collect::<Vec<_>>(), ["a.cedar", "b.cedar"]);
    std::fs::write(dir.path().join("e.cedar"), [0xff]).unwrap();
    assert!(told().starts_with(&format!("{path}/e.cedar: cannot be read: stream did not contain valid UTF-8; ")), "{}", told());
    let nowhere = PolicySet::load(&dir.path().join("nowhere")).err().unwrap().to_string();
    assert!(nowhere.starts_with(&format!("{path}/nowhere: cannot be read: No such file")), "{nowhere}");
}
