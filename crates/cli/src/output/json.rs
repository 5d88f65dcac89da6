//! One JSON object a line, with `type` and `schema`: fields are only ever added within one schema.

use backstay::backup::Receipt;
use backstay::observe::{Event, Progress};
use backstay_format::text::to_hex;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The generation of all objects that are printed.
const SCHEMA: u64 = 1;

/// A result: the fields of `result` after `type` and `schema`.
pub(super) fn object(kind: &str, result: &impl Serialize) -> String {
    let fields = match serde_json::to_value(result) {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => Map::from_iter([("value".to_owned(), other)]),
        Err(error) => Map::from_iter([("unprintable".to_owned(), error.to_string().into())]),
    };
    line(kind, fields)
}

/// One of many of which a result is made.
pub(super) fn part(part: &impl Serialize) -> String {
    serde_json::to_value(part).unwrap_or_else(|error| Value::from(error.to_string())).to_string()
}

/// An event of these fields, with its time; fields without a value are left out.
pub(super) fn event(kind: &str, fields: &[(&str, Value)]) -> String {
    let mut all = Map::from_iter([("time".to_owned(), now())]);
    all.extend(
        fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    line(kind, all)
}

/// What a library's event is here; `None` for those that are shown in other ways.
pub(super) fn of(happened: &Event) -> Option<String> {
    Some(match happened {
        Event::Started { id, plan } => event("started", &[("id", id.as_str().into()), ("plan", plan.as_str().into())]),
        Event::PartStored { n, size } => event("part_stored", &[("n", (*n).into()), ("size", (*size).into())]),
        Event::PartFetched { n, size } => event("part_fetched", &[("n", (*n).into()), ("size", (*size).into())]),
        Event::Retry { store, operation, attempt, pause, cause } => event(
            "retry",
            &[
                ("store", store.as_str().into()),
                ("operation", operation.as_str().into()),
                ("attempt", (*attempt).into()),
                ("pause_ms", u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).into()),
                ("cause", cause.as_str().into()),
            ],
        ),
        Event::CommandLine { line } => event("command_line", &[("line", line.as_str().into())]),
        Event::Committed(receipt) => event("committed", &receipt_fields(receipt)),
        _ => return None,
    })
}

fn receipt_fields(receipt: &Receipt) -> [(&'static str, Value); 6] {
    [
        ("id", receipt.id.as_str().into()),
        ("root", to_hex(&receipt.root).into()),
        ("seal", to_hex(&receipt.seal).into()),
        ("stored", receipt.stored.into()),
        ("content", receipt.content.into()),
        ("parts", receipt.parts.into()),
    ]
}

/// Running totals.
pub(super) fn progress(kind: &str, totals: &Progress) -> String {
    let fields = [
        ("content", totals.content.into()),
        ("stored", totals.stored.into()),
        ("parts", totals.parts.into()),
        ("total_stored", totals.total_stored.into()),
        ("about_content", totals.about_content.into()),
        ("total_parts", totals.total_parts.into()),
    ];
    event(kind, &fields)
}

/// The end of a run that failed.
pub(super) fn failure(failure: &Failure) -> String {
    let fields = [
        ("code", failure.code.into()),
        ("severity", failure.severity().into()),
        ("exit", failure.exit().into()),
        ("message", failure.message.as_str().into()),
        ("causes", json!(failure.causes)),
        ("hint", failure.hint().into()),
    ];
    event("error", &fields)
}

fn line(kind: &str, fields: Map<String, Value>) -> String {
    let mut all = Map::from_iter([("type".to_owned(), kind.into()), ("schema".to_owned(), SCHEMA.into())]);
    all.extend(fields);
    Value::Object(all).to_string()
}

fn now() -> Value {
    time(Timestamp::now()).into()
}

/// A time as all of them are printed: RFC 3339, UTC, milliseconds.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}
