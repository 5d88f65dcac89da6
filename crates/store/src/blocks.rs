//! One object of unknown length on Azure. Its bytes go there in blocks, which nobody sees and which Azure forgets a week later. The list of them, which
//! makes the object, is sent with the condition that nothing has its name; object_store sends the blocks, but the list without a condition, so that
//! the list is sent here.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::{Attribute, GetOptions, MultipartId};
use url::Url;

use crate::attempt::{Failure, Meaning};
use crate::commit::Created;
use crate::requests::Request;
use crate::{Error, Store};

/// The most blocks that Azure takes for one object.
pub(crate) const MOST: u32 = 50_000;
/// The most bytes that it takes for one of them.
pub(crate) const LARGEST: u64 = 4000 << 20;
/// The metadata by which a writer knows its own object again when the answer was lost.
const MARK: &str = "backstayupload";
const MARK_HEADER: &str = "x-ms-meta-backstayupload";

/// What objects are made of blocks with.
#[derive(Clone, Debug)]
pub(crate) struct BlockBlobs {
    azure: Arc<MicrosoftAzure>,
    client: HttpClient,
    account: String,
    container: Url,
}

impl BlockBlobs {
    /// `container` is the address of the container.
    pub(crate) fn new(azure: Arc<MicrosoftAzure>, client: HttpClient, account: String, container: Url) -> Self {
        Self { azure, client, account, container }
    }

    async fn send_list(&self, key: &Key, list: &Bytes, headers: HeaderMap) -> object_store::Result<()> {
        let generic = |source| object_store::Error::Generic { store: "MicrosoftAzure", source };
        let mut url = self.container.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(key.parts());
        }
        url.set_query(Some("comp=blocklist"));
        let mut request = http::Request::builder()
            .method(Method::PUT)
            .uri(url.as_str())
            .header(CONTENT_LENGTH, list.len())
            .header(IF_NONE_MATCH, "*")
            .body(HttpRequestBody::from(list.clone()))
            .map_err(|error| generic(Box::new(error)))?;
        request.headers_mut().extend(headers);
        let credential = self.azure.credentials().get_credential().await?;
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        let answer = self.client.execute(request).await.map_err(|error| generic(Box::new(error)))?;
        let status = answer.status();
        answer.into_body().bytes().await.map_err(|error| generic(Box::new(error)))?;
        if status.is_success() { Ok(()) } else { Err(generic(status.to_string().into())) }
    }
}

/// An object on its way in blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    blobs: BlockBlobs,
    sent: Vec<PartId>,
    bytes: u64,
}

impl Blocks {
    pub(crate) fn begin(blobs: BlockBlobs) -> Self {
        Self { blobs, sent: Vec::new(), bytes: 0 }
    }

    /// Sends a block, again and again after failures that may pass: one that arrived twice has two names, and only one of them is in the list.
    pub(crate) async fn send(&mut self, store: &Store, name: &str, body: Bytes) -> Result<(), Error> {
        let n = self.sent.len();
        if !has_room(n, body.len() as u64) {
            let (store, name) = (store.url().into(), name.into());
            return Err(Error::TooManyBlocks { store, name, blocks: n, bytes: self.bytes });
        }
        let key = store.key(name)?;
        let operation = format!("sending block {n} of {name}");
        // Azure has none: the blocks of a name that are in no object are all together.
        let upload = MultipartId::new();
        let mut attempts = store.attempts();
        loop {
            let call = self.blobs.azure.put_part(&key, &upload, n, body.clone().into());
            match store.attempt(Request::Put, call).await.0 {
                Ok(part) => {
                    self.sent.push(part);
                    self.bytes += body.len() as u64;
                    return Ok(());
                }
                Err(failure) => store.before_next(&mut attempts, failure, &operation).await?,
            }
        }
    }

    /// Makes the object of the blocks, if its name is free.
    pub(crate) async fn commit(self, store: &Store, name: &str) -> Result<Created, Error> {
        let key = store.key(name)?;
        let operation = format!("creating {name}");
        let list = Bytes::from(list(&self.sent));
        // The first block's name is as good as any other random one. Objects without a block are all the same.
        let mark = self.sent.first().map_or("empty", |part| part.content_id.as_str());
        let mut attempts = store.attempts();
        let mut sent_before = false;
        loop {
            let mut headers = store.creation().headers_of_azure();
            let value = HeaderValue::from_str(mark).expect("object_store names blocks in hexadecimal digits");
            headers.insert(MARK_HEADER, value);
            let call = self.blobs.send_list(&key, &list, headers);
            let failure = match store.attempt(Request::Put, call).await.0 {
                Ok(()) => return Ok(Created::New),
                Err(failure) => failure,
            };
            // Once the object is made, its blocks are none of an object to come: the same list may be invalid then.
            if failure.meaning == Meaning::Exists || (sent_before && failure.meaning == Meaning::Permanent) {
                return settled(store, name, mark, sent_before, failure).await;
            }
            sent_before |= failure.effect_unknown;
            store.before_next(&mut attempts, failure, &operation).await?;
        }
    }
}

/// What it means that the store does not make the object: it made it before, and the answer was lost, or it is somebody else's.
async fn settled(store: &Store, name: &str, mark: &str, sent_before: bool, failure: Failure) -> Result<Created, Error> {
    let taken = |reason: &str| Error::NameTaken { store: store.url().into(), name: name.into(), reason: reason.into() };
    let key = store.key(name)?;
    let operation = format!("asking for {name}");
    let mut attempts = store.attempts();
    loop {
        let call = store.objects().get_opts(&key, GetOptions { head: true, ..GetOptions::default() });
        let denied = match store.attempt(Request::Head, call).await.0 {
            Ok(found) => {
                let theirs = found.attributes.get(&Attribute::Metadata(MARK.into()));
                let ours = theirs.is_some_and(|theirs| theirs.as_ref() == mark);
                return if ours { Ok(Created::Confirmed) } else { Err(taken("it is another upload's")) };
            }
            Err(Failure { meaning: Meaning::NoObject, .. }) => {
                let mut attempts = store.attempts();
                attempts.give_up();
                return Err(store.error(failure, &attempts, &format!("creating {name}")));
            }
            Err(denied) => denied,
        };
        match denied.meaning {
            Meaning::Denied if sent_before => return Ok(Created::Unconfirmed),
            Meaning::Denied => return Err(taken("it was there before the first send and may not be read")),
            _ => store.before_next(&mut attempts, denied, &operation).await?,
        }
    }
}

/// Whether one more block of that size is taken after `sent` of them.
fn has_room(sent: usize, length: u64) -> bool {
    sent < MOST as usize && length <= LARGEST
}

fn list(blocks: &[PartId]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for block in blocks {
        xml += &format!("<Uncommitted>{}</Uncommitted>", BASE64_STANDARD.encode(&block.content_id));
    }
    xml + "</BlockList>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_at_most_fifty_thousand_blocks_of_4000_mib() {
        assert!(has_room(0, LARGEST) && has_room(49_999, 1));
        assert!(!has_room(50_000, 1) && !has_room(0, LARGEST + 1));
    }

    #[test]
    fn the_list_names_blocks_as_object_store_sent_them() {
        let blocks = ["00", "ff"].map(|name| PartId { content_id: name.into() });
        let wanted = "<BlockList><Uncommitted>MDA=</Uncommitted><Uncommitted>ZmY=</Uncommitted></BlockList>";
        assert!(list(&blocks).ends_with(wanted), "{}", list(&blocks));
    }
}
