//! What a store holds, id by id. The names of all objects of an archive or a set begin with its id and stores list by name, so the objects of one id
//! stand together in a listing, with nothing but foreign ones between them; what is to be known of an id is all that is held at a time.

use backstay_format::{ArchiveId, ObjectName};
use backstay_store::{Error as StoreError, ObjectInfo, Store};
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

use crate::error::Result;

/// What somebody wants to know of the objects of one id.
pub(crate) trait Holding: Send + Sized {
    /// Of an id under which nothing was seen yet.
    fn new(id: &ArchiveId) -> Self;

    /// One more object; `name` is its name, read.
    fn add(&mut self, name: &ObjectName, object: ObjectInfo);
}

/// What there is of one id now.
pub(crate) async fn of<H: Holding>(store: &Store, id: &ArchiveId) -> Result<H> {
    let mut holding = H::new(id);
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        let name = ObjectName::parse(&object.name);
        if name.id() == Some(id) {
            holding.add(&name, object);
        }
    }
    Ok(holding)
}

/// Whether there is an object of this name now: `None` where the credentials allow neither to ask for it nor to list it.
///
/// # Errors
/// `store.*`.
pub(crate) async fn is_there(store: &Store, name: &str) -> Result<Option<bool>> {
    match store.head(name).await {
        Ok(object) => return Ok(Some(object.is_some())),
        // Whoever writes, or holds, may list and not read.
        Err(StoreError::Denied { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut listing = store.list(name, None);
    loop {
        match listing.try_next().await {
            Ok(Some(object)) if object.name == name => return Ok(Some(true)),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Some(false)),
            Err(StoreError::Denied { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What there is of each id, in the order of this listing, which is by name.
pub(crate) fn each<'a, H: Holding + 'a>(
    listing: impl Stream<Item = std::result::Result<ObjectInfo, StoreError>> + Send + 'a,
) -> BoxStream<'a, Result<H>> {
    let state = (Box::pin(listing), None::<(ArchiveId, H)>);
    stream::try_unfold(state, |(mut listing, mut held)| async move {
        loop {
            let Some(object) = listing.try_next().await? else {
                return Ok(held.map(|(_, last)| (last, (listing, None))));
            };
            let name = ObjectName::parse(&object.name);
            let Some(id) = name.id() else { continue };
            let done = held.take_if(|(of, _)| of != id);
            held.get_or_insert_with(|| (id.clone(), H::new(id))).1.add(&name, object);
            if let Some((_, done)) = done {
                return Ok(Some((done, (listing, held))));
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use backstay_format::schedule::sha256;

    use super::*;

    struct Names(ArchiveId, Vec<String>);

    impl Holding for Names {
        fn new(id: &ArchiveId) -> Names {
            Names(id.clone(), Vec::new())
        }

        fn add(&mut self, _: &ObjectName, object: ObjectInfo) {
            self.1.push(object.name);
        }
    }

    #[tokio::test]
    async fn the_objects_of_one_id_are_together_whatever_stands_between_them() {
        let ids = [
            "f1e2d3c4-0000-4000-8000-000000000000-1795294764530",
            "f1e2d3c4-0000-4000-8000-000000000000-1795294764531",
        ];
        let [one, two] = ids.map(|id| id.parse::<ArchiveId>().unwrap());
        let own = [vec![one.part(0), one.part(1), one.manifest()], vec![two.manifest()]];
        let foreign = ["a".to_owned(), format!("{one}-0.part"), format!("{one}-00x"), "z".to_owned()];
        let store = Store::memory();
        for name in own.iter().flatten().chain(&foreign) {
            store.create(name, "x".into(), sha256(b"x")).await.unwrap();
        }
        let all: Vec<Names> = each(store.list("", None)).try_collect().await.unwrap();
        assert_eq!(all.iter().map(|Names(id, _)| id).collect::<Vec<_>>(), [&one, &two]);
        assert!(all.iter().map(|Names(_, names)| names).eq(&own));
        // An id that another one begins with is not that one's.
        for (id, names) in [(&one, &own[0]), (&two, &own[1])] {
            assert_eq!(of::<Names>(&store, id).await.unwrap().1, *names);
        }
        let nothing: Vec<Names> = each(store.list("z", None)).try_collect().await.unwrap();
        assert!(nothing.is_empty());
    }
}
