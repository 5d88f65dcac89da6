//! What measuring needs and no test does: stores that cost nothing, or only time, so that the client is measured and not a server.

mod delay;
mod discard;

pub use delay::Delay;
pub use discard::Discard;

use std::sync::Arc;

use backstay_store::Store;
use object_store::ObjectStore;

/// A store of its own for one run.
#[must_use]
pub fn store(objects: Arc<dyn ObjectStore>) -> Store {
    Store::from_object_store(objects, "", "bench:")
}
