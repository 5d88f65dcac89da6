//! One call of the object store and what its answer means. object_store folds several answers into one error (a 409, which stored
//! nothing, looks like a 412, which found something); what the HTTP service saw of the same call, the [`Exchange`], tells them apart.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

tokio::task_local! {
    /// What is seen of the call in progress. A task local, since delete has no room for extensions in object_store's trait.
    static EXCHANGE: Arc<Exchange>;
}

/// What the HTTP service saw of one call; stays empty for stores without HTTP.
#[derive(Debug, Default)]
pub(crate) struct Exchange(Mutex<Seen>);

/// The facts of the last request of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The request may have reached the store.
    pub(crate) sent: bool,
    /// The status of the answer, if one came.
    pub(crate) status: Option<StatusCode>,
    /// The store's own code for the error, such as `NoSuchBucket`.
    pub(crate) code: Option<String>,
    /// The store's own words.
    pub(crate) message: Option<String>,
    /// The region that the bucket is in, when the store says that it is another one.
    pub(crate) region: Option<String>,
    /// What to do about this machine's clock, if it differs much from that of the answer.
    pub(crate) clock: Option<String>,
    /// What to do about the signature in the URL, if it had expired by the time of the answer.
    pub(crate) expired: Option<String>,
    /// How long the store asks to be left alone (`Retry-After`).
    pub(crate) retry_after: Option<Duration>,
    /// The SHA-256 that the store keeps for the object.
    pub(crate) sha256: Option<[u8; 32]>,
    /// Host of the request, when it is not the store's: a credential service.
    pub(crate) elsewhere: Option<String>,
}

impl Exchange {
    /// The exchange of the running call, if the call is one of ours.
    #[cfg(feature = "cloud")]
    pub(crate) fn current() -> Option<Arc<Self>> {
        EXCHANGE.try_with(Arc::clone).ok()
    }

    #[cfg(feature = "cloud")]
    pub(crate) fn update(&self, f: impl FnOnce(&mut Seen)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs one call of the object store; answers its result with what was seen of it.
pub(crate) async fn attempt<T>(call: impl Future<Output = object_store::Result<T>>) -> (Result<T, Failure>, Seen) {
    let exchange = Arc::new(Exchange::default());
    let result = EXCHANGE.scope(Arc::clone(&exchange), call).await;
    let seen = exchange.seen();
    (result.map_err(|error| Failure::of(error, &seen)), seen)
}

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// There is no such object.
    NoObject,
    /// There is no such bucket, container or directory.
    NoStore,
    /// An object of that name exists.
    Exists,
    /// The store is in the middle of another request for this name and did nothing (409).
    Conflict,
    /// Credentials or permissions.
    Denied,
    /// An object lock or a retention period.
    Locked,
    /// May pass: a lost connection, a timeout, 408, 429, 5xx.
    Transient,
    /// Will not pass.
    Permanent,
    /// It was not waited for any longer.
    Interrupted,
}

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) meaning: Meaning,
    /// The request may have taken effect although it failed.
    pub(crate) effect_unknown: bool,
    /// The store's or the system's words, in one line.
    pub(crate) detail: String,
    /// It was not the store that failed but what its credentials come from.
    pub(crate) of_credentials: bool,
    /// How long the store asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// What the user can do, where the answer tells.
    pub(crate) advice: Option<String>,
    pub(crate) source: object_store::Error,
}

impl Failure {
    /// The failure of a file operation that no object store was asked for.
    pub(crate) fn of_file(error: object_store::Error) -> Self {
        Self::of(error, &Seen::default())
    }

    /// The failure of a call that was given up, or not begun, because whoever asked wants to stop.
    pub(crate) fn interrupted() -> Self {
        let source = Box::new(io::Error::from(io::ErrorKind::Interrupted));
        let error = object_store::Error::Generic { store: "interrupted", source };
        Self { meaning: Meaning::Interrupted, ..Self::of(error, &Seen::default()) }
    }

