//! The settings of a bucket of S3. object_store does not ask for these, so the requests are made here and leave where all others do, which
//! signs them.

use http::{Method, StatusCode};
use object_store::client::{HttpClient, HttpRequestBody};
use serde::Deserialize;

use super::{BucketSettings, ObjectLock, Setting};
use crate::requests::Request;
use crate::{Error, Store};

/// Asks for the settings of one bucket.
#[derive(Clone, Debug)]
pub(crate) struct BucketRequests {
    pub(crate) client: HttpClient,
    /// Without a query.
    pub(crate) url: String,
}

#[derive(Debug, Deserialize)]
struct Versioning {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockConfiguration {
    object_lock_enabled: Option<String>,
    rule: Option<LockRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockRule {
    default_retention: Option<Retention>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retention {
    mode: String,
    days: Option<u64>,
    years: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Lifecycle {
    #[serde(rename = "Rule", default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Rule {
    #[serde(rename = "ID")]
    id: Option<String>,
    status: String,
    prefix: Option<String>,
    filter: Option<Filter>,
    expiration: Option<Expiration>,
    #[serde(rename = "Transition")]
    transitions: Vec<Transition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Filter {
    prefix: Option<String>,
    tag: Vec<Tag>,
    and: Option<Box<Filter>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Expiration {
    days: Option<u64>,
    date: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Transition {
    days: Option<u64>,
    date: Option<String>,
    storage_class: String,
}

impl Store {
    pub(super) async fn settings_of_s3(&self, requests: &BucketRequests) -> Result<BucketSettings, Error> {
        let versioning = self.setting(requests, "versioning", |text: &str| {
            let found: Option<Versioning> = quick_xml::de::from_str(text).ok();
            Some(found?.status.as_deref() == Some("Enabled"))
        });
        let lock = self.setting(requests, "object-lock", object_lock);
        let tags = self.creation().tags();
        let lifecycle = self.setting(requests, "lifecycle", |text| endangering(text, self.prefix(), &tags));
        Ok(BucketSettings {
            versioning: versioning.await?.unwrap_or(Setting::Is(false)),
            lock: lock.await?.unwrap_or(Setting::Is(ObjectLock::Off)),
            lifecycle: lifecycle.await?.unwrap_or(Setting::Is(Vec::new())),
        })
    }

    /// One setting, read by `parse`; `None` if the bucket does not have it.
    async fn setting<T>(
        &self,
        requests: &BucketRequests,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<Setting<T>>, Error> {
        let generic = |source| object_store::Error::Generic { store: "S3", source };
        let mut attempts = self.attempts();
        let text = loop {
            let call = async {
                let request = http::Request::builder()
                    .method(Method::GET)
                    .uri(format!("{}?{name}", requests.url))
                    .body(HttpRequestBody::empty())
                    .map_err(|error| generic(Box::new(error)))?;
                let answer = requests.client.execute(request).await.map_err(|error| generic(Box::new(error)))?;
                let status = answer.status();
                let body = answer.into_body().bytes().await.map_err(|error| generic(Box::new(error)))?;
                if status.is_success() { Ok(body) } else { Err(generic(status.to_string().into())) }
            };
            let (answer, seen) = self.attempt(Request::Get, call).await;
            let failure = match answer {
                Ok(body) => break String::from_utf8_lossy(&body).into_owned(),
                Err(failure) => failure,
            };
            match (seen.status, seen.code.as_deref()) {
                (Some(StatusCode::NOT_FOUND), Some("NoSuchBucket")) => {}
                (Some(StatusCode::NOT_FOUND), _) => return Ok(None),
                (Some(StatusCode::FORBIDDEN), _) => {
                    return Ok(Some(Setting::Unknown("this credential may not ask".into())));
                }
                (Some(StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST), _) => {
                    return Ok(Some(Setting::Unknown("this server does not know such a setting".into())));
                }
                _ => {}
            }
            self.before_next(&mut attempts, failure, &format!("asking for {name}")).await?;
        };
        Ok(Some(parse(&text).map_or_else(|| Setting::Unknown("the answer is not understood".into()), Setting::Is)))
    }
}

fn object_lock(text: &str) -> Option<ObjectLock> {
    let found: LockConfiguration = quick_xml::de::from_str(text).ok()?;
    if found.object_lock_enabled.as_deref() != Some("Enabled") {
        return Some(ObjectLock::Off);
    }
    Some(match found.rule.and_then(|rule| rule.default_retention) {
        None => ObjectLock::On,
        Some(Retention { mode, days, years }) => {
            let length = match (days, years) {
                (Some(days), _) => format!("{days} days"),
                (None, Some(years)) => format!("{years} years"),
                (None, None) => "a while".into(),
            };
            ObjectLock::Default(format!("{mode} for {length}"))
        }
    })
}

/// What the rules do that takes objects with this prefix and these tags out of reach.
fn endangering(text: &str, prefix: &str, tags: &[(String, String)]) -> Option<Vec<String>> {
    let Lifecycle { rules } = quick_xml::de::from_str(text).ok()?;
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| rule.status == "Enabled" && rule.concerns(prefix, tags)) {
        let name = rule.id.as_deref().map_or_else(|| "a rule without id".into(), |id| format!("rule `{id}`"));
        let when = |days: Option<u64>, date: Option<&String>| match (days, date) {
            (Some(days), _) => Some(format!("{days} days after it is created")),
            (None, date) => date.map(|date| format!("on {date}")),
        };
        if let Some(when) = rule.expiration.as_ref().and_then(|end| when(end.days, end.date.as_ref())) {
            found.push(format!("{name} deletes each object {when}, whatever archive it belongs to"));
        }
        for Transition { days, date, storage_class } in &rule.transitions {
            if matches!(storage_class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
                && let Some(when) = when(*days, date.as_ref())
            {
                found.push(format!(
                    "{name} moves each object {when} to {storage_class}, where it cannot be read until it is restored"
                ));
            }
        }
    }
    Some(found)
}

impl Rule {
    fn concerns(&self, prefix: &str, tags: &[(String, String)]) -> bool {
        let mut prefixes = self.prefix.iter().collect::<Vec<_>>();
        let mut wanted: Vec<&Tag> = Vec::new();
        let and = self.filter.as_ref().and_then(|filter| filter.and.as_deref());
        for filter in self.filter.iter().chain(and) {
            prefixes.extend(&filter.prefix);
            wanted.extend(&filter.tag);
        }
        prefixes.iter().all(|of_rule| of_rule.starts_with(prefix) || prefix.starts_with(of_rule.as_str()))
            && wanted.iter().all(|tag| tags.iter().any(|(key, value)| *key == tag.key && *value == tag.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &str, prefix: &str, tags: &[(String, String)]) -> Vec<String> {
        let text = format!(
            "<?xml version=\"1.0\"?><LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"
        );
        endangering(&text, prefix, tags).unwrap()
    }

    #[test]
    fn only_rules_that_take_objects_of_the_store_away_are_told() {
        let expire = |status: &str, filter: &str| {
            format!("<Rule><ID>r</ID>{filter}<Status>{status}</Status><Expiration><Days>30</Days></Expiration></Rule>")
        };
        let hit = ["rule `r` deletes each object 30 days after it is created, whatever archive it belongs to"];
        let one = |rule: &str| rules(rule, "pg/", &[]);
        for filter in [
            "",
            "<Prefix/>",
            "<Prefix>pg/</Prefix>",
            "<Prefix>pg/x</Prefix>",
            "<Filter><Prefix>p</Prefix></Filter>",
            "<Filter/>",
        ] {
            assert_eq!(one(&expire("Enabled", filter)), hit, "{filter}");
        }
        let none: [&str; 0] = [];
        assert_eq!(one(&expire("Disabled", "")), none);
        assert_eq!(one(&expire("Enabled", "<Prefix>logs/</Prefix>")), none);
        let tagged = "<Filter><And><Prefix>pg/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value>d</Value></Tag></And></Filter>";
        assert_eq!(one(&expire("Enabled", tagged)), none);
        let tags = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())];
        assert_eq!(rules(&expire("Enabled", tagged), "pg/", &tags), hit);
        assert_eq!(rules(&expire("Enabled", tagged), "pg/", &tags[..1]), none);
        let harmless = "<Rule><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
            <NoncurrentVersionExpiration><NoncurrentDays>9</NoncurrentDays></NoncurrentVersionExpiration>\
            <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
            <Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule>";
        assert_eq!(one(harmless), none);
        let cold = "<Rule><Status>Enabled</Status><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>\
            <Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>";
        assert!(one(cold)[0].starts_with("a rule without id moves each object 90 days"), "{:?}", one(cold));
        let two = expire("Enabled", "") + &expire("Enabled", "<Prefix>other/</Prefix>") + &expire("Enabled", "");
        assert_eq!(one(&two).len(), 2);
    }

    #[test]
    fn a_lock_may_be_off_on_or_by_default() {
        let of =
            |inner: &str| object_lock(&format!("<ObjectLockConfiguration>{inner}</ObjectLockConfiguration>")).unwrap();
        assert_eq!(of(""), ObjectLock::Off);
        assert_eq!(of("<ObjectLockEnabled>Enabled</ObjectLockEnabled>"), ObjectLock::On);
        let rule = "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>";
        assert_eq!(of(rule), ObjectLock::Default("COMPLIANCE for 1 years".into()));
        assert_eq!(object_lock("no xml"), None);
    }
}
