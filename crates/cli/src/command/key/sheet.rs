//! A recovery sheet: a secret on paper, and how to restore with it, as text or as a page with a code that a telephone reads.
//!
//! The page is one file without scripts, fonts or pictures from elsewhere, and is made to be printed. A code holds exactly what the key file holds, so
//! that what is scanned is the file.

use std::fmt::{self, Write as _};

use qrcodegen::{QrCode, QrCodeEcc};
use zeroize::{Zeroize, Zeroizing};

use crate::failure::{Failure, Result};

/// What one code holds at most: more would need a printer and a camera that are better than usual.
const CODE: usize = 1000;
/// Room for a page, and for a drawing in it: a text that has to grow leaves its beginning behind in memory.
const PAGE: usize = 1 << 20;
const DRAWING: usize = 128 << 10;
/// White modules around a code, as its standard demands.
const QUIET: i32 = 4;

/// What is on a sheet. What is secret of it is wiped when it is dropped.
pub(super) struct Sheet {
    /// What the secret opens, in words.
    pub(super) opens: &'static str,
    /// Names and values at its head.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The secret as it is read and typed in.
    pub(super) shown: Vec<String>,
    /// The secret as the code holds it.
    pub(super) code: String,
    pub(super) steps: Vec<Step>,
}

/// One way to restore.
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) commands: Vec<String>,
    pub(super) remark: String,
}

impl Zeroize for Sheet {
    fn zeroize(&mut self) {
        self.shown.zeroize();
        self.code.zeroize();
        self.steps.iter_mut().for_each(|step| step.commands.zeroize());
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "BACKSTAY RECOVERY SHEET\n")?;
        for (name, value) in &self.facts {
            writeln!(f, "{name:<9} {}", value.replace('\n', "\n          "))?;
        }
        for (n, line) in self.shown.iter().enumerate() {
            writeln!(f, "{:<9} {line}", if n == 0 { "secret" } else { "" })?;
        }
        writeln!(f, "\nWhoever has this sheet can read {}. Keep it where the backups are not.", self.opens)?;
        for (n, Step { title, commands, remark }) in self.steps.iter().enumerate() {
            writeln!(f, "\n{}. {title}\n", n + 1)?;
            commands.iter().try_for_each(|command| writeln!(f, "   {command}"))?;
            if !commands.is_empty() && !remark.is_empty() {
                writeln!(f)?;
            }
            remark.lines().try_for_each(|line| writeln!(f, "   {line}"))?;
        }
        Ok(())
    }
}

impl Sheet {
    /// The sheet as text.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PAGE));
        write!(text, "{self}").expect("writing to a string does not fail");
        text
    }

    /// The sheet as a page.
    ///
    /// # Errors
    /// `usage.arguments` for a secret that is too long for codes.
    pub(super) fn html(&self) -> Result<Zeroizing<String>> {
        let codes = codes(&self.code)?;
        let mut page = Zeroizing::new(String::with_capacity(PAGE));
        page.push_str(HEAD);
        let mut write = |text: fmt::Arguments<'_>| page.write_fmt(text).expect("writing to a string does not fail");
        write(format_args!(
            "<h1>Backstay recovery sheet</h1>\n<p class=\"keep\">Whoever has this sheet can read {}. Keep it where the backups are not.</p>\n<table>\n",
            escaped(self.opens)
        ));
        for (name, value) in &self.facts {
            let value = value.lines().map(escaped).collect::<Vec<_>>().join("<br>");
            write(format_args!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
        }
        write(format_args!("</table>\n<div class=\"secret\">\n"));
        for (n, code) in codes.iter().enumerate() {
            write(format_args!("<figure>{}", *svg(code)));
            if codes.len() > 1 {
                write(format_args!("<figcaption>{} of {}</figcaption>", n + 1, codes.len()));
            }
            write(format_args!("</figure>\n"));
        }
        write(format_args!("<pre>{}</pre>\n</div>\n", *escaped_lines(&self.shown)));
        for (n, Step { title, commands, remark }) in self.steps.iter().enumerate() {
            write(format_args!("<h2>{}. {}</h2>\n", n + 1, escaped(title)));
            if !commands.is_empty() {
                write(format_args!("<pre>{}</pre>\n", *escaped_lines(commands)));
            }
            if !remark.is_empty() {
                write(format_args!("<p>{}</p>\n", escaped(remark)));
            }
        }
        page.push_str("</body>\n</html>\n");
        Ok(page)
    }
}

