//! Writers of tables, as programs write them, and readers of what they write.

use unicode_width::UnicodeWidthStr;

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// The column that is looked for.
    pub(crate) wanted: usize,
}

type Rows = Vec<Vec<String>>;

pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// The table without what this form cannot write unmistakably; none if it cannot write it at all.
    pub(crate) fit: fn(&Table) -> Option<Table>,
    pub(crate) write: fn(&Table) -> String,
    pub(crate) read: Option<fn(&str, &Table) -> Rows>,
    /// Whether any value can be written in it and read back.
    pub(crate) any_value: bool,
}

pub(crate) const FORMS: &[Form] = &[
    Form {
        name: "csv",
        fit: whole,
        write: |table| separated(table, ','),
        read: Some(|text, _| read_separated(text, ',')),
        any_value: true,
    },
    Form {
        name: "tsv",
        fit: whole,
        write: |table| separated(table, '\t'),
        read: Some(|text, _| read_separated(text, '\t')),
        any_value: true,
    },
    Form {
        name: "semicolons",
        fit: whole,
        write: |table| separated(table, ';'),
        read: Some(|text, _| read_separated(text, ';')),
        any_value: true,
    },
    Form {
        name: "bars",
        fit: whole,
        write: |table| separated(table, '|'),
        read: Some(|text, _| read_separated(text, '|')),
        any_value: true,
    },
    Form { name: "markdown", fit: lines, write: markdown, read: Some(read_markdown), any_value: false },
    Form { name: "psql", fit: many_lines, write: psql, read: Some(|text, table| read_ruled(text, table, 1, "-+-", '|')), any_value: false },
    Form { name: "mysql", fit: lines, write: mysql, read: Some(|text, table| read_ruled(text, table, 2, "-+-", '|')), any_value: false },
    Form {
        name: "box", fit: lines, write: boxes, read: Some(|text, table| read_ruled(text, table, 2, "─┼─", '│')), any_value: false
    },
    Form { name: "dashes", fit: dashed, write: dashes, read: None, any_value: false },
    Form { name: "expanded", fit: lines, write: expanded, read: None, any_value: false },
    Form { name: "vertical", fit: lines, write: vertical, read: None, any_value: false },
    Form { name: "python dicts", fit: plain_quotes, write: dicts, read: None, any_value: false },
    Form { name: "python tuples", fit: two_columns, write: tuples, read: None, any_value: false },
    Form { name: "xml", fit: whole, write: xml, read: Some(read_tags), any_value: true },
    Form { name: "html", fit: whole, write: html, read: Some(read_tags), any_value: true },
];

/// Cells without white space around them, which no form keeps.
fn whole(table: &Table) -> Option<Table> {
    let mut table = table.clone();
    table.rows.iter_mut().flatten().for_each(|cell| *cell = cell.trim().to_owned());
    // A row of one empty field is a blank line.
    let is_blank = table.header.len() == 1 && table.rows.iter().any(|row| row[0].is_empty());
    // A table of one column ends where something like a tag or a count stands.
    let is_cut = table.header.len() == 1 && table.rows.iter().any(|row| row[0].starts_with(['<', '(']));
    let is_rule = |row: &[String]| row.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|byte| b"-=:".contains(&byte)));
    (!is_blank && !is_cut && !table.rows.iter().any(|row| is_rule(row))).then_some(table)
}

/// The table with its cells in one line each.
fn lines(table: &Table) -> Option<Table> {
    let mut table = whole(table)?;
    table.rows.iter_mut().flatten().for_each(|cell| *cell = cell.replace(['\n', '\\'], "/"));
    Some(table)
}

fn many_lines(table: &Table) -> Option<Table> {
    let table = lines(table)?;
    (table.header.len() > 1).then_some(table)
}

/// Below dashes, words are told by their place only.
fn dashed(table: &Table) -> Option<Table> {
    let table = many_lines(table)?;
    let is_dashes = |cell: &String| !cell.is_empty() && cell.chars().all(|c| c == '-');
    (!table.rows.iter().any(|row| row.iter().all(|cell| cell.is_empty() || is_dashes(cell)))).then_some(table)
}

