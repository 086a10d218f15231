//! Dates.

use regex_automata::{Input, meta::Regex};

/// Whether there is such a day.
pub(super) fn is_date(year: u32, month: u32, day: u32) -> bool {
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Finds dates as people and machines write them.
pub(super) struct Dates(Regex);

impl Dates {
    #[expect(clippy::unwrap_used, reason = "the pattern is a constant, which every test builds")]
    pub(super) fn new() -> Dates {
        const MONTH: &str = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july|august|september|october|november|december|januar|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)";
        let pattern = format!(
            r"(?ix)
            (?P<y1>[12][0-9]{{3}}) [-/.] (?P<m1>[0-9]{{1,2}}) [-/.] (?P<d1>[0-9]{{1,2}})
            | (?P<a>[0-9]{{1,2}}) [-/.\ ] (?P<b>[0-9]{{1,2}}) [-/.\ ] (?P<y2>[12][0-9]{{3}}|[0-9]{{2}})
            | (?P<d3>[0-9]{{1,2}}) (?:st|nd|rd|th|er|\.)? (?:\ of)? [\ -]? {MONTH}\.? ,? [\ -]? (?P<y3>[12][0-9]{{3}}|[0-9]{{2}})
            | (?:\ de)? {MONTH}\.? \ (?P<d4>[0-9]{{1,2}}) (?:st|nd|rd|th)? ,? \ (?P<y4>[12][0-9]{{3}})
            | (?P<d5>[0-9]{{1,2}}) \ de \ {MONTH} \ de \ (?P<y5>[12][0-9]{{3}})
            | (?P<y6>[12][0-9]{{3}}) \s?年 \s?(?P<m6>[0-9]{{1,2}}) \s?月 \s?(?P<d6>[0-9]{{1,2}}) \s?日
            | (?P<y7>(?:19|20)[0-9]{{2}}) (?P<m7>[0-9]{{2}}) (?P<d7>[0-9]{{2}})
            ",
        );
        Dates(Regex::new(&pattern).unwrap())
    }

    /// The first date in this part of a text that someone alive can have been born on.
    pub(super) fn first(&self, text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        self.0.captures_iter(Input::new(text).range(from..to)).find_map(|captures| {
            let span = captures.get_match()?.range();
            let whole =
                (span.start == 0 || !bytes[span.start - 1].is_ascii_alphanumeric()) && !bytes.get(span.end).is_some_and(u8::is_ascii_digit);
            let value = |names: &[&str]| {
                names.iter().find_map(|name| captures.get_group_by_name(name)).and_then(|span| text[span.range()].parse::<u32>().ok())
            };
            let year = value(&["y1", "y2", "y3", "y4", "y5", "y6", "y7"])?;
            let month = value(&["m1", "m6", "m7"]);
            let day = value(&["d1", "d3", "d4", "d5", "d6", "d7"]);
            let is_year = year < 100 || (1880..2100).contains(&year);
            let fits = match (value(&["a"]), value(&["b"])) {
                (Some(a), Some(b)) => is_date(2000, a, b) || is_date(2000, b, a),
                _ => is_date(2000, month.unwrap_or(1), day.unwrap_or(1)),
            };
            (whole && is_year && fits).then_some((span.start, span.end))
        })
    }
}
