//! How far a run is: one line on a terminal; elsewhere a plain line a minute and one for each part.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backstay::observe::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human::{Elapsed, Size};

/// How often a plain line is due.
const PLAIN: Duration = Duration::from_secs(60);
/// How often the line on a terminal is drawn.
const DRAWS_PER_SECOND: u8 = 8;
/// The rate is that of the last seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// Whoever shows it.
pub(super) struct Display {
    manner: Manner,
    state: Mutex<State>,
    /// The terminal is needed for something else.
    hidden: AtomicBool,
}

enum Manner {
    /// One line that is drawn again and again.
    Line(ProgressBar),
    /// Lines.
    Plain,
    Nothing,
}

struct State {
    began: Instant,
    totals: Progress,
    /// Requests that failed and were repeated.
    retries: u64,
    /// Content at some moments of the window, the oldest first.
    samples: Vec<(Instant, u64)>,
    said: Instant,
    shown: bool,
}

impl Display {
    pub(super) fn line() -> Display {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Display::new(Manner::Line(bar))
    }

    pub(super) fn plain() -> Display {
        Display::new(Manner::Plain)
    }

    pub(super) fn nothing() -> Display {
        Display::new(Manner::Nothing)
    }

    fn new(manner: Manner) -> Display {
        let now = Instant::now();
        let state =
            State { began: now, totals: Progress::default(), retries: 0, samples: Vec::new(), said: now, shown: false };
        Display { manner, state: Mutex::new(state), hidden: AtomicBool::new(false) }
    }

    /// Takes new totals.
    pub(super) fn update(&self, totals: Progress) {
        let mut state = self.state();
        state.totals = totals;
        if let Manner::Line(bar) = &self.manner
            && !self.hidden.load(Ordering::Relaxed)
        {
            let now = Instant::now();
            state.sample(now);
            state.shown = true;
            bar.set_message(state.text(now, columns()));
        }
    }

    pub(super) fn totals(&self) -> Progress {
        self.state().totals
    }

    /// How far the run is, as a line.
    pub(super) fn status(&self, now: Instant) -> String {
        let mut state = self.state();
        state.sample(now);
        state.text(now, usize::MAX)
    }

    /// A part is done.
    pub(super) fn part(&self, text: &str, say: impl FnOnce(&str)) {
        if matches!(self.manner, Manner::Plain) {
            say(text);
        }
    }

    /// A request failed and will be repeated.
    pub(super) fn retry(&self, text: &str, say: impl FnOnce(&str)) {
        self.state().retries += 1;
        match &self.manner {
            Manner::Plain => say(text),
            Manner::Line(_) => self.tick(Instant::now(), |_| {}),
            Manner::Nothing => {}
        }
    }

    /// Says a plain line if one is due; keeps the other kind moving while nothing comes.
    pub(super) fn tick(&self, now: Instant, say: impl FnOnce(&str)) {
        let mut state = self.state();
        match &self.manner {
            Manner::Line(bar) if state.shown => {
                state.sample(now);
                bar.set_message(state.text(now, columns()));
            }
            Manner::Plain if now.saturating_duration_since(state.said) >= PLAIN => {
                state.said = now;
                state.sample(now);
                let text = state.text(now, usize::MAX);
                drop(state);
                say(&text);
            }
            Manner::Plain => state.sample(now),
            Manner::Line(_) | Manner::Nothing => {}
        }
    }

    /// Draws no line from now on: content is about to be written to the same terminal.
    pub(super) fn hide(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if let Manner::Line(bar) = &self.manner {
            bar.finish_and_clear();
        }
    }

    /// Runs something that writes to the terminal.
    pub(super) fn suspended<T>(&self, run: impl FnOnce() -> T) -> T {
        match &self.manner {
            Manner::Line(bar) => bar.suspend(run),
            Manner::Plain | Manner::Nothing => run(),
        }
    }

