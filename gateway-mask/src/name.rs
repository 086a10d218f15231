//! Names of fields and columns, as people and databases spell them.

/// Names that a rule looks for.
///
/// Case does not count, and between the words of a name (`birth_date`, `birthDate`, `birth date`) may stand any one of `_`, `-`, `.` and a
/// space, or nothing. Quotes around a name do not count, nor does what qualifies it: `p.ssn` and `"patients"."ssn"` are `ssn`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// As the rule spells it.
    spelt: String,
    /// Its words in lower case.
    words: Vec<String>,
}

const SEPARATORS: &[char] = &['_', '-', '.', ' '];
const QUOTES: &[char] = &['"', '\'', '`', '[', ']'];

impl Names {
    /// These names. Those without a word in them are left out.
    #[must_use]
    pub fn new<S: AsRef<str>>(names: &[S]) -> Names {
        let names = names.iter().map(|name| Name { spelt: name.as_ref().to_owned(), words: words(name.as_ref()) });
        Names(names.filter(|name| !name.words.is_empty()).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name at this place, as the rule spells it.
    #[must_use]
    pub fn spelt(&self, at: usize) -> &str {
        self.0.get(at).map_or("", |name| &name.spelt)
    }

    /// What every spelling of a name begins with, case aside: a text that has none of these has none of the names.
    pub fn first_words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|name| name.words.first()).map(String::as_str)
    }

    /// Which of the names a field or column of this name has.
    #[must_use]
    pub fn find(&self, field: &str) -> Option<usize> {
        let field = field.trim();
        let whole = self.0.iter().position(|name| name.is(field));
        // `schema.table.column`: the last part says which column it is.
        whole.or_else(|| {
            let (_, last) = field.rsplit_once('.')?;
            self.0.iter().position(|name| name.is(last))
        })
    }
}

impl Name {
    fn is(&self, field: &str) -> bool {
        let mut rest = field.trim_matches(QUOTES).trim();
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                rest = rest.strip_prefix(SEPARATORS).unwrap_or(rest);
            }
            match strip_word(rest, word) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

/// What follows `word`, case aside.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    for wanted in word.chars() {
        let found = rest.next()?;
        if found != wanted && !found.to_lowercase().eq(std::iter::once(wanted)) {
            return None;
        }
    }
    Some(rest.as_str())
}

/// The words of a name: between separators, and where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for char in name.trim().trim_matches(QUOTES).chars() {
        if SEPARATORS.contains(&char) || (after_small && char.is_uppercase()) {
            words.push(String::new());
        }
        if !SEPARATORS.contains(&char) {
            words.last_mut().into_iter().for_each(|word| word.extend(char.to_lowercase()));
        }
        after_small = char.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_spelt() {
        let names = Names::new(&["ssn", "birth_date", "emailAddress"]);
        for (field, found) in [
            ("ssn", Some(0)),
            (" SSN ", Some(0)),
            ("\"p\".\"ssn\"", Some(0)),
            ("patients.ssn", Some(0)),
            ("`ssn`", Some(0)),
            ("[ssn]", Some(0)),
            ("birthDate", Some(1)),
            ("BIRTH-DATE", Some(1)),
            ("Birth date", Some(1)),
            ("birthdate", Some(1)),
            ("p.birth_date", Some(1)),
            ("EMAIL_ADDRESS", Some(2)),
            ("emailaddress", Some(2)),
            ("ssn2", None),
            ("my_ssn", None),
            ("birth__date", None),
            ("birth", None),
            ("", None),
        ] {
            assert_eq!(names.find(field), found, "{field}");
        }
    }

    #[test]
    fn every_spelling_begins_with_the_first_word() {
        let names = Names::new(&["BirthDate", "", "  ", "ssn"]);
        assert_eq!(names.first_words().collect::<Vec<_>>(), ["birth", "ssn"]);
        assert_eq!((names.len(), names.spelt(0)), (2, "BirthDate"));
    }
}
