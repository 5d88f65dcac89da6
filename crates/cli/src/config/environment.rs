//! Options from the environment: `BACKSTAY_<OPTION>`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::option::{Kind, Table, variable};
use super::{Origin, Setting, nearest};
use crate::failure::{Failure, Result};

const PREFIX: &str = "BACKSTAY_";

/// The options that the environment sets, and a warning for each variable that looks like one of ours and is none.
///
/// An empty variable counts as absent. Several values are separated by commas or line feeds.
pub(super) fn read(
    table: &Table,
    environment: &[(OsString, OsString)],
) -> Result<(BTreeMap<String, Setting>, Vec<String>)> {
    let (mut set, mut warnings) = (BTreeMap::new(), Vec::new());
    for (name, value) in environment {
        let Some((name, key)) = name.to_str().and_then(|name| Some((name, name.strip_prefix(PREFIX)?))) else {
            continue;
        };
        let key = key.to_ascii_lowercase();
        let known = table.get(&key).filter(|_| name == variable(&key));
        if known.is_some() && table.must_be_spelled_out(&key) {
            if !value.to_string_lossy().trim().is_empty() {
                warnings.push(format!(
                    "the variable {name} is not read: say --{} on the command line",
                    key.replace('_', "-")
                ));
            }
            continue;
        }
        let Some(known) = known else {
            let variables: Vec<_> = table.keys().map(variable).collect();
            let hint = nearest(name, variables.iter().map(String::as_str));
            warnings.push(match hint {
                Some(hint) => format!("the variable {name} means nothing here; did you mean {hint}?"),
                None => format!("the variable {name} means nothing here"),
            });
            continue;
        };
        let wrong = |why: &str| {
            Failure::new("usage.config", format!("the variable {name} has a value that does not fit: {why}"))
        };
        let value = value.to_str().ok_or_else(|| wrong("it is not text"))?;
        let values: Vec<String> = match known.kind {
            _ if value.trim().is_empty() => continue,
            Kind::Switch => vec![switch(value).ok_or_else(|| wrong("it is neither true nor false"))?.to_string()],
            Kind::Count | Kind::One => vec![value.to_owned()],
            Kind::Many => {
                value.split([',', '\n']).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
            }
        };
        if known.kind != Kind::Switch
            && let Some(why) = values.iter().find_map(|value| known.refuse(value))
        {
            return Err(wrong(&why));
        }
        set.insert(key, Setting { values, origin: Origin::Environment(name.to_owned()) });
    }
    Ok((set, warnings))
}

fn switch(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