    /// A thread that panicked while it counted has not made the numbers worse.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sample(&mut self, now: Instant) {
        let due =
            self.samples.last().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= Duration::from_millis(500));
        if due {
            self.samples.push((now, self.totals.content));
            let old = self.samples.iter().take_while(|(at, _)| now.saturating_duration_since(*at) > WINDOW).count();
            self.samples.drain(..old);
        }
    }

    /// Bytes of content a second.
    fn rate(&self, now: Instant) -> f64 {
        let (since, from) = match self.samples.first() {
            Some((at, content)) if now.saturating_duration_since(*at) >= Duration::from_secs(1) => (*at, *content),
            _ => (self.began, 0),
        };
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if seconds > 0.0 { self.totals.content.saturating_sub(from) as f64 / seconds } else { 0.0 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is shown to one digit")]
    fn text(&self, now: Instant, width: usize) -> String {
        let Progress { content, stored, parts, about_content, total_stored, total_parts } = self.totals;
        let elapsed = now.saturating_duration_since(self.began);
        // In the order of the line, each with its weight: what weighs least goes first where the line is too long.
        let mut facts = vec![match about_content {
            Some(about) => (9, format!("{} of about {}", Size(content), Size(about))),
            None => (9, format!("{} content", Size(content))),
        }];
        facts.push(match total_stored {
            Some(total) => (7, format!("{} stored of {}", Size(stored), Size(total))),
            None => (7, format!("{} stored", Size(stored))),
        });
        if stored > 0 && content > 0 {
            facts.push((1, format!("ratio {:.1}", content as f64 / stored as f64)));
        }
        facts.push((5, format!("{}/s", Size(self.rate(now) as u64))));
        match total_parts {
            Some(total) => facts.push((2, format!("part {parts} of {total}"))),
            None if parts > 0 => facts.push((2, format!("part {parts}"))),
            None => {}
        }
        match self.retries {
            0 => {}
            1 => facts.push((6, "1 retry".to_owned())),
            more => facts.push((6, format!("{more} retries"))),
        }
        facts.push((3, Elapsed(elapsed).to_string()));
        let by_content = || about_content.and_then(|total| left(elapsed, content, total));
        if let Some(left) = total_stored.and_then(|total| left(elapsed, stored, total)).or_else(by_content) {
            let about = if total_stored.is_none() { "about " } else { "" };
            facts.push((8, format!("{about}{} left", Elapsed(left))));
        }
        loop {
            let line = facts.iter().map(|(_, fact)| fact.as_str()).collect::<Vec<_>>().join(", ");
            let least = facts.iter().enumerate().min_by_key(|(_, (weight, _))| *weight).map(|(at, _)| at);
            match least {
                Some(least) if line.chars().count() > width && facts.len() > 1 => drop(facts.remove(least)),
                _ => return line,
            }
        }
    }
}

/// The columns of the terminal that the line is drawn on; the last one stays free, for some wrap when it is written to.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().filter(|size| size.ws_col > 1).map_or(79, |size| usize::from(size.ws_col) - 1)
}

