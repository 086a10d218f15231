//! Where a value stands, for the record.

/// The way from the root to a value. It lives on the stack of the walk; its text is only made for what is masked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trail<'a> {
    up: Option<&'a Trail<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    Root,
    Key(&'a str),
    Item,
    /// What the text was decoded from.
    Layer(&'static str),
}

impl<'a> Trail<'a> {
    pub(crate) const ROOT: Trail<'static> = Trail { up: None, step: Step::Root };

    pub(crate) fn then<'b>(&'b self, step: Step<'b>) -> Trail<'b>
    where
        'a: 'b,
    {
        Trail { up: Some(self), step }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.up.is_none()
    }

    /// Whether it is `$.result.content[*].text`, where the copy of `structuredContent` stands.
    pub(crate) fn is_copy(&self) -> bool {
        self.up.is_some() && self.path() == "$.result.content[*].text"
    }

    /// As in a normalized path of RFC 9535, but that an index is `*`, and that a plain name stands behind a point.
    pub(crate) fn path(&self) -> String {
        let mut out = self.up.map(Trail::path).unwrap_or_default();
        match self.step {
            Step::Root => out.push('$'),
            Step::Item => out.push_str("[*]"),
            Step::Layer(name) => {
                out.push('#');
                out.push_str(name);
            }
            Step::Key(key) if is_plain(key) => {
                out.push('.');
                out.push_str(key);
            }
            Step::Key(key) => {
                out.push_str("['");
                for char in key.chars() {
                    match char {
                        '\'' | '\\' => out.extend(['\\', char]),
                        control if control.is_control() => out.extend(control.escape_unicode()),
                        other => out.push(other),
                    }
                }
                out.push_str("']");
            }
        }
        out
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && !key.starts_with(|c: char| c.is_ascii_digit()) && key.chars().all(|c| c.is_alphanumeric() || c == '_')
}
