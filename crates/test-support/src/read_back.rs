//! Tables of the terminal read back from what was printed, in whichever form they stand.

/// A figure as a reader of the page finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadBack {
    /// The words of the title that stands above its row, where one does.
    pub section: String,
    /// The words that say whose it is.
    pub of: String,
    /// The words of its name.
    pub name: String,
    /// Its own words.
    pub value: String,
}

impl ReadBack {
    /// A figure by its words, however they are parted.
    #[must_use]
    pub fn new(section: &str, of: &str, name: &str, value: &str) -> Self {
        Self { section: words(section), of: words(of), name: words(name), value: words(value) }
    }
}

/// The words of a text, whatever parts them.
#[must_use]
pub fn words(text: &str) -> String {
    let words =
        text.split([' ', '\n']).map(|word| word.trim_end_matches(',')).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// All figures of the tables of a page, of which the first `keys` columns say whose they are. Empty ones are left out.
///
/// # Panics
/// Where a line of a table belongs to nothing, or reaches out of its columns.
#[must_use]
pub fn read_back(page: &str, keys: usize) -> Vec<ReadBack> {
    let mut all = Vec::new();
    for block in page.split("\n\n") {
        let lines: Vec<&str> = block.lines().skip_while(|line| !is_rule(line, '─')).collect();
        match lines.iter().position(|line| is_rule(line, '═')) {
            Some(head) => all.extend(grid(&lines, head, keys)),
            None if !lines.is_empty() => all.extend(figure_a_line(&lines)),
            None => {}
        }
    }
    all.retain(|figure| !figure.value.is_empty());
    all
}

fn is_rule(line: &str, of: char) -> bool {
    line.contains(of) && line.chars().all(|character| character == of || character == ' ')
}

/// A title may take several lines, of which the last ends in a rule.
#[derive(Default)]
struct Section {
    title: String,
    is_whole: bool,
}

impl Section {
    /// Whether this line is a title's.
    fn takes(&mut self, line: &str) -> bool {
        let Some(words) = line.strip_prefix("── ") else { return false };
        let before = if self.is_whole { "" } else { &self.title };
        let title = format!("{before} {}", words.trim_end_matches(['─', ' ']));
        *self = Self { title, is_whole: words.ends_with('─') };
        true
    }
}

/// From where to where each column reaches.
fn spans(rule: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    for part in rule.split(' ') {
        let width = part.chars().count();
        spans.push((from, from + width));
        from += width + 1;
    }
    spans
}

fn cells(line: &str, spans: &[(usize, usize)]) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    for (place, character) in characters.iter().enumerate() {
        let is_within = spans.iter().any(|(from, to)| (*from..*to).contains(&place));
        assert!(is_within || *character == ' ', "column {place} of {line:?} is no column's");
    }
    let part = |(from, to): &(usize, usize)| {
        characters.iter().skip(*from).take(to - from).collect::<String>().trim().to_owned()
    };
    spans.iter().map(part).collect()
}

fn grid(lines: &[&str], head: usize, keys: usize) -> Vec<ReadBack> {
    let spans = spans(lines[head]);
    let joined = |lines: &[&str]| {
        let mut all = vec![String::new(); spans.len()];
        for line in lines {
            for (whole, part) in all.iter_mut().zip(cells(line, &spans)) {
                *whole = format!("{whole} {part}");
            }
        }
        all
    };
    let names = joined(&lines[1..head]);
    let body = &lines[head + 1..];
    let is_ruled = body.last().is_some_and(|line| is_rule(line, '─'));
    let mut figures = Vec::new();
    let mut section = Section::default();
    let mut row: Vec<&str> = Vec::new();
    let mut end = |row: &mut Vec<&str>, title: &str| {
        if !row.is_empty() {
            let cells = joined(row);
            for (name, value) in names.iter().zip(&cells).skip(keys) {
                figures.push(ReadBack::new(title, &cells[..keys].join(" "), name, value));
            }
            row.clear();
        }
    };
    for line in body {
        if line.starts_with("── ") && !is_rule(line, '─') {
            end(&mut row, &section.title);
            section.takes(line);
        } else if is_rule(line, '─') {
            end(&mut row, &section.title);
        } else {
            row.push(line);
            if !is_ruled {
                end(&mut row, &section.title);
            }
        }
    }
    assert!(row.is_empty(), "the table has no end: {lines:?}");
    figures
}

fn figure_a_line(lines: &[&str]) -> Vec<ReadBack> {
    let mut figures: Vec<ReadBack> = Vec::new();
    let (mut section, mut of) = (Section::default(), String::new());
    let mut figure: Option<String> = None;
    let split = |line: String, title: &str, of: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} has no name"));
        ReadBack::new(title, of, name, value)
    };
    for line in lines.iter().skip(1) {
        let blanks = line.len() - line.trim_start().len();
        if blanks == 6 {
            let figure = figure.as_mut().unwrap_or_else(|| panic!("{line:?} is no figure's"));
            *figure = format!("{figure} {}", line.trim());
            continue;
        }
        figures.extend(figure.take().map(|line| split(line, &section.title, &of)));
        match blanks {
            0 if is_rule(line, '─') => break,
            0 if section.takes(line) => {}
            0 => (*line).clone_into(&mut of),
            2 => figure = Some(line.trim().to_owned()),
            4 => of = format!("{of} {}", line.trim()),
            _ => panic!("{line:?} belongs to nothing"),
        }
    }
    figures
}