/// How long the rest takes at the average rate so far.
fn left(elapsed: Duration, done: u64, total: u64) -> Option<Duration> {
    let rest = total.checked_sub(done)?;
    if done == 0 || elapsed < Duration::from_secs(1) {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * rest as f64 / done as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(display: &Display, after: u64) -> Option<String> {
        let mut line = None;
        let began = display.state().began;
        display.tick(began + Duration::from_secs(after), |text| line = Some(text.to_owned()));
        line
    }

    #[test]
    fn a_plain_line_comes_once_a_minute() {
        let display = Display::plain();
        display.update(Progress { content: 60 << 20, stored: 20 << 20, parts: 1, ..Progress::default() });
        assert_eq!(said(&display, 59), None);
        assert!(said(&display, 60).unwrap().starts_with("60.0 MiB content, 20.0 MiB stored, ratio 3.0"));
        assert_eq!(said(&display, 61), None);
        assert!(said(&display, 121).is_some());
        assert_eq!(said(&Display::nothing(), 600), None);
    }

    #[test]
    fn the_rest_is_told_where_the_size_is_known() {
        let display = Display::plain();
        display.update(Progress {
            content: 30 << 20,
            stored: 10 << 20,
            parts: 1,
            total_stored: Some(40 << 20),
            total_parts: Some(4),
            ..Progress::default()
        });
        let line = said(&display, 60).unwrap();
        assert!(line.contains("10.0 MiB stored of 40.0 MiB") && line.contains("part 1 of 4"), "{line}");
        assert!(line.ends_with("3 min 0 s left"), "{line}");
    }

    #[test]
    fn what_a_database_takes_on_disk_tells_about_how_long_its_dump_takes() {
        let display = Display::plain();
        let totals = Progress { content: 30 << 20, stored: 10 << 20, parts: 1, ..Progress::default() };
        display.update(Progress { about_content: Some(90 << 20), ..totals });
        let line = said(&display, 60).unwrap();
        assert!(line.starts_with("30.0 MiB of about 90.0 MiB, ") && line.ends_with("about 2 min 0 s left"), "{line}");
        // A dump can be larger than that.
        display.update(Progress { about_content: Some(20 << 20), ..totals });
        assert!(!said(&display, 120).unwrap().contains("left"));
    }

    #[test]
    fn retries_are_counted_in_the_line_and_said_where_there_is_none() {
        let display = Display::plain();
        let mut said_at_once = Vec::new();
        for number in 1..=2 {
            display.retry(&format!("retry {number}"), |line| said_at_once.push(line.to_owned()));
        }
        assert_eq!(said_at_once, ["retry 1", "retry 2"]);
        assert!(said(&display, 60).unwrap().contains(", 2 retries, "));
        let line = Display::line();
        line.retry("not said", |_| unreachable!());
        assert!(line.status(Instant::now()).contains(", 1 retry, "));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let display = Display::plain();
        let began = display.state().began;
        for second in 0..100 {
            display.update(Progress { content: second << 20, ..Progress::default() });
            display.tick(began + Duration::from_secs(second), |_| {});
        }
        display.update(Progress { content: 99 << 20, ..Progress::default() });
        let rate = display.state().rate(began + Duration::from_secs(99));
        assert!((rate / f64::from(1 << 20) - 1.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn a_narrow_line_leaves_out_what_matters_least_and_cuts_nothing() {
        let display = Display::line();
        let mut state = display.state();
        state.totals = Progress {
            content: 30 << 20,
            stored: 10 << 20,
            parts: 1,
            total_stored: Some(40 << 20),
            total_parts: Some(4),
            ..Progress::default()
        };
        let now = state.began + Duration::from_secs(60);
        let whole = "30.0 MiB content, 10.0 MiB stored of 40.0 MiB, ratio 3.0, 512.0 KiB/s, part 1 of 4, 1 min 0 s, 3 min 0 s left";
        for (width, expected) in [
            (200, whole),
            (whole.len(), whole),
            (whole.len() - 1, &*whole.replace(", ratio 3.0", "")),
            (79, "30.0 MiB content, 10.0 MiB stored of 40.0 MiB, 512.0 KiB/s, 3 min 0 s left"),
            (39, "30.0 MiB content, 3 min 0 s left"),
            (5, "30.0 MiB content"),
        ] {
            assert_eq!(state.text(now, width), expected, "{width} columns");
        }
    }

    #[test]
    fn only_plain_output_says_each_part() {
        let count = |display: &Display| {
            let mut lines = 0;
            display.part("part 1 stored", |_| lines += 1);
            lines
        };
        assert_eq!([count(&Display::plain()), count(&Display::line()), count(&Display::nothing())], [1, 0, 0]);
    }
}