fn plain_quotes(table: &Table) -> Option<Table> {
    let mut table = whole(table)?;
    table.rows.iter_mut().flatten().for_each(|cell| *cell = cell.replace('\'', "\""));
    Some(table)
}

fn two_columns(table: &Table) -> Option<Table> {
    let table = plain_quotes(table)?;
    (table.header.len() > 2).then_some(table)
}

fn all(table: &Table) -> impl Iterator<Item = &Vec<String>> {
    std::iter::once(&table.header).chain(&table.rows)
}

fn separated(table: &Table, separator: char) -> String {
    let field = |cell: &String| {
        if cell.contains([separator, '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    all(table).map(|row| row.iter().map(field).collect::<Vec<_>>().join(&separator.to_string()) + "\n").collect()
}

fn read_separated(text: &str, separator: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut row, mut field, mut chars) = (Vec::new(), String::new(), text.chars().peekable());
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if c == separator && !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    rows.split_off(1)
}

fn markdown(table: &Table) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
    let rule = format!("|{}\n", "---|".repeat(table.header.len()));
    line(&table.header) + &rule + &table.rows.iter().map(line).collect::<String>()
}

fn read_markdown(text: &str, _: &Table) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        let inner = line.trim().trim_start_matches('|').strip_suffix('|').unwrap_or_default().to_owned();
        inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    text.lines().skip(2).map(cells).collect()
}

fn widths(table: &Table) -> Vec<usize> {
    (0..table.header.len()).map(|at| all(table).map(|row| row[at].width()).max().unwrap_or(0)).collect()
}

fn pad(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

fn bars(row: &[String], widths: &[usize], bar: &str) -> String {
    row.iter().zip(widths).map(|(cell, width)| pad(cell, *width)).collect::<Vec<_>>().join(&format!(" {bar} "))
}

fn rule(widths: &[usize], dash: &str, joint: &str) -> String {
    widths.iter().map(|width| dash.repeat(width + 2)).collect::<Vec<_>>().join(joint)
}

fn psql(table: &Table) -> String {
    let widths = widths(table);
    let mut text = format!(" {} \n{}\n", bars(&table.header, &widths, "|"), rule(&widths, "-", "+"));
    table.rows.iter().for_each(|row| text += &format!(" {}\n", bars(row, &widths, "|")));
    text + &format!("({} rows)\n", table.rows.len())
}

fn mysql(table: &Table) -> String {
    let widths = widths(table);
    let rule = format!("+{}+\n", rule(&widths, "-", "+"));
    let line = |row: &Vec<String>| format!("| {} |\n", bars(row, &widths, "|"));
    rule.clone() + &line(&table.header) + &rule + &table.rows.iter().map(line).collect::<String>() + &rule
}

fn boxes(table: &Table) -> String {
    let widths = widths(table);
    let line = |row: &Vec<String>| format!("│ {} │\n", bars(row, &widths, "│"));
    let header = format!("┌{}┐\n{}├{}┤\n", rule(&widths, "─", "┬"), line(&table.header), rule(&widths, "─", "┼"));
    header + &table.rows.iter().map(line).collect::<String>() + &format!("└{}┘\n", rule(&widths, "─", "┴"))
}

/// Reads what has bars where its rule has joints.
fn read_ruled(text: &str, table: &Table, rule_at: usize, marks: &str, bar: char) -> Vec<Vec<String>> {
    let joint = marks.chars().nth(1).unwrap_or('+');
    let rule: Vec<char> = text.lines().nth(rule_at).unwrap_or_default().chars().collect();
    let joints: Vec<usize> =
        rule.iter().enumerate().filter(|(at, c)| **c == joint && *at > 0 && at + 1 < rule.len()).map(|(at, _)| at).collect();
    let lines = text.lines().skip(rule_at + 1).take(table.rows.len());
    lines
        .map(|line| {
            let mut cells = vec![String::new()];
            let mut column = 0;
            for c in line.chars() {
                if joints.contains(&column) && c == bar {
                    cells.push(String::new());
                } else if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
                column += UnicodeWidthStr::width(c.to_string().as_str());
            }
            let outer = rule_at == 2;
            let trim = |(at, cell): (usize, String)| {
                let cell = if outer && at == 0 { cell.strip_prefix(bar).unwrap_or(&cell).to_owned() } else { cell };
                let cell = if outer && at == joints.len() { cell.trim_end().strip_suffix(bar).unwrap_or(&cell).to_owned() } else { cell };
                cell.trim().to_owned()
            };
            cells.into_iter().enumerate().map(trim).collect()
        })
        .collect()
}

fn dashes(table: &Table) -> String {
    let widths = widths(table);
    let line = |row: &Vec<String>| row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect::<Vec<_>>().join(" ") + "\n";
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&table.header) + &rule.join(" ") + "\n" + &table.rows.iter().map(line).collect::<String>()
}