    /// What the system says of it, if it was the system that failed.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        io_kinds(&self.source).last()
    }

    fn of(error: object_store::Error, seen: &Seen) -> Self {
        let meaning = meaning(&error, seen);
        let of_credentials = seen.elsewhere.is_some() || causes(&error).any(is_credential_error);
        // A refusal (4xx) did nothing. Anything else after the request was on its way may have been carried out.
        let refused = seen.status.is_some_and(|s| s.is_client_error() && s != StatusCode::REQUEST_TIMEOUT);
        let without_http = seen.status.is_none() && !seen.sent && connection_lost(&error);
        let effect_unknown =
            meaning == Meaning::Transient && !of_credentials && ((seen.sent && !refused) || without_http);
        let region =
            seen.region.as_ref().map(|region| format!("the bucket is in region {region}; use --region {region}"));
        // Only what may be a matter of signatures and tokens is put down to the clock. A bad request may be: to a HEAD that comes with an old date
        // some stores answer no more than that.
        let may_be_the_clock =
            meaning == Meaning::Denied || of_credentials || seen.status == Some(StatusCode::BAD_REQUEST);
        // A clock that is off makes signatures that have expired: then the clock is why.
        let of_time = seen.clock.clone().or_else(|| seen.expired.clone()).filter(|_| may_be_the_clock);
        let advice = of_time.or(region);
        Self {
            meaning,
            effect_unknown,
            detail: detail(&error, seen),
            of_credentials,
            retry_after: seen.retry_after,
            advice,
            source: error,
        }
    }
}

fn meaning(error: &object_store::Error, seen: &Seen) -> Meaning {
    use object_store::Error as E;
    if seen.elsewhere.is_some() {
        return match seen.status {
            Some(status) if !transient(status) => Meaning::Permanent,
            _ => Meaning::Transient,
        };
    }
    if let Some(code) = seen.code.as_deref() {
        match code {
            "NoSuchBucket" | "ContainerNotFound" => return Meaning::NoStore,
            "BlobImmutableDueToPolicy"
            | "BlobImmutableDueToLegalHold"
            | "LeaseIdMissing"
            | "RetentionPolicyNotMet"
            | "ObjectUnderActiveHold" => {
                return Meaning::Locked;
            }
            "RequestTimeout" | "SlowDown" | "OperationAborted" | "ConditionalRequestConflict" => {
                return if seen.status == Some(StatusCode::CONFLICT) { Meaning::Conflict } else { Meaning::Transient };
            }
            _ => {}
        }
    }
    if seen.status.is_some_and(|status| status.is_client_error())
        && seen.message.as_deref().is_some_and(|message| names_a_lock(message, seen.code.as_deref()))
    {
        return Meaning::Locked;
    }
    match seen.status {
        Some(StatusCode::CONFLICT) if seen.code.as_deref() == Some("BlobAlreadyExists") => {
            return Meaning::Exists;
        }
        Some(StatusCode::CONFLICT) => return Meaning::Conflict,
        Some(StatusCode::PRECONDITION_FAILED) => return Meaning::Exists,
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => return Meaning::Denied,
        // So Garage calls a signature that is more than a day old.
        Some(StatusCode::BAD_REQUEST)
            if seen.message.as_deref().is_some_and(|words| words.contains("Date is too old")) =>
        {
            return Meaning::Denied;
        }
        Some(status) if transient(status) => return Meaning::Transient,
        _ => {}
    }
    match error {
        E::NotFound { .. } => Meaning::NoObject,
        E::AlreadyExists { .. } | E::Precondition { .. } => Meaning::Exists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Meaning::Denied,
        // A refusal in other words. After a good status it was the body that failed, as the network's or the system's errors tell.
        E::Generic { .. } if seen.status.is_some_and(|s| !s.is_success()) => Meaning::Permanent,
        // A bulk request of one, as Azure's deletion is, has its failure inside a good answer.
        E::Generic { .. } if seen.status.is_some() && names_a_lock(reason(&error.to_string()), None) => Meaning::Locked,
        other => of_io(other),
    }
}

