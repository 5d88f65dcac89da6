//! A store that allows a role what its policy allows, and refuses the rest as a cloud would.

use std::sync::Arc;

use async_trait::async_trait;
use backstay_store::{Operation, Role};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Puts the rights of `role` before an object store.
#[must_use]
pub fn permitted(role: Role, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(Permitted { inner, role })
}

#[derive(Debug)]
struct Permitted {
    inner: Arc<dyn ObjectStore>,
    role: Role,
}

impl Permitted {
    fn check(&self, operation: Operation, location: &str) -> Result<()> {
        if self.role.may(operation) { Ok(()) } else { Err(denied(location, operation)) }
    }
}

fn denied(location: &str, what: impl std::fmt::Debug) -> Error {
    Error::PermissionDenied { path: location.into(), source: format!("the role may not: {what:?}").into() }
}

impl std::fmt::Display for Permitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permitted({}, {})", self.role.as_str(), self.inner)
    }
}

#[async_trait]
impl ObjectStore for Permitted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check(Operation::Create, location.as_ref())?;
        // The condition of the policy: without the header nothing may be put.
        if options.mode != PutMode::Create {
            return Err(denied(location.as_ref(), "overwrite"));
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(Operation::Read, location.as_ref())?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.check(Operation::Delete, "") {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.check(Operation::List, "") {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check(Operation::List, "")?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(denied(location.as_ref(), "multipart uploads"))
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(denied(to.as_ref(), "copy"))
    }
}
