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
        // Only what may be a matter of signatures and tokens is put down to the clock.
        let clock = seen.clock.clone().filter(|_| meaning == Meaning::Denied || of_credentials);
        let advice = clock.or(region);
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
            "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold" | "LeaseIdMissing" => {
                return Meaning::Locked;
            }
            "RequestTimeout" | "SlowDown" | "OperationAborted" | "ConditionalRequestConflict" => {
                return if seen.status == Some(StatusCode::CONFLICT) { Meaning::Conflict } else { Meaning::Transient };
            }
            _ => {}
        }
    }
    // A request that speaks of locks in a wrong way is another matter.
    let malformed = seen.code.as_deref().is_some_and(|code| code.starts_with("Invalid") || code.starts_with("Missing"));
    if seen.status.is_some_and(|status| status.is_client_error())
        && !malformed
        && seen.message.as_deref().is_some_and(names_a_lock)
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
        E::Generic { .. } if seen.status.is_some() && names_a_lock(&error.to_string()) => Meaning::Locked,
        other => of_io(other),
    }
}

fn transient(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Stores answer the same status to a stranger and to the owner of a locked object; only the words differ.
fn names_a_lock(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("object lock")
        || message.contains("retention policy")
        || message.contains("legal hold")
        || message.contains("immutable")
        || message.contains("worm protected")
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
    fn missing_buckets_and_locked_objects_are_told_by_the_stores_code() {
        let missing = || object_store::Error::NotFound { path: "x".into(), source: "".into() };
        assert_eq!(Failure::of(missing(), &answered(404, "NoSuchBucket")).meaning, Meaning::NoStore);
        assert_eq!(Failure::of(missing(), &answered(404, "NoSuchKey")).meaning, Meaning::NoObject);
        let mut seen = answered(403, "AccessDenied");
        seen.message = Some("Access Denied because object protected by object lock.".into());
        let denied = object_store::Error::PermissionDenied { path: "x".into(), source: "".into() };
        assert_eq!(Failure::of(denied, &seen).meaning, Meaning::Locked);
        let mut seen = answered(400, "InvalidRequest");
        seen.message = Some("Bucket is missing Object Lock Configuration".into());
        assert_eq!(Failure::of(generic(io::Error::other("x")), &seen).meaning, Meaning::Permanent);
    }
}
