//! Who may do what: the roles of credentials, the operations that each of them needs, and the same said in the three clouds' own words. The table
//! is [`Role::operations`] and nothing else; the policies are printed from it, and the tests run the verbs under it.

use serde_json::{Value, json};

use crate::creation::{ObjectOptions, ServerEncryption};
use crate::location::{Cloud, Location};
use crate::{Error, StoreOptions};

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes backups and copies. It cannot read, overwrite or delete.
    Writer,
    /// Lists, restores, verifies, copies from here, and watches.
    Reader,
    /// Clears away, and looks at the bucket's settings.
    Pruner,
}

/// What a store can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Create an object under a name that is free.
    Create,
    /// List names, sizes and times.
    List,
    /// Read objects, and what is known of them.
    Read,
    /// Delete objects.
    Delete,
    /// Read the settings of the bucket.
    Inspect,
}

impl Role {
    /// What the role may do, all of it.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        use Operation::{Create, Delete, Inspect, List, Read};
        match self {
            Self::Writer => &[Create, List],
            Self::Reader => &[List, Read],
            Self::Pruner => &[Create, List, Read, Delete, Inspect],
        }
    }

    /// Whether the role may do this.
    #[must_use]
    pub fn may(self, operation: Operation) -> bool {
        self.operations().contains(&operation)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Pruner => "pruner",
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Writer => "Makes backups: creates objects, and can neither read, overwrite nor delete them",
            Self::Reader => "Restores and verifies backups: reads, and changes nothing",
            Self::Pruner => "Clears away: reads, deletes, and creates the markers that this needs",
        }
    }
}

/// The least that a role needs in one store.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// What kind of document it is: `IAM policy`, `role definition`, …
    pub kind: &'static str,
    /// The document, as the cloud's tools take it.
    pub document: Value,
    /// The condition that belongs to the role's assignment or binding, where the document cannot hold it.
    pub condition: Option<String>,
    /// How it is put to use, and what it does not hold.
    pub notes: Vec<String>,
}

/// The policy of `role` for the store at `url`. What new objects are given needs rights of its own, so the options belong to it.
///
/// # Errors
///
/// `usage.store-url`; `store.unsupported` for a directory, whose rights are the file system's.
pub fn policy(url: &str, role: Role, options: &StoreOptions) -> Result<Policy, Error> {
    match Location::parse(url)? {
        Location::Bucket { cloud, bucket, prefix } => {
            let prefix = if prefix.is_empty() { prefix } else { prefix + "/" };
            Ok(match cloud {
                Cloud::S3 => s3(role, &bucket, &prefix, options),
                Cloud::Azure => azure(role, &bucket, &prefix, &options.objects),
                Cloud::Gcs => google(role, &bucket, &prefix, &options.objects),
            })
        }
        Location::Directory(_) | Location::Memory => Err(Error::UnsupportedOption {
            store: url.into(),
            option: "a policy",
            reason: "who may do what in a directory is the file system's to say",
        }),
    }
}

/// How objects end that say what is to be kept, what goes and what was found good (`spec/archive.md` §12.2): none of a writer's business.
const FOR_OTHERS: [&str; 3] = [".expired*", ".hold*", ".verified.*"];