fn expanded(table: &Table) -> String {
    let width = table.header.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (at, row) in table.rows.iter().enumerate() {
        text += &format!("-[ RECORD {} ]-\n", at + 1);
        row.iter().zip(&table.header).for_each(|(cell, name)| text += &format!("{} | {cell}\n", pad(name, width)));
    }
    text
}

fn vertical(table: &Table) -> String {
    let width = table.header.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (at, row) in table.rows.iter().enumerate() {
        text += &format!("*************************** {}. row ***************************\n", at + 1);
        row.iter().zip(&table.header).for_each(|(cell, name)| text += &format!("{name:>width$}: {cell}\n"));
    }
    text
}

fn python(cell: &str) -> String {
    format!("'{}'", cell.replace('\\', "\\\\").replace('\n', "\\n"))
}

fn dicts(table: &Table) -> String {
    let dict = |row: &Vec<String>| {
        let pairs: Vec<String> = row.iter().zip(&table.header).map(|(cell, name)| format!("'{name}': {}", python(cell))).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    format!("[{}]\n", table.rows.iter().map(dict).collect::<Vec<_>>().join(", "))
}

fn tuples(table: &Table) -> String {
    let list = |row: &Vec<String>| row.iter().map(|cell| python(cell)).collect::<Vec<_>>().join(", ");
    let rows: Vec<String> = table.rows.iter().map(|row| format!("({})", list(row))).collect();
    format!("[{}]\n[{}]\n", list(&table.header), rows.join(", "))
}

fn escaped(cell: &str) -> String {
    cell.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn xml(table: &Table) -> String {
    let row = |row: &Vec<String>| {
        let cells: String = row.iter().zip(&table.header).map(|(cell, name)| format!("<{name}>{}</{name}>", escaped(cell))).collect();
        format!("<row>{cells}</row>\n")
    };
    format!("<rows>\n{}</rows>\n", table.rows.iter().map(row).collect::<String>())
}

fn html(table: &Table) -> String {
    let cells = |row: &Vec<String>, tag: &str| row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect::<String>();
    let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
    format!("<table>\n<tr>{}</tr>\n{rows}</table>\n", cells(&table.header, "th"))
}

/// The texts of the elements of each row.
fn read_tags(text: &str, table: &Table) -> Vec<Vec<String>> {
    let entities = |text: &str| {
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        text.replace("&amp;", "&")
    };
    let end = if text.contains("<td>") { "</tr>" } else { "</row>" };
    let skip = usize::from(text.contains("<td>"));
    let rows = text.split(end).skip(skip).take(table.rows.len());
    rows.map(|row| {
        let tags: Vec<&str> = row.split('<').collect();
        let cells = tags.windows(2).filter(|pair| pair[1].starts_with('/'));
        cells.map(|pair| entities(pair[0].split_once('>').map_or("", |(_, text)| text))).collect()
    })
    .collect()
}