fn transient(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Stores answer the same status to a stranger and to the owner of a locked object; only the words differ. A stranger's answer has names in it, of
/// a bucket, an object or a user: they are quoted, or have no blanks, as all of these phrases have.
fn names_a_lock(message: &str, code: Option<&str>) -> bool {
    let message = without_quotations(message).to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    // MinIO calls it an InvalidRequest.
    if says(&["worm protected"]) {
        return true;
    }
    // A request that speaks of locks in a wrong way is another matter.
    let malformed = code.is_some_and(|code| code.starts_with("Invalid") || code.starts_with("Missing"));
    let locked = [
        // Amazon and Ceph: "protected by object lock", "forbidden by object lock".
        "object lock",
        // Google: "is subject to bucket's retention policy", "is under active Temporary hold", "is under active Event-Based hold".
        "retention policy",
        "active temporary hold",
        "active event-based hold",
        // Azure: "is immutable due to a policy", "… due to one or more legal holds", "there is currently a lease on the blob".
        "immutable due to",
        "legal hold",
        "lease on the blob",
    ];
    !malformed && says(&locked)
}

/// What a store said of one object of a bulk request. object_store puts its own words and the object's key before it.
fn reason(text: &str) -> &str {
    let text = text.rsplit_once(" (code: ").map_or(text, |(text, _)| text);
    text.rsplit_once(": ").map_or(text, |(_, reason)| reason)
}

/// A text without what stands between quotation marks in it. An apostrophe in a word is none, nor is a mark that has no other.
fn without_quotations(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut rest, mut in_word) = (text, false);
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        let closing =
            |(at, _): &(usize, &str)| !after[at + 1..].starts_with(|following: char| following.is_alphanumeric());
        let end = match next {
            '"' => after.find('"'),
            '\'' if !in_word => after.match_indices('\'').find(closing).map(|(at, _)| at),
            _ => None,
        };
        if let Some(end) = end {
            (rest, in_word) = (&after[end + 1..], false);
        } else {
            kept.push(next);
            (rest, in_word) = (after, next.is_alphanumeric());
        }
    }
    kept
}

/// Failures without an answer: the network's, or the local file system's.
fn of_io(error: &object_store::Error) -> Meaning {
    use io::ErrorKind as K;
    let kinds: Vec<K> = io_kinds(error).collect();
    let any = |wanted: &[K]| kinds.iter().any(|kind| wanted.contains(kind));
    if any(&[K::PermissionDenied, K::ReadOnlyFilesystem]) {
        Meaning::Denied
    } else if any(&[K::InvalidData]) {
        // rustls reports through io as invalid data: a bad certificate or no TLS at all does not get better by asking again.
        Meaning::Permanent
    } else if connection_lost(error)
        || any(&[K::ConnectionRefused, K::HostUnreachable, K::NetworkUnreachable])
        || transport_error(error)
    {
        Meaning::Transient
    } else {
        Meaning::Permanent
    }
}

fn connection_lost(error: &object_store::Error) -> bool {
    use io::ErrorKind as K;
    io_kinds(error).any(|k| {
        matches!(
            k,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::TimedOut | K::UnexpectedEof | K::Interrupted
        )
    })
}

#[cfg(feature = "s3")]
fn is_credential_error(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<crate::credentials::ProcessError>()
}

#[cfg(not(feature = "s3"))]
fn is_credential_error(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(feature = "cloud")]
fn transport_error(error: &object_store::Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<object_store::client::HttpError>().is_some())
}

#[cfg(not(feature = "cloud"))]
fn transport_error(_: &object_store::Error) -> bool {
    false
}

fn io_kinds(error: &object_store::Error) -> impl Iterator<Item = io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        // An io error passes over the error that it was made of and answers that one's source.
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    })
}

