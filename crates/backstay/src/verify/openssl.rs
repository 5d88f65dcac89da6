//! The openssl profile at every depth (`spec/openssl.md` §3).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::SinkExt as _;
use futures::channel::mpsc;

use crate::archive::{Object, Openssl};
use crate::decode::{Decoder, Fed};
use crate::error::{Error, Result};
use crate::observe::Event;

use super::deep::decode;
use super::{Check, Depth};

impl Check<'_> {
    /// O3 and O4, and what the depth asks for.
    pub(super) async fn openssl(&mut self, depth: Depth) -> Result<()> {
        // With a part missing or of another size the stream's length says nothing.
        let complete = self.findings.is_empty();
        let fault = if complete { self.located.stream_fault(self.store).await? } else { None };
        let readable = fault.is_none();
        if let Some(fault) = fault {
            self.find(&fault.into());
        }
        if depth != Depth::Deep {
            self.compared.vouched |= self.policy.signer.is_some() && self.located.committed.sealed().is_some();
            self.judge_expectations().await?;
            return self.compare_stored(depth).await;
        }
        let first_is_there = !self.faulty.contains(&self.located.id.part(0));
        let starts = first_is_there
            && self.located.present().first().is_some_and(|first| first.n <= 1 && !self.faulty.contains(&first.name));
        if !readable || (self.located.committed.sealed().is_none() && !starts) {
            return self.compare_digests().await;
        }
        match self.located.unlock_openssl(self.store, self.keyring, self.policy).await {
            Ok(archive) => {
                self.compared.opened = true;
                self.compared.sealed = archive.manifest.is_some();
                self.read_stream(&archive).await?;
                if archive.manifest.is_none() {
                    let text =
                        "the archive was read, but this format cannot prove that its content is genuine".to_owned();
                    self.observer.event(&Event::Warning { code: Some("openssl.unauthenticated"), text });
                }
                Ok(())
            }
            Err(error @ (Error::Format(_) | Error::Unmet(_))) => {
                self.find(&error);
                self.compare_digests().await
            }
            Err(error) => Err(error),
        }
    }

    /// O9 to O13: hashes every part, and decrypts and decodes the stream as far as it goes without a hole.
    async fn read_stream(&mut self, archive: &Openssl) -> Result<()> {
        let entries: HashMap<u32, _> = self.entries().into_iter().collect();
        let mut expected =
            archive.manifest.as_ref().map_or(archive.parts.first().map_or(0, |first| first.n), |m| m.first);
        let end = match &archive.manifest {
            Some(manifest) => manifest.first + u32::try_from(manifest.parts.len()).unwrap_or(u32::MAX),
            None => archive.parts.last().map_or(0, |last| last.n + 1),
        };
        let (mut feed, pieces) = mpsc::channel(1);
        let decoder = Decoder::openssl(archive.key.clone(), archive.gzip, pieces, &self.context.cpu, None);
        let content = Arc::new(AtomicU64::new(0));
        let decoding = decode(decoder, Arc::clone(&content));
        let before = self.findings.len();
        let scanning = async {
            let scanned = async {
                let mut hole = false;
                let mut suspect = false;
                for part in &archive.parts {
                    if self.faulty.contains(&part.name) || part.n >= end {
                        continue;
                    }
                    if part.n != expected && !hole {
                        hole = true;
                        let _ = feed.send(Fed::Hole).await;
                    }
                    expected = part.n + 1;
                    let gone_before = feed.is_closed();
                    let found = match self.hash_and_feed(part, (!hole).then_some(&mut feed), &content).await {
                        Ok(found) => found,
                        Err(error) => {
                            self.find_in_part(part, error)?;
                            if !hole {
                                hole = true;
                                let _ = feed.send(Fed::Hole).await;
                            }
                            continue;
                        }
                    };
                    self.progress.parts += 1;
                    let problems = self.findings.len();
                    if let Some(entry) = entries.get(&part.n) {
                        self.compare_digest(part, &found, entry);
                    }
                    if self.findings.len() > problems && !hole {
                        hole = true;
                        // What does not decode in a part that was changed is no second fault.
                        suspect = !gone_before;
                        let _ = feed.send(Fed::Hole).await;
                    }
                }
                if expected != end && !hole {
                    hole = true;
                    let _ = feed.send(Fed::Hole).await;
                }
                Ok::<_, Error>((hole, suspect))
            };
            let scanned = scanned.await;
            // Whatever came of it: whoever decodes waits for the end.
            feed.close_channel();
            scanned
        };
        let (scanned, decoded) = tokio::join!(scanning, decoding);
        let (hole, suspect) = scanned?;
        match decoded {
            Err(Error::Format(_)) if suspect => Ok(()),
            decoded => self.judge_content(decoded, content.load(Ordering::Relaxed), hole, before),
        }
    }

    /// Reads one object: its SHA-256, and on the way its bytes to whoever decodes.
    async fn hash_and_feed(
        &mut self,
        part: &Object,
        mut feed: Option<&mut mpsc::Sender<Fed>>,
        content: &AtomicU64,
    ) -> Result<[u8; 32]> {
        let mut hashed = self.fetcher.hashed(part);
        while let Some(piece) = hashed.next().await? {
            self.progress.stored += piece.stored;
            self.progress.content = content.load(Ordering::Relaxed);
            self.observer.event(&Event::Progress(self.progress));
            if let Some(feed) = &mut feed {
                // Whoever decodes has found a fault when this fails.
                let _ = feed.send(Fed::Piece(piece)).await;
            }
        }
        Ok(hashed.finish())
    }
}