const HEAD: &str = "\
<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Backstay recovery sheet</title>
<style>
@page { margin: 15mm }
body { font: 11pt/1.4 sans-serif; color: #000; background: #fff; max-width: 180mm; margin: 2em auto; padding: 0 1em }
h1 { font-size: 18pt; margin: 0 0 .3em }
h2 { font-size: 12pt; margin: 1.2em 0 .3em; break-after: avoid }
th { text-align: left; vertical-align: top; padding-right: 1.5em; font-weight: normal; color: #555 }
td { overflow-wrap: anywhere }
.keep { font-weight: bold }
.secret { display: flex; flex-wrap: wrap; gap: 1em; align-items: center; border: 1pt solid #000; padding: .5em 1em; margin: 1em 0; break-inside: avoid }
.secret pre { font-size: 10pt; font-weight: bold; background: none; padding: 0; flex: 1 1 100% }
figure { margin: 0 }
figure svg { width: 45mm; height: 45mm; display: block }
figcaption { text-align: center }
pre { font: 9.5pt/1.4 monospace; white-space: pre-wrap; overflow-wrap: anywhere; background: #f2f2f2; padding: .4em .6em; margin: .3em 0; break-inside: avoid }
</style>
</head>
<body>
";

/// The codes of a text: one, or its pieces in order.
fn codes(text: &str) -> Result<Vec<QrCode>> {
    if !text.is_ascii() || text.len() > 8 * CODE {
        return Err(Failure::usage("this key is too long for the codes of a sheet: keep a copy of the file itself"));
    }
    let pieces = text.as_bytes().chunks(CODE).map(|piece| str::from_utf8(piece).expect("it is ASCII"));
    // The level that survives a fold or a stain over a seventh of it.
    let code = |piece| QrCode::encode_text(piece, QrCodeEcc::Medium);
    pieces.map(|piece| code(piece).map_err(|error| Failure::new("internal", error.to_string()))).collect()
}

/// A code as a drawing: one square for each dark module, joined along its row.
fn svg(code: &QrCode) -> Zeroizing<String> {
    let size = code.size() + 2 * QUIET;
    let mut svg = Zeroizing::new(String::with_capacity(DRAWING));
    let mut write = |text: fmt::Arguments<'_>| svg.write_fmt(text).expect("writing to a string does not fail");
    write(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" shape-rendering=\"crispEdges\" role=\"img\" aria-label=\"the secret as a QR code\"><rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/><path d=\""
    ));
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let run = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
            let width = i32::try_from(run).unwrap_or(0);
            if width > 0 {
                write(format_args!("M{} {}h{width}v1h-{width}z", x + QUIET, y + QUIET));
            }
            x += width.max(1);
        }
    }
    write(format_args!("\" fill=\"#000\"/></svg>"));
    svg
}

/// Lines that may be secret.
fn escaped_lines(lines: &[String]) -> Zeroizing<String> {
    let lines = Zeroizing::new(lines.iter().map(|line| escaped(line)).collect::<Vec<_>>());
    Zeroizing::new(lines.join("\n"))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of codes makes of the drawings in a page.
    fn read(page: &str) -> Vec<String> {
        let paths = page.split("<path d=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let sizes = page.split("viewBox=\"0 0 ").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
        paths.zip(sizes).map(|(path, size): (_, usize)| scanned(path, size)).collect()
    }

    fn scanned(path: &str, size: usize) -> String {
        let mut dark = vec![false; size * size];
        for square in path.split('M').skip(1) {
            let numbers: Vec<usize> = square
                .split(|c: char| !c.is_ascii_digit())
                .filter(|n| !n.is_empty())
                .map(|n| n.parse().unwrap())
                .collect();
            let (x, y, width) = (numbers[0], numbers[1], numbers[2]);
            dark[y * size + x..][..width].fill(true);
        }
        // As a camera sees it: several points for each module.
        let scale = 4;
        let light = |x: usize, y: usize| if dark[y / scale * size + x / scale] { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size * scale, size * scale, light);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    fn sheet(code: &str) -> Sheet {
        let facts = vec![("store", "s3://b/<script>alert(\"1\")</script>&".to_owned())];
        let step = Step { title: "By hand", commands: vec!["a < b".to_owned()], remark: "then".to_owned() };
        Sheet { opens: "everything", facts, shown: vec![code.to_owned()], code: code.to_owned(), steps: vec![step] }
    }

    #[test]
    fn a_code_is_read_back_as_the_key_that_it_is_of() {
        use age::secrecy::ExposeSecret as _;
        let identity = age::x25519::Identity::generate().to_string();
        for text in [identity.expose_secret(), &"ab".repeat(32), "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl+/=\n"] {
            assert_eq!(read(&sheet(text).html().unwrap()), [text]);
        }
        let long: String = (0..2500_u32).map(|n| char::from(b' ' + u8::try_from(n * 7 % 95).unwrap())).collect();
        let codes = read(&sheet(&long).html().unwrap());
        assert_eq!((codes.len(), codes.concat()), (3, long));
        assert_eq!(sheet(&"x".repeat(8001)).html().unwrap_err().code, "usage.arguments");
    }

    #[test]
    fn nothing_secret_is_left_of_a_sheet_that_is_wiped() {
        let mut sheet = sheet("hush");
        sheet.steps[0].commands.push("echo hush".to_owned());
        assert_eq!(sheet.text().matches("hush").count(), 2);
        sheet.zeroize();
        assert!(!sheet.text().contains("hush") && sheet.code.is_empty());
    }

    #[test]
    fn what_others_named_is_text_on_the_page_and_nothing_else() {
        let page = sheet("secret").html().unwrap();
        assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;") && !page.contains("<script"));
        assert!(page.contains("a &lt; b") && !page.contains("src=") && !page.contains("href="));
    }
}
