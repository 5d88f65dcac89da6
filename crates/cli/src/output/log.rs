//! The libraries' diagnostic log (`-v`), in the same stream and form as everything else on standard error.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Weak};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Form, Output, json};

/// Our own crates; what lies below them is asked for by a third -v.
const OURS: &str = "backstay";

/// Starts logging, if it is asked for.
pub(super) fn start(verbose: u8, output: &Arc<Output>) {
    let (level, everybody) = match verbose {
        0 => return,
        1 => (LevelFilter::INFO, false),
        2 => (LevelFilter::DEBUG, false),
        _ => (LevelFilter::TRACE, true),
    };
    let layer = Lines { output: Arc::downgrade(output), everybody };
    // Only a test starts twice in one process.
    let _ = tracing_subscriber::registry().with(layer.with_filter(level)).try_init();
}

/// Writes each event as a line.
struct Lines {
    output: Weak<Output>,
    everybody: bool,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(output) = self.output.upgrade().filter(|_| self.everybody || metadata.target().starts_with(OURS))
        else {
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = metadata.level().as_str().to_ascii_lowercase();
        match output.events {
            Form::Text => {
                let text = format!("{level}: {}{}", fields.message, fields.text());
                output.line(&super::visible::message(&text));
            }
            Form::Json => output.line(&json::event(
                "log",
                &[
                    ("level", level.into()),
                    ("target", metadata.target().into()),
                    ("text", fields.message.as_str().into()),
                    ("fields", Value::Object(fields.others)),
                ],
            )),
        }
    }
}

/// What an event carries.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.others {
            let _ = match value {
                Value::String(value) => write!(text, " {name}={value}"),
                value => write!(text, " {name}={value}"),
            };
        }
        text
    }

    fn set(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.set(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.set(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}
