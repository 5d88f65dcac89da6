//! Whether this machine's clock is why a store refuses: signatures and tokens carry a time, and a store takes those of a few minutes only. Stores
//! call it by many names, some of which say no more than that something is wrong with the signature, but each answer has the store's time.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Less than any store forgives: Amazon and Azure take a quarter of an hour.
const HARMLESS: Duration = Duration::from_secs(5 * 60);

/// What to do about the clock, if it differs from the time of an answer by more than is harmless.
pub(crate) fn advice(date: &str, now: SystemTime) -> Option<String> {
    let theirs: SystemTime = read(date)?.into();
    let (apart, direction) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (apart > HARMLESS)
        .then(|| format!("the clock of this machine is {} {direction} the store's; set it right", spoken(apart)))
}

/// Milliseconds that the clock of an answer with this date is ahead of ours, to within a second: dates are cut to seconds.
pub(crate) fn offset(date: &str) -> Option<i64> {
    Some(read(date)?.as_millisecond() + 500 - Timestamp::now().as_millisecond())
}

/// What to do about a shared access signature in this query of a URL, if it had expired at the time of an answer with this date.
pub(crate) fn expired(query: &str, date: &str) -> Option<String> {
    let value = |wanted: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let until = value("sig").and(value("se"))?;
    // To the second, to the minute, or a day, which ends with its beginning.
    let time = until.parse::<Timestamp>().or_else(|_| format!("{until}T00:00Z").parse()).ok()?;
    (time <= read(date)?).then(|| format!("the shared access signature expired at {until}: make a new one"))
}

/// Every answer's date is of this form, and ends with `GMT`, which the parser knows.
fn read(date: &str) -> Option<Timestamp> {
    Some(rfc2822::parse(date).ok()?.timestamp())
}

fn spoken(apart: Duration) -> String {
    let minutes = apart.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 60 / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let date = "Sat, 21 Nov 2026 10:12:05 GMT";
        let theirs: SystemTime = "2026-11-21T10:12:05Z".parse::<Timestamp>().unwrap().into();
        let minutes = |n: u64| Duration::from_secs(60 * n);
        for (now, said) in [
            (theirs, None),
            (theirs + minutes(5), None),
            (theirs - minutes(5), None),
            (theirs + minutes(16), Some("16 minutes ahead of")),
            (theirs - minutes(16), Some("16 minutes behind")),
            (theirs - minutes(300), Some("5 hours behind")),
            (theirs + minutes(60 * 24 * 3650), Some("3650 days ahead of")),
        ] {
            match (advice(date, now), said) {
                (None, None) => {}
                (Some(advice), Some(said)) => assert!(advice.contains(said), "{advice}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(advice("yesterday", theirs + minutes(100)), None);
    }

    #[test]
    fn a_signature_that_has_expired_is_told_with_its_time() {
        let date = "Sat, 21 Nov 2026 10:12:05 GMT";
        let signed = |until: &str| format!("sv=2022-11-02&se={until}&sr=c&sp=rl&sig=c2lnbmVk%3D");
        for until in ["2026-11-21T10%3A12%3A05Z", "2026-11-21T10:12Z", "2026-11-21"] {
            let advice = expired(&signed(until), date).unwrap();
            assert!(advice.contains(&until.replace("%3A", ":")), "{advice}");
        }
        for until in ["2026-11-21T10%3A12%3A06Z", "2026-11-21T10:13Z", "2026-11-22", "soon", ""] {
            assert_eq!(expired(&signed(until), date), None, "{until}");
        }
        // What is no signature's is somebody else's.
        assert_eq!(expired("se=2020-01-01", date), None);
        assert_eq!(expired(&signed("2020-01-01"), "yesterday"), None);
    }

    #[test]
    fn the_difference_of_clocks_has_a_sign() {
        let date = |seconds| {
            let time = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        };
        let (ahead, behind) = (offset(&date(3600)).unwrap(), offset(&date(-3600)).unwrap());
        assert!(
            (3_599_000..=3_601_000).contains(&ahead) && (-3_601_000..=-3_599_000).contains(&behind),
            "{ahead} {behind}"
        );
        assert_eq!(offset("yesterday"), None);
    }
}