fn s3(role: Role, bucket: &str, prefix: &str, options: &StoreOptions) -> Policy {
    let partition = match options.region.as_deref() {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let (whole, objects) =
        (format!("arn:{partition}:s3:::{bucket}"), format!("arn:{partition}:s3:::{bucket}/{prefix}*"));
    let mut notes = Vec::new();
    let statements = role.operations().iter().map(|operation| match operation {
        Operation::Create => {
            let mut actions = vec!["s3:PutObject"];
            // Headers of a new object need rights beside that to put it.
            if !options.objects.tags.is_empty() {
                actions.push("s3:PutObjectTagging");
            }
            if options.objects.lock.is_some() {
                actions.push("s3:PutObjectRetention");
            }
            json!({
                "Sid": "Create", "Effect": "Allow", "Action": actions, "Resource": objects,
                // Without this condition the same right would overwrite.
                "Condition": {"Null": {"s3:if-none-match": "false"}},
            })
        }
        Operation::List => {
            let mut statement =
                json!({"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": whole});
            // With this condition S3 tells whoever reads that a missing object is denied, and not that it is missing.
            if !prefix.is_empty() && !role.may(Operation::Read) {
                statement["Condition"] = json!({"StringLike": {"s3:prefix": format!("{prefix}*")}});
            }
            statement
        }
        Operation::Read => {
            json!({"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": objects})
        }
        Operation::Delete => {
            json!({"Sid": "Delete", "Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": objects})
        }
        Operation::Inspect => json!({
            "Sid": "Inspect", "Effect": "Allow", "Resource": whole,
            "Action": ["s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration"],
        }),
    });
    let mut statements: Vec<Value> = statements.collect();
    if let Some(ServerEncryption::KmsKey(key)) = &options.objects.encryption {
        let mut actions = Vec::new();
        if role.may(Operation::Create) {
            actions.push("kms:GenerateDataKey");
        }
        if role.may(Operation::Read) {
            actions.push("kms:Decrypt");
        }
        let key = match key {
            arn if arn.starts_with("arn:") => arn.clone(),
            id => format!("arn:{partition}:kms:*:*:key/{id}"),
        };
        statements.push(json!({"Sid": "Key", "Effect": "Allow", "Action": actions, "Resource": key}));
    }
    if role == Role::Writer {
        let names: Vec<String> = FOR_OTHERS.iter().map(|name| format!("{objects}{name}")).collect();
        statements.push(json!({"Sid": "ForOthers", "Effect": "Deny", "Action": ["s3:PutObject"], "Resource": names}));
    }
    if role.may(Operation::Create) {
        notes.push(
            "s3:if-none-match is a condition of Amazon's: on another server, see that it is known there, or that objects are versioned or locked"
                .into(),
        );
    }
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    Policy { kind: "IAM policy", document, condition: None, notes }
}

fn azure(role: Role, container: &str, prefix: &str, objects: &ObjectOptions) -> Policy {
    const BLOBS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs";
    let mut actions = Vec::new();
    for operation in role.operations() {
        actions.push(match operation {
            // `write` would overwrite.
            Operation::Create => format!("{BLOBS}/add/action"),
            // Azure has one right for both; the condition below tells them apart.
            Operation::List | Operation::Read => format!("{BLOBS}/read"),
            Operation::Delete => format!("{BLOBS}/delete"),
            Operation::Inspect => continue,
        });
    }
    if role.may(Operation::Create) && !objects.tags.is_empty() {
        actions.push(format!("{BLOBS}/tags/write"));
    }
    actions.dedup();
    let lists_only = role.may(Operation::List) && !role.may(Operation::Read);
    let condition =
        lists_only.then(|| format!("!(ActionMatches{{'{BLOBS}/read'}} AND NOT SubOperationMatches{{'Blob.List'}})"));
    let scope = format!(
        "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/ACCOUNT/blobServices/default/containers/{container}"
    );
    let mut notes = vec![format!("assign the role with --scope {scope}, and with the condition if there is one")];
    if !prefix.is_empty() {
        notes.push(format!(
            "it holds for the whole container {container}, not only for {prefix}: give each purpose its own"
        ));
    }
    let document = json!({
        "Name": format!("Backstay {}", role.as_str()),
        "IsCustom": true,
        "Description": role.described(),
        "Actions": [],
        "NotActions": [],
        "DataActions": actions,
        "NotDataActions": [],
        "AssignableScopes": ["/subscriptions/SUBSCRIPTION"],
    });
    Policy { kind: "role definition", document, condition, notes }
}

fn google(role: Role, bucket: &str, prefix: &str, objects: &ObjectOptions) -> Policy {
    let mut permissions: Vec<&str> = role
        .operations()
        .iter()
        .map(|operation| match operation {
            // To overwrite, Google demands the right to delete as well.
            Operation::Create => "storage.objects.create",
            Operation::List => "storage.objects.list",
            Operation::Read => "storage.objects.get",
            Operation::Delete => "storage.objects.delete",
            Operation::Inspect => "storage.buckets.get",
        })
        .collect();
    if role.may(Operation::Create) && objects.lock.is_some() {
        permissions.push("storage.objects.setRetention");
    }
    let condition = (!prefix.is_empty()).then(|| {
        let mut condition = format!(
            "resource.name.startsWith(\"projects/_/buckets/{bucket}/objects/{prefix}\") || api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"{prefix}\")"
        );
        if role.may(Operation::Inspect) {
            condition += &format!(" || resource.name == \"projects/_/buckets/{bucket}\"");
        }
        condition
    });
    let mut notes = vec![format!("bind the role on the bucket gs://{bucket}, with the condition if there is one")];
    if let Some(ServerEncryption::KmsKey(key)) = &objects.encryption {
        notes.push(format!("the key {key} is used by the project's service agent of Cloud Storage: grant it roles/cloudkms.cryptoKeyEncrypterDecrypter there"));
    }
    let document = json!({
        "title": format!("Backstay {}", role.as_str()),
        "description": role.described(),
        "stage": "GA",
        "includedPermissions": permissions,
    });
    Policy { kind: "role definition", document, condition, notes }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Lock, LockMode};

    fn options() -> StoreOptions {
        let mut options = StoreOptions::default();
        options.objects.tags = vec![("a".into(), "b".into())];
        options.objects.lock = Some(Lock { mode: LockMode::Governance, duration: Duration::from_secs(60) });
        options.objects.encryption = Some(ServerEncryption::KmsKey("arn:aws:kms:eu-west-1:1:key/2".into()));
        options
    }

    fn statement<'p>(policy: &'p Policy, sid: &str) -> Option<&'p Value> {
        policy.document["Statement"].as_array().unwrap().iter().find(|statement| statement["Sid"] == sid)
    }

    /// All that a document allows, sorted.
    fn allowed(policy: &Policy) -> Vec<String> {
        let document = &policy.document;
        let lists: Vec<&Value> = match document["Statement"].as_array() {
            Some(statements) => {
                let allow = |statement: &&Value| statement["Effect"] == "Allow";
                statements.iter().filter(allow).map(|statement| &statement["Action"]).collect()
            }
            None => [&document["DataActions"], &document["includedPermissions"]]
                .into_iter()
                .filter(|list| list.is_array())
                .collect(),
        };
        let mut allowed: Vec<String> = Vec::new();
        for list in lists {
            allowed.extend(list.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()));
        }
        allowed.sort_unstable();
        allowed
    }

    /// What each role is allowed on each cloud: for plain objects, and what comes to it with a tag, a lock and a key of the key service.
    #[test]
    fn every_role_is_allowed_exactly_this_on_every_cloud() {
        let blobs = |rights: &[&str]| -> Vec<String> {
            let of = |right: &&str| format!("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/{right}");
            rights.iter().map(of).collect()
        };
        let owned = |rights: &[&str]| -> Vec<String> { rights.iter().map(|&right| right.to_owned()).collect() };
        for (url, role, plain, beside) in [
            (
                "s3://bucket/pg",
                Role::Writer,
                owned(&["s3:ListBucket", "s3:PutObject"]),
                owned(&["kms:GenerateDataKey", "s3:PutObjectRetention", "s3:PutObjectTagging"]),
            ),
            ("s3://bucket/pg", Role::Reader, owned(&["s3:GetObject", "s3:ListBucket"]), owned(&["kms:Decrypt"])),
            (
                "s3://bucket/pg",
                Role::Pruner,
                owned(&[
                    "s3:DeleteObject",
                    "s3:GetBucketObjectLockConfiguration",
                    "s3:GetBucketVersioning",
                    "s3:GetLifecycleConfiguration",
                    "s3:GetObject",
                    "s3:ListBucket",
                    "s3:PutObject",
                ]),
                owned(&["kms:Decrypt", "kms:GenerateDataKey", "s3:PutObjectRetention", "s3:PutObjectTagging"]),
            ),
            ("az://container/pg", Role::Writer, blobs(&["add/action", "read"]), blobs(&["tags/write"])),
            ("az://container/pg", Role::Reader, blobs(&["read"]), vec![]),
            ("az://container/pg", Role::Pruner, blobs(&["add/action", "delete", "read"]), blobs(&["tags/write"])),
            (
                "gs://bucket/pg",
                Role::Writer,
                owned(&["storage.objects.create", "storage.objects.list"]),
                owned(&["storage.objects.setRetention"]),
            ),
            ("gs://bucket/pg", Role::Reader, owned(&["storage.objects.get", "storage.objects.list"]), vec![]),
            (
                "gs://bucket/pg",
                Role::Pruner,
                owned(&[
                    "storage.buckets.get",
                    "storage.objects.create",
                    "storage.objects.delete",
                    "storage.objects.get",
                    "storage.objects.list",
                ]),
                owned(&["storage.objects.setRetention"]),
            ),
        ] {
            assert_eq!(allowed(&policy(url, role, &StoreOptions::default()).unwrap()), plain, "{url} {role:?}");
            let mut all = [plain, beside].concat();
            all.sort_unstable();
            assert_eq!(allowed(&policy(url, role, &options()).unwrap()), all, "{url} {role:?}");
        }
    }

    #[test]
    fn a_writer_of_s3_creates_under_its_prefix_and_does_nothing_else() {
        let policy = policy("s3://bucket/pg/", Role::Writer, &StoreOptions::default()).unwrap();
        let create = statement(&policy, "Create").unwrap();
        assert_eq!(create["Action"], json!(["s3:PutObject"]));
        assert_eq!(create["Resource"], "arn:aws:s3:::bucket/pg/*");
        assert_eq!(create["Condition"], json!({"Null": {"s3:if-none-match": "false"}}));
        let denied = statement(&policy, "ForOthers").unwrap();
        assert_eq!((&denied["Effect"], &denied["Action"]), (&json!("Deny"), &json!(["s3:PutObject"])));
        let names = ["*.expired*", "*.hold*", "*.verified.*"].map(|name| format!("arn:aws:s3:::bucket/pg/{name}"));
        assert_eq!(denied["Resource"], json!(names));
        let list = statement(&policy, "List").unwrap();
        assert_eq!(list["Condition"], json!({"StringLike": {"s3:prefix": "pg/*"}}));
        let text = policy.document.to_string();
        for right in ["Get", "Delete", "Bypass", "\"*\"", "s3:*", "Version\":\"s3"] {
            assert!(!text.contains(right), "{right}: {text}");
        }
    }

    #[test]
    fn what_new_objects_are_given_needs_rights_of_its_own() {
        let writer = policy("s3://bucket", Role::Writer, &options()).unwrap();
        let actions = &statement(&writer, "Create").unwrap()["Action"];
        assert_eq!(*actions, json!(["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectRetention"]));
        assert_eq!(statement(&writer, "Key").unwrap()["Action"], json!(["kms:GenerateDataKey"]));
        let reader = policy("s3://bucket", Role::Reader, &options()).unwrap();
        assert_eq!(statement(&reader, "Key").unwrap()["Action"], json!(["kms:Decrypt"]));
        assert_eq!(statement(&reader, "Create"), None);
        let google = policy("gs://bucket", Role::Writer, &options()).unwrap();
        let permissions = &google.document["includedPermissions"];
        assert_eq!(
            *permissions,
            json!(["storage.objects.create", "storage.objects.list", "storage.objects.setRetention"])
        );
    }

    #[test]
    fn partitions_follow_the_region() {
        let options = StoreOptions { region: Some("cn-north-1".into()), ..StoreOptions::default() };
        let policy = policy("s3://bucket", Role::Reader, &options).unwrap();
        assert_eq!(statement(&policy, "Read").unwrap()["Resource"], "arn:aws-cn:s3:::bucket/*");
    }

    #[test]
    fn a_writer_of_azure_lists_through_a_right_whose_condition_forbids_to_read() {
        let writer = policy("az://container", Role::Writer, &StoreOptions::default()).unwrap();
        let actions = writer.document["DataActions"].to_string();
        assert!(actions.contains("blobs/add/action") && !actions.contains("write") && !actions.contains("delete"));
        assert!(writer.condition.unwrap().contains("NOT SubOperationMatches{'Blob.List'}"));
        let reader = policy("az://container", Role::Reader, &StoreOptions::default()).unwrap();
        assert_eq!((reader.condition, reader.document["DataActions"].as_array().unwrap().len()), (None, 1));
    }

    #[test]
    fn google_binds_a_role_to_a_prefix_by_a_condition() {
        let condition = |url| policy(url, Role::Writer, &StoreOptions::default()).unwrap().condition;
        assert_eq!(condition("gs://bucket"), None);
        let condition = condition("gs://bucket/pg").unwrap();
        assert!(
            condition.contains("buckets/bucket/objects/pg/\")") && condition.contains("objectListPrefix"),
            "{condition}"
        );
    }

    #[test]
    fn a_directory_has_no_policy() {
        let error = policy("/srv/backups", Role::Writer, &StoreOptions::default()).unwrap_err();
        assert_eq!(error.code(), "store.unsupported");
    }
}
