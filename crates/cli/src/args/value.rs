//! Values with a unit or a form of their own: sizes, ranges of bytes, times.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A segment of content, which is the least that a part holds.
const SMALLEST_PART: u64 = 64 << 10;

/// Reads a size: `64MiB`, `64M` and `64m` are 64 × 2^20, `64MB` is 64 × 10^6, no unit is bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let refuse = || format!("`{text}` is not a size such as 64MiB, 64M or 67108864");
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(refuse()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(refuse)
}

/// Reads a size of at least one byte.
pub(crate) fn parse_some_size(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|size| if size == 0 { Err("it must be more than 0".to_owned()) } else { Ok(size) })
}

/// Reads the size of a part, which has at least one segment.
pub(crate) fn parse_part_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        size if size < SMALLEST_PART => Err(format!("a part has at least {} KiB", SMALLEST_PART >> 10)),
        size => Ok(size),
    }
}

/// Reads a duration: `90s`, `30m`, `12h`, `7d`, `4w`, `1y` (365 days).
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration such as 90s, 30m, 48h, 7d or 4w");
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(refuse()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).map(Duration::from_secs).ok_or_else(refuse)
}

/// Reads a duration of at least a second.
pub(crate) fn parse_some_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .and_then(|time| if time.is_zero() { Err("it must be more than 0".to_owned()) } else { Ok(time) })
}

/// Reads a share: a number from 0 to 100.
pub(crate) fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    number.parse().ok().filter(|number| *number <= 100).ok_or_else(|| format!("`{text}` is not a number from 0 to 100"))
}

/// Reads a number of threads or requests.
pub(crate) fn parse_cores(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err(format!("`{text}` is not a number from 1 to 1024")),
    }
}

/// Reads a range of bytes, `START..END`: from START up to and without END, counted from 0, to the end when END is absent.
pub(crate) fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let refuse = || format!("`{text}` is not a range such as 0..4096, 1GiB..2GiB or 100..");
    let (start, end) = text.split_once("..").ok_or_else(refuse)?;
    let start = if start.is_empty() { 0 } else { parse_size(start).map_err(|_| refuse())? };
    let end = if end.is_empty() { u64::MAX } else { parse_size(end).map_err(|_| refuse())? };
    if start < end { Ok(start..end) } else { Err(format!("the range `{text}` is empty")) }
}

/// Reads a time: RFC 3339, or a date, which stands for its first moment in UTC.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-01-31".len());
    date.and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| format!("`{text}` is not a time such as 2026-01-31T02:00:00Z or 2026-01-31"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, size) in [
            ("0", 0),
            ("17", 17),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("1 g", 1 << 30),
            ("2KB", 2000),
            ("3TiB", 3 << 40),
            ("5b", 5),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "1X", "64MiBs", "99999999999999T", "０"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_has_a_least_size() {
        assert_eq!(parse_part_size("64KiB"), Ok(64 << 10));
        for text in ["64", "65535", "0"] {
            assert!(parse_part_size(text).unwrap_err().contains("64 KiB"), "{text}");
        }
        assert!(parse_part_size("much").unwrap_err().contains("not a size"));
    }

    #[test]
    fn durations_have_one_unit() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("48h", 172_800), ("7d", 604_800), ("4w", 2_419_200), ("1y", 31_536_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "48", "1.5h", "-1h", "1h30m", "99999999999999999w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(
            parse_duration("0s").is_ok() && parse_some_duration("0s").is_err() && parse_some_duration("1s").is_ok()
        );
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!((parse_percent("0"), parse_percent("50%"), parse_percent("100")), (Ok(0), Ok(50), Ok(100)));
        assert!(parse_percent("101").is_err() && parse_percent("-1").is_err() && parse_percent("").is_err());
    }

    #[test]
    fn ranges_leave_out_their_end() {
        assert_eq!(parse_range("0..4096"), Ok(0..4096));
        assert_eq!(parse_range("1k..2k"), Ok(1024..2048));
        assert_eq!(parse_range("100.."), Ok(100..u64::MAX));
        assert_eq!(parse_range("..7"), Ok(0..7));
        for text in ["", "5", "5-9", "9..5", "5..5", "a..b", "1..2..3"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_first_moment_in_utc() {
        assert_eq!(parse_time("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00Z");
        assert_eq!(parse_time("2026-01-31T03:00:00+01:00").unwrap().to_string(), "2026-01-31T02:00:00Z");
        for text in ["yesterday", "2026-13-01", "2026-01-31T02:00:00", "1740130000"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
