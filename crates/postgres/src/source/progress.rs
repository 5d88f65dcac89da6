//! The progress of several archives that are made at the same time, as one.

use std::sync::{Arc, Mutex, PoisonError};

use backstay::{Event, Observer, Progress};

/// What they share.
pub(crate) struct Together {
    inner: Arc<dyn Observer>,
    members: Mutex<Vec<Progress>>,
    /// About how much content there will be.
    expected: Option<u64>,
}

impl Together {
    pub(crate) fn new(inner: Arc<dyn Observer>, expected: Option<u64>) -> Arc<Together> {
        Arc::new(Together { inner, members: Mutex::default(), expected })
    }

    /// The observer of one of them, whose name stands before what its program says.
    pub(crate) fn member(self: &Arc<Self>, name: Option<&str>) -> Arc<dyn Observer> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.push(Progress::default());
        Arc::new(OfMember { together: Arc::clone(self), place: members.len() - 1, name: name.map(str::to_owned) })
    }
}

struct OfMember {
    together: Arc<Together>,
    place: usize,
    name: Option<String>,
}

impl Observer for OfMember {
    fn event(&self, event: &Event) {
        let inner = &self.together.inner;
        match event {
            Event::Progress(progress) => {
                let mut members = self.together.members.lock().unwrap_or_else(PoisonError::into_inner);
                members[self.place] = *progress;
                let sum = |of: fn(&Progress) -> u64| members.iter().map(of).sum::<u64>();
                let together = Progress {
                    content: sum(|progress| progress.content),
                    stored: sum(|progress| progress.stored),
                    parts: members.iter().map(|progress| progress.parts).sum(),
                    about_content: self.together.expected,
                    ..Progress::default()
                };
                drop(members);
                inner.event(&Event::Progress(together));
            }
            Event::CommandLine { line } => match &self.name {
                Some(name) => inner.event(&Event::CommandLine { line: format!("{name:?}: {line}") }),
                None => inner.event(event),
            },
            event => inner.event(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Last(Mutex<Vec<Event>>);

    impl Observer for Last {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn what_members_have_done_is_added_up() {
        let last = Arc::new(Last::default());
        let together = Together::new(Arc::clone(&last) as Arc<dyn Observer>, Some(100));
        let (one, two) = (together.member(Some("one")), together.member(Some("two")));
        let progress = |content| Event::Progress(Progress { content, stored: 1, parts: 1, ..Progress::default() });
        one.event(&progress(10));
        two.event(&progress(20));
        one.event(&progress(15));
        two.event(&Event::CommandLine { line: "warning".to_owned() });
        let events = last.0.lock().unwrap();
        let Event::Progress(sum) = events[2] else { panic!("{events:?}") };
        assert_eq!((sum.content, sum.stored, sum.parts, sum.about_content), (35, 2, 2, Some(100)));
        assert!(matches!(&events[3], Event::CommandLine { line } if line == "\"two\": warning"));
    }
}
