//! `key export`: a sheet of paper that opens one archive, with or without Backstay.

use std::fmt;
use std::path::PathBuf;

use backstay_format::ArchiveId;
use backstay_format::text::to_hex;
use clap::Args;
use serde::Serialize;

use super::generate::create;
use crate::args::select::Selected;
use crate::args::unlock::Unlock;
use crate::failure::Result;
use crate::keys;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key export latest -i key.txt | lp
  backstay key export latest -i key.txt -o sheet.txt

The sheet holds the secret of one archive: whoever has it can read that archive, and no other.";

/// Print a recovery sheet: the archive's secret, and how to restore with it by hand
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    unlock: Unlock,
    /// Write it to this new file, which nobody else can read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let id = self.selected.find(&store).await?;
        let secret = backstay::rewrap::export_secret(&store, &id, &keyring).await?;
        let sheet = Sheet { id, store: store.url().to_owned(), secret: to_hex(&secret.0) };
        match &self.output {
            Some(path) => {
                create(path, sheet.to_string().as_bytes())?;
                session.output.note(&format!(
                    "{} opens {}: keep it where the backups are not",
                    path.display(),
                    sheet.id
                ));
            }
            None => session.output.result("recovery_sheet", &sheet)?,
        }
        Ok(0)
    }
}

/// What is on it.
#[derive(Serialize)]
struct Sheet {
    #[serde(serialize_with = "as_text")]
    id: ArchiveId,
    store: String,
    secret: String,
}

fn as_text<S: serde::Serializer>(id: &ArchiveId, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sheet { id, store, secret } = self;
        // Eight groups can be typed in and compared; blanks are taken out again below.
        let groups: Vec<&str> = (0..8).map(|group| &secret[group * 8..group * 8 + 8]).collect();
        write!(
            f,
            "\
BACKSTAY RECOVERY SHEET

archive   {id}
store     {store}
secret    {}
          {}

Whoever has this sheet can read this archive, and no other. Keep it where the backups are not.

1. With Backstay

   echo '{}
         {}' | tr -d ' \\n' > secret.hex
   backstay restore {id} -s STORE -i secret.hex -o content

2. To check this sheet against the archive and an identity file, with stock tools

   head -n 1 {part} | cut -c 11- | jq -r '.keys[0]' | base64 -d | age -d -i key.txt | od -An -v -tx1 | tr -d ' \\n'

   prints the secret above. Where the keys are detached, `age -d -i key.txt {id}.key.0` takes the place of all before `od`.

3. Without Backstay

   spec/archive.md in Backstay's sources describes every byte of the format. In short: each part begins with one line of
   JSON; HKDF-SHA-256 of the secret and that line gives the part's key; segments of 64 KiB are sealed with AES-256-GCM; what
   comes out of them is a .zst or .gz file that stock tools read.
",
            groups[..4].join(" "),
            groups[4..].join(" "),
            groups[..4].join(" "),
            groups[4..].join(" "),
            part = id.part(0),
        )
    }
}