/// The store's own words where it had any, else the innermost cause, which is the one that says what happened.
fn detail(error: &object_store::Error, seen: &Seen) -> String {
    let words = match (&seen.code, &seen.message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    };
    let at = seen.elsewhere.as_ref().map(|host| format!(" from {host}")).unwrap_or_default();
    let text = match (seen.status, words) {
        (Some(status), Some(words)) => format!("status {}{at}, {words}", status.as_u16()),
        (Some(status), None) if !status.is_success() => format!("status {}{at}", status.as_u16()),
        _ => {
            let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
            format!("{innermost}{at}")
        }
    };
    text.trim().trim_end_matches('.').replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    fn exists() -> object_store::Error {
        object_store::Error::AlreadyExists { path: "x".into(), source: "".into() }
    }

    fn answered(status: u16, code: &str) -> Seen {
        Seen {
            sent: true,
            status: StatusCode::from_u16(status).ok(),
            code: (!code.is_empty()).then(|| code.to_owned()),
            ..Seen::default()
        }
    }

    #[test]
    fn a_409_is_a_conflict_although_object_store_calls_it_already_exists() {
        let failure = Failure::of(exists(), &answered(409, "ConditionalRequestConflict"));
        assert_eq!(failure.meaning, Meaning::Conflict);
        assert!(!failure.effect_unknown);
        assert_eq!(Failure::of(exists(), &answered(409, "")).meaning, Meaning::Conflict);
        assert_eq!(Failure::of(exists(), &answered(412, "PreconditionFailed")).meaning, Meaning::Exists);
        assert_eq!(Failure::of(exists(), &answered(409, "BlobAlreadyExists")).meaning, Meaning::Exists);
        assert_eq!(Failure::of(exists(), &Seen::default()).meaning, Meaning::Exists);
    }

    #[test]
    fn only_answers_that_may_pass_are_repeated() {
        for (status, meaning) in [
            (500, Meaning::Transient),
            (502, Meaning::Transient),
            (503, Meaning::Transient),
            (429, Meaning::Transient),
            (408, Meaning::Transient),
            (400, Meaning::Permanent),
            (501, Meaning::Permanent),
        ] {
            let failure = Failure::of(generic(io::Error::other("x")), &answered(status, ""));
            assert_eq!(failure.meaning, meaning, "{status}");
        }
        for status in [401, 403] {
            let error = object_store::Error::PermissionDenied { path: "x".into(), source: "".into() };
            assert_eq!(Failure::of(error, &answered(status, "")).meaning, Meaning::Denied, "{status}");
        }
    }

    #[test]
    fn effects_are_unknown_after_5xx_and_lost_connections_but_not_after_refusals() {
        let of = |status| Failure::of(generic(io::Error::other("x")), &answered(status, "")).effect_unknown;
        assert!(of(500) && of(503) && of(408));
        assert!(!of(429) && !of(400));
        let lost = Seen { sent: true, ..Seen::default() };
        assert!(Failure::of(generic(io::Error::from(io::ErrorKind::ConnectionReset)), &lost).effect_unknown);
        let refused = Failure::of(generic(io::Error::from(io::ErrorKind::ConnectionRefused)), &Seen::default());
        assert_eq!((refused.meaning, refused.effect_unknown), (Meaning::Transient, false));
    }

    #[test]
    fn file_system_failures_are_denied_or_permanent() {
        let of = |kind| Failure::of(generic(io::Error::from(kind)), &Seen::default()).meaning;
        assert_eq!(of(io::ErrorKind::PermissionDenied), Meaning::Denied);
        assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), Meaning::Denied);
        assert_eq!(of(io::ErrorKind::StorageFull), Meaning::Permanent);
        assert_eq!(of(io::ErrorKind::InvalidData), Meaning::Permanent);
    }

    #[test]
    fn the_region_of_a_bucket_elsewhere_is_advised() {
        let mut seen = answered(301, "PermanentRedirect");
        seen.region = Some("eu-west-1".into());
        let failure = Failure::of(generic(io::Error::other("x")), &seen);
        assert_eq!(failure.meaning, Meaning::Permanent);
        assert!(failure.advice.unwrap().contains("--region eu-west-1"));
    }

    #[test]
    fn a_bad_request_may_be_a_matter_of_the_clock() {
        let off = |mut seen: Seen, words: &str| {
            seen.clock = Some("the clock is off".into());
            seen.message = Some(words.into());
            Failure::of(generic(io::Error::other("x")), &seen)
        };
        let old = off(answered(400, "InvalidRequest"), "Bad request: Date is too old");
        assert_eq!((old.meaning, old.advice.as_deref()), (Meaning::Denied, Some("the clock is off")));
        let mut head = answered(400, "");
        head.code = None;
        let head = off(head, "");
        assert_eq!((head.meaning, head.advice.as_deref()), (Meaning::Permanent, Some("the clock is off")));
        let other = off(answered(404, "NoSuchKey"), "no");
        assert_eq!(other.advice, None);
    }

    #[test]
    fn missing_buckets_and_locked_objects_are_told_by_the_stores_code() {
        let missing = || object_store::Error::NotFound { path: "x".into(), source: "".into() };
        assert_eq!(Failure::of(missing(), &answered(404, "NoSuchBucket")).meaning, Meaning::NoStore);
        assert_eq!(Failure::of(missing(), &answered(404, "NoSuchKey")).meaning, Meaning::NoObject);
        let mut seen = answered(400, "InvalidRequest");
        seen.message = Some("Bucket is missing Object Lock Configuration".into());
        assert_eq!(Failure::of(generic(io::Error::other("x")), &seen).meaning, Meaning::Permanent);
    }

    fn refused(status: u16, code: &str, message: &str) -> Meaning {
        let error = object_store::Error::PermissionDenied { path: "x".into(), source: "".into() };
        Failure::of(error, &Seen { message: Some(message.into()), ..answered(status, code) }).meaning
    }

    #[test]
    fn locks_are_told_in_the_words_of_each_store() {
        for (status, code, message) in [
            (403, "AccessDenied", "Access Denied because object protected by object lock."),
            (403, "AccessDenied", "forbidden by object lock"),
            (400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
            (
                403,
                "AccessDenied",
                "Object 'b/it's-0' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until 2031-09-20T12:18:15.93713-07:00",
            ),
            (
                403,
                "",
                "Object 'b/x-0' is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed.",
            ),
            (403, "RetentionPolicyNotMet", "in words of another year"),
            (
                409,
                "BlobImmutableDueToPolicy",
                "This operation is not permitted as the blob is immutable due to a policy.",
            ),
            (409, "", "This operation is not permitted as the blob is immutable due to one or more legal holds."),
        ] {
            assert_eq!(refused(status, code, message), Meaning::Locked, "{message}");
        }
        let bulk = |key: &str, reason: &str| {
            let text = format!("Bulk delete request failed for key {key}: {reason} (code: 409)");
            Failure::of(generic(io::Error::other(text)), &answered(202, "")).meaning
        };
        let immutable = "This operation is not permitted as the blob is immutable due to a policy.";
        assert_eq!(bulk("p/x-0", immutable), Meaning::Locked);
        assert_eq!(bulk("legal hold/x-0", "The blob type is invalid."), Meaning::Permanent);
    }

    #[test]
    fn names_that_speak_of_locks_are_no_lock() {
        let user = "arn:aws:iam::123456789012:user/immutable";
        let key = "immutable-legal-hold/object lock/retention policy/x-0";
        let amazon = format!(
            "User: {user} is not authorized to perform: s3:GetObject on resource: \"arn:aws:s3:::{key}\" because no identity-based policy allows the s3:GetObject action"
        );
        let google =
            format!("immutable@p.iam.gserviceaccount.com does not have storage.objects.get access to '{key}'.");
        for message in [amazon.as_str(), google.as_str(), "immutable: access denied"] {
            assert_eq!(refused(403, "AccessDenied", message), Meaning::Denied, "{message}");
        }
    }

    #[test]
    fn only_what_stands_between_two_marks_is_quoted() {
        for (text, kept) in [
            ("a \"b c\" d", "a  d"),
            ("Object 'b/o' is the bucket's", "Object  is the bucket's"),
            ("'it's' gone", " gone"),
            ("Object 'b/o is held", "Object 'b/o is held"),
            ("one \" mark", "one \" mark"),
            ("\"é\"ü'ü'", "ü'ü'"),
        ] {
            assert_eq!(without_quotations(text), kept);
        }
    }
}
