//! The protocol as a file for auditors: Markdown, or one HTML page that needs nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use backstay::Context;
use backstay::partial::PartialFile;

use super::checks::Checked;
use super::protocol::{Member, Protocol, Verdict};
use crate::failure::{Failure, Result};

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Markdown,
    Html,
}

/// Where a page goes, and in which form: its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    path: PathBuf,
    form: Form,
}

impl Page {
    /// Reads the option.
    pub(crate) fn parse(text: &str) -> std::result::Result<Page, String> {
        let path = PathBuf::from(text);
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => Form::Markdown,
            Some("html" | "htm") => Form::Html,
            _ => return Err(format!("`{text}` ends neither in .md nor in .html")),
        };
        Ok(Page { path, form })
    }

    /// Looks whether the file can be written, before an hour is spent on what is to stand in it.
    pub(super) fn probe(&self) -> Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.is_dir() && !self.path.is_dir() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} cannot be a file: its folder is not there, or it is one itself",
            self.path.display()
        )))
    }

    /// Writes the page. One of that name is replaced when the new one is whole.
    pub(super) async fn write(&self, protocol: &Protocol, context: &Context) -> Result<()> {
        let text = match self.form {
            Form::Markdown => markdown(protocol),
            Form::Html => html(protocol),
        };
        let failed = |error| Failure::io("writing", &self.path, &error);
        let file = PartialFile::create(&self.path, context).map_err(failed)?;
        file.write(text.into()).await.map_err(failed)?;
        file.finish().await.map_err(failed)
    }
}

/// What there is several of.
struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    /// Cells, the last of which is the verdict, and whether it is good.
    rows: Vec<(Vec<String>, bool)>,
}

fn tables(protocol: &Protocol) -> impl Iterator<Item = Table> {
    let member = |member: &Member| {
        let (text, good) = member.told();
        let verdict = if good { "restored" } else { "FAILED" };
        (vec![member.name.clone(), member.id.clone(), text, verdict.to_owned()], good)
    };
    let check = |check: &Checked| {
        let verdict = if check.passed { "held" } else { "FAILED" };
        let cells = [&check.name, &check.db, &check.sql, &check.expected, &check.actual, verdict];
        (cells.map(str::to_owned).to_vec(), check.passed)
    };
    let members = protocol.members.iter().map(member).collect();
    let checks = protocol.checks.iter().map(check).collect();
    let tables = [
        Table { title: "Members", columns: &["Member", "Archive", "Outcome", "Verdict"], rows: members },
        Table {
            title: "Checks",
            columns: &["Check", "Database", "Query", "Expected", "Actual", "Verdict"],
            rows: checks,
        },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty())
}

fn markdown(protocol: &Protocol) -> String {
    let mut text = format!("# Restore drill {}\n\n**{}**\n\n", protocol.began, marked_down(&protocol.sentence()));
    text += "| | |\n|---|---|\n";
    for (name, value) in protocol.facts() {
        let _ = writeln!(text, "| {} | {} |", marked_down(name), marked_down(&value));
    }
    for Table { title, columns, rows } in tables(protocol) {
        let _ = write!(text, "\n## {title}\n\n| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        for (cells, _) in rows {
            let cells: Vec<String> = cells.iter().map(|cell| marked_down(cell)).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

/// Text that Markdown takes for nothing but text, on one line.
fn marked_down(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '\n' => safe += "<br>",
            '\r' => {}
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1d1d1f;background:#fff}
h1{font-size:1.5rem;margin-bottom:.25rem}
.verdict{padding:.75rem 1rem;border-left:.4rem solid;font-weight:600;background:#f5f5f7}
.passed{border-color:#18794e}.failed{border-color:#c62a2f;color:#c62a2f}.unknown{border-color:#ad5700}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #d8d8dc;overflow-wrap:anywhere}
tbody th{font-weight:500;color:#55555a;width:14rem}
td.text{white-space:pre-wrap;font:14px/1.45 ui-monospace,monospace}
tr.bad td{background:#fdecec}
@media (prefers-color-scheme:dark){body{color:#ececee;background:#161618}.verdict{background:#232326}.failed{color:#ff8589}
th,td{border-color:#3a3a3e}tbody th{color:#a0a0a8}tr.bad td{background:#42191b}}
@media print{body{margin:0;max-width:none}}
";

fn html(protocol: &Protocol) -> String {
    let class = match protocol.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Unknown => "unknown",
    };
    let title = format!("Restore drill {}", protocol.began);
    // Nothing may be loaded or run, whatever stands in the answers.
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"verdict {class}\">{}</p>\n<table><tbody>\n",
        escaped(&protocol.sentence()),
        title = escaped(&title),
    );
    for (name, value) in protocol.facts() {
        let _ = writeln!(text, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(name), escaped(&value));
    }
    text += "</tbody></table>\n";
    for Table { title, columns, rows } in tables(protocol) {
        let heads: String = columns.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
        let _ = write!(text, "<h2>{title}</h2>\n<table><thead><tr>{heads}</tr></thead><tbody>\n");
        for (cells, good) in rows {
            let class = if good { "" } else { " class=\"bad\"" };
            let row: String = cells.iter().map(|cell| format!("<td class=\"text\">{}</td>", escaped(cell))).collect();
            let _ = writeln!(text, "<tr{class}>{row}</tr>");
        }
        text += "</tbody></table>\n";
    }
    text + "</body>\n</html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_form() {
        assert_eq!(Page::parse("a/drill.md").unwrap().form, Form::Markdown);
        assert_eq!(Page::parse("drill.html").unwrap().form, Form::Html);
        for name in ["drill", "drill.pdf", "html", ".md"] {
            assert!(Page::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_database_answers_is_text_and_nothing_else() {
        let hostile = "<script>alert('x')</script>|a*b*\n\"&";
        assert_eq!(escaped(hostile), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;|a*b*\n&quot;&amp;");
        assert_eq!(marked_down(hostile), "&lt;script&gt;alert('x')&lt;/script&gt;\\|a\\*b\\*<br>\"&amp;");
    }
}
