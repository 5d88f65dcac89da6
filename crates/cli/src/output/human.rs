//! Sizes, durations and colours for people.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::visible::cell;

/// Bytes, in the largest binary unit that leaves a number of at least 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let (mut value, mut unit) = (self.0 as f64 / 1024.0, 0);
        // 1023.96 would be shown as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

/// A duration in at most two units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elapsed(pub(crate) Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// `1 part`, `2 parts`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// On a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or the terminal is a dumb one.
    pub(crate) fn of(terminal: bool) -> Style {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { coloured: terminal && !set("NO_COLOR") && !dumb }
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Rows as columns: the first row is the heading; columns of numbers stand to the right. Whatever is in a cell, a row is one line.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            let gap = if column == 0 { "" } else { "  " };
            line += gap;
            line += &if right.contains(&column) { blanks + cell } else { format!("{cell}{blanks}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A table that may be long, so that its rows are made twice, to be measured and to be written, and may be too wide for a terminal of so
/// many columns. Then columns go that are empty, and after them the `dull` ones in their order; and where that does not do, each row is
/// two lines, the first column alone and the others under it. The first column is never cut.
pub(crate) fn fitted<I: Iterator<Item = Vec<String>>>(
    out: &mut impl fmt::Write,
    rows: impl Fn() -> I,
    right: &[usize],
    dull: &[usize],
    columns: Option<usize>,
) -> fmt::Result {
    // Whatever is in a cell, a row is one line.
    let rows = || rows().map(|row| row.iter().map(|text| cell(text).into_owned()).collect::<Vec<String>>());
    let mut widths: Vec<usize> = Vec::new();
    let mut says: Vec<bool> = Vec::new();
    for (at, row) in rows().enumerate() {
        widths.resize(row.len(), 0);
        says.resize(row.len(), false);
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(cell.chars().count());
            says[column] |= at > 0 && !cell.is_empty();
        }
    }
    let fits = |shown: &[usize], indent: usize| {
        let gaps = 2 * shown.len().saturating_sub(1);
        let width = shown.iter().map(|column| widths[*column]).sum::<usize>() + gaps + indent;
        columns.is_none_or(|columns| width <= columns)
    };
    let line = |row: &[String], shown: &[usize]| {
        let mut line = String::new();
        for (at, column) in shown.iter().enumerate() {
            let (cell, width) = (&row[*column], widths[*column]);
            let blanks = " ".repeat(width - cell.chars().count());
            line += if at == 0 { "" } else { "  " };
            line += &if right.contains(column) { blanks + cell } else { cell.clone() + &blanks };
        }
        line.truncate(line.trim_end().len());
        line
    };
    let all: Vec<usize> = (0..widths.len()).collect();
    let told: Vec<usize> = all.iter().copied().filter(|column| says[*column]).collect();
    let fewer = |shown: &[usize], indent: usize| {
        let without = |gone: usize| -> Vec<usize> {
            shown.iter().copied().filter(|column| !dull[..gone].contains(column)).collect()
        };
        (0..=dull.len()).map(without).find(|shown| fits(shown, indent)).ok_or_else(|| without(dull.len()))
    };
    let one_line = if fits(&all, 0) { Some(all) } else { fewer(&told, 0).ok() };
    if let Some(shown) = one_line {
        return rows().try_for_each(|row| writeln!(out, "{}", line(&row, &shown)));
    }
    let others: Vec<usize> = told.iter().copied().filter(|column| *column != 0).collect();
    let (Ok(below) | Err(below)) = fewer(&others, INDENT);
    rows().try_for_each(|row| writeln!(out, "{}\n{:INDENT$}{}", row[0], "", line(&row, &below)))
}

/// Columns by which a row's second line is indented.
const INDENT: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        let sizes = [0, 1023, 1024, 1536, 1_048_570, 16_716_464, u64::MAX].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "15.9 MiB", "16384.0 PiB"]);
        let times =
            [40, 9_940, 10_000, 61_000, 3_720_000].map(|millis| Elapsed(Duration::from_millis(millis)).to_string());
        assert_eq!(times, ["0.0 s", "9.9 s", "10 s", "1 min 1 s", "1 h 2 min"]);
        assert_eq!([0, 1, 2].map(|n| count(n, "part")), ["0 parts", "1 part", "2 parts"]);
    }

    #[test]
    fn a_table_has_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["NAME", "SIZE"]), row(["é", "1 B"]), row(["longer", "100 B"])], &[1]);
        assert_eq!(text, "NAME     SIZE\né         1 B\nlonger  100 B\n");
        let text = table(&[row(["NAME", "SIZE"]), row(["a\nb", "1 B"])], &[1]);
        assert_eq!(text, "NAME  SIZE\na\\nb   1 B\n");
    }

    #[test]
    fn a_table_that_is_too_wide_loses_what_says_nothing_then_what_is_dull_and_then_has_two_lines_a_row() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["ARCHIVE", "PARTS", "STORED", "TAGS", "NAME"]),
            row(["de2fe9e4-1740130000000", "1", "7 B", "", "pg-main"]),
            row(["de2fe9e4-1740130000001", "12", "1.5 KiB", "", "shop"]),
        ];
        let within = |columns| {
            let mut text = String::new();
            fitted(&mut text, || rows.iter().cloned(), &[1, 2], &[1], columns).unwrap();
            text
        };
        let at = |columns| within(Some(columns));
        let whole = table(&rows, &[1, 2]);
        let width = whole.lines().map(str::len).max().unwrap();
        assert_eq!((&within(None), &at(width)), (&whole, &whole));
        // One column less, and the tags go, of which there are none; then the parts.
        let without_tags = "\
ARCHIVE                 PARTS   STORED  NAME
de2fe9e4-1740130000000      1      7 B  pg-main
de2fe9e4-1740130000001     12  1.5 KiB  shop
";
        assert_eq!((at(width - 1), at(47)), (without_tags.to_owned(), without_tags.to_owned()));
        let without_parts = "\
ARCHIVE                  STORED  NAME
de2fe9e4-1740130000000      7 B  pg-main
de2fe9e4-1740130000001  1.5 KiB  shop
";
        assert_eq!((at(46), at(40)), (without_parts.to_owned(), without_parts.to_owned()));
        let two_lines = "\
ARCHIVE
  PARTS   STORED  NAME
de2fe9e4-1740130000000
      1      7 B  pg-main
de2fe9e4-1740130000001
     12  1.5 KiB  shop
";
        assert_eq!((at(39), at(25)), (two_lines.to_owned(), two_lines.to_owned()));
        let last = "\
ARCHIVE
   STORED  NAME
de2fe9e4-1740130000000
      7 B  pg-main
de2fe9e4-1740130000001
  1.5 KiB  shop
";
        // What is narrower than that is the terminal's to wrap.
        assert_eq!((at(24), at(1)), (last.to_owned(), last.to_owned()));
    }
}
