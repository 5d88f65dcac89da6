//! Depth `deep` of the native profile: R5 to R11, going on after a fault wherever something can still be opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backstay_format::Error as Fault;
use backstay_format::header::{Header, Reference};
use backstay_format::part::Place;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};

use crate::archive::{Committed, Native, Object, read_header};
use crate::decode::{Decoder, Fed};
use crate::error::{Error, Result};
use crate::fetch::Piece;
use crate::observe::Event;
use crate::scan::{Step, WholePart};

use super::Check;

impl Check<'_> {
    /// R5 to R11, then the digests.
    pub(super) async fn deep(&mut self) -> Result<()> {
        let Some(archive) = self.unlock().await? else {
            self.judge_expectations().await?;
            return self.compare_digests().await;
        };
        let whole = self.open_parts(&archive).await?;
        let mut entries = self.entries().into_iter().peekable();
        for part in whole {
            while entries.next_if(|(n, _)| *n < part.object.n).is_some() {}
            if let Some((_, entry)) = entries.next_if(|(n, _)| *n == part.object.n) {
                self.compare_digest(&part.object, &part.sha256, &entry);
            }
        }
        Ok(())
    }

    /// R5 to R8. The header's shared fields may come from the manifest, or from another part than the first: what they
    /// are good for shows when a key fits.
    async fn unlock(&mut self) -> Result<Option<Native>> {
        let first = match self.located.first_header(self.store).await {
            Ok(header) => Some(header),
            // Part 0 was missed already.
            Err(Error::Format(Fault::PartMissing { .. })) => None,
            Err(error) => {
                let part = self.located.objects.parts[0].clone();
                // The size was found fault with already.
                if !self.faulty.contains(&part.name) {
                    self.find_in_part(&part, error)?;
                }
                None
            }
        };
        let header = match first {
            Some(header) => Some(header),
            None => self.substitute().await?,
        };
        let Some(header) = header else { return Ok(None) };
        let unlocked = self.located.unlock_with(&header.common, self.store, self.keyring, self.policy).await;
        let unlocked = match unlocked {
            Ok(unlocked) => unlocked,
            Err(error @ (Error::Format(_) | Error::Unmet(_))) => {
                self.find(&error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        for text in &unlocked.notes {
            self.observer.event(&Event::Note { text: text.clone() });
        }
        let seal = match &self.located.committed {
            Committed::Sealed(sealed) => Some(sealed.check(&unlocked.keys.seal())),
            _ => None,
        };
        self.compared.opened = true;
        self.compared.open = header.common.open.is_some();
        self.compared.sealed = matches!(seal, Some(Ok(())));
        if let Some(Err(fault)) = seal {
            self.find(&fault.into());
        }
        self.judge_expectations().await?;
        // A manifest whose seal is not the key holder's says nothing about header lines.
        let manifest = self.located.committed.sealed().filter(|_| self.compared.sealed);
        Ok(Some(Native {
            id: self.located.id.clone(),
            parts: self.located.objects.parts.clone(),
            header,
            secret: unlocked.secret,
            keys: unlocked.keys,
            manifest: manifest.map(|sealed| sealed.manifest.clone()),
            notes: Vec::new(),
        }))
    }

    /// A header for an archive whose first part cannot give it: the one that the manifest describes, or another part's. Parts
    /// that are passed over on the way have no good one.
    async fn substitute(&mut self) -> Result<Option<Header>> {
        if self.located.head().is_some() {
            return Ok(self.located.rebuilt_header());
        }
        let others: Vec<Object> = self.located.objects.parts.iter().filter(|part| part.n > 0).cloned().collect();
        for part in others {
            let limit = backstay_format::header::MAX_LINE;
            match read_header(self.store, &self.located.id, &part, limit, Reference::None).await {
                Ok(header) => return Ok(Some(header)),
                Err(error) => self.find_in_part(&part, error)?,
            }
        }
        Ok(None)
    }

    /// R9 and R10: opens every part, and decodes the content as far as it goes without a hole.
    async fn open_parts(&mut self, archive: &Native) -> Result<Vec<WholePart>> {
        let count = match self.located.committed.sealed() {
            Some(sealed) => u32::try_from(sealed.manifest.parts.len()).unwrap_or(u32::MAX),
            None => self.located.objects.parts.last().map_or(0, |last| last.n + 1),
        };
        let place = |object: &Object| if object.n + 1 == count { Place::Last } else { Place::Middle };
        let parts =
            self.located.objects.parts.iter().filter(|part| part.n < count && !self.faulty.contains(&part.name));
        let parts: Vec<(Object, Place)> = parts.map(|part| (part.clone(), place(part))).collect();

        let mut steps = self.fetcher.scan(archive, parts);
        let (mut feed, pieces) = mpsc::channel(1);
        let decoder = Decoder::native(archive.header.common.codec, pieces, &self.context.cpu, None);
        let content = Arc::new(AtomicU64::new(0));
        let decoding = decode(decoder, Arc::clone(&content));
        let before = self.findings.len();
        let mut whole = Vec::new();
        let scanning = async {
            let scanned = async {
                let mut next = 0;
                let mut hole = false;
                while let Some(step) = steps.next().await {
                    match step {
                        Step::Plain { n, bytes, stored } => {
                            self.progress.stored += stored;
                            self.progress.content = content.load(Ordering::Relaxed);
                            self.observer.event(&Event::Progress(self.progress));
                            if n != next && !hole {
                                hole = true;
                                let _ = feed.send(Fed::Hole).await;
                            }
                            if !hole {
                                // Whoever decodes has found a fault when this fails.
                                let _ = feed.send(Fed::Piece(Piece { bytes, stored })).await;
                            }
                        }
                        Step::Whole(part) => {
                            self.progress.parts += 1;
                            next = part.object.n + 1;
                            whole.push(part);
                        }
                        Step::Bad { part, fault } => {
                            self.find_in_part(&part, fault)?;
                            if !hole {
                                hole = true;
                                let _ = feed.send(Fed::Hole).await;
                            }
                        }
                    }
                }
                if next != count && !hole {
                    hole = true;
                    let _ = feed.send(Fed::Hole).await;
                }
                Ok::<_, Error>(hole)
            };
            let scanned = scanned.await;
            // Whatever came of it: whoever decodes waits for the end.
            feed.close_channel();
            scanned
        };
        let (scanned, decoded) = tokio::join!(scanning, decoding);
        let hole = scanned?;
        self.judge_content(decoded, content.load(Ordering::Relaxed), hole, before)?;
        Ok(whole)
    }

    /// What decoding came to. Its fault lies before the first hole, so it stands before the faults of the parts, which
    /// begin at `at` among the findings. What is not the stream's fault ends everything, hole or not.
    pub(super) fn judge_content(&mut self, decoded: Result<()>, found: u64, hole: bool, at: usize) -> Result<()> {
        match decoded {
            Ok(()) if hole => Ok(()),
            Ok(()) => {
                self.content = Some(found);
                let manifest = self.located.committed.sealed().map(|sealed| &sealed.manifest);
                match manifest.and_then(|manifest| manifest.content) {
                    Some(expected) if expected != found => {
                        self.find(&Fault::StreamContent { found, expected }.into());
                    }
                    _ => {}
                }
                Ok(())
            }
            Err(error @ Error::Format(_)) => {
                self.find(&error);
                self.findings[at..].rotate_right(1);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Decodes to the end, to a hole, or to the fault that ends it.
pub(super) async fn decode(mut decoder: Decoder, content: Arc<AtomicU64>) -> Result<()> {
    while let Some(piece) = decoder.next().await? {
        content.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}
