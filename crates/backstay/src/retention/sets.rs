//! Backup sets, as far as retention has to know them: which archives each one holds.

use backstay_format::ArchiveId;
pub(super) use backstay_format::set::MAX_SET;
use serde::Deserialize;

/// The members, and nothing else of it.
#[derive(Deserialize)]
struct Document {
    backstay_set: u64,
    id: String,
    members: Vec<Member>,
    #[serde(default)]
    crit: Vec<String>,
}

#[derive(Deserialize)]
struct Member {
    id: String,
}

/// The members of a set; `None` when it cannot be read for certain. Whether it is sealed is not asked: a set only ever keeps.
pub(super) fn members(bytes: &[u8], id: &ArchiveId) -> Option<Vec<ArchiveId>> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let known = document.crit.iter().all(|name| name == "open");
    if document.backstay_set != 1 || document.id != id.as_str() || !known {
        return None;
    }
    document.members.iter().map(|member| member.id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_whole_or_not_at_all() {
        let guid = "de2fe9e4-6535-423d-8709-dca87df7985c";
        let set: ArchiveId = format!("{guid}-1740130000").parse().unwrap();
        let read = |text: String| members(text.as_bytes(), &set);
        let member = format!("{guid}-1740130001");
        let whole = format!(
            "{{\"backstay_set\":1,\"id\":\"{set}\",\"members\":[{{\"name\":\"a\",\"id\":\"{member}\"}}],\"seal\":{{}}}}"
        );
        assert_eq!(read(whole.clone()), Some(vec![member.parse().unwrap()]));
        for (from, to) in [
            ("set\":1", "set\":2"),
            ("1740130000\"", "1740130009\""),
            ("0130001", "013"),
            ("\"seal\"", "\"crit\":[\"x\"],\"seal\""),
            ("members", "archives"),
        ] {
            assert_eq!(read(whole.replace(from, to)), None, "{from}");
        }
    }
}
