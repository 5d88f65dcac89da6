//! `gc`: the plan, and what `--yes` does.

use std::time::{Duration, SystemTime};

use crate::harness::Place;

/// An upload that stopped years ago, of two parts; and one that stopped hours ago.
fn interrupted(place: &Place) -> [String; 2] {
    let ids = ["-1740130000123", "-1740130000124"].map(|time| format!("de2fe9e4-6535-423d-8709-dca87df7985c{time}"));
    for (id, hours) in ids.iter().zip([49, 47]) {
        for n in 0..2 {
            let path = place.write(&format!("store/{id}-{n}"), format!("BACKSTAY1 {{\"id\":\"{id}\",\"part\":{n},"));
            let modified = SystemTime::now() - Duration::from_secs(hours * 3600);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
    }
    ids
}

#[test]
fn the_plan_deletes_nothing_and_yes_deletes_what_is_due() {
    let place = Place::new();
    let archive = place.backup("content", &[]);
    let [old, young] = interrupted(&place);
    let before = place.objects();
    let plan = place.run(["gc"]).good();
    let row = |id: &str| plan.out().lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(row(&old).contains(" due ") && row(&old).contains("its upload did not finish"), "{}", plan.out());
    assert!(row(&young).contains(" kept ") && row(&young).contains("may still be written"), "{}", plan.out());
    assert!(!plan.out().contains(&archive));
    plan.says("1 leftover").says("say --yes");
    assert_eq!(place.objects(), before);

    // A longer grace keeps it, a shorter one is refused.
    let patient = place.run(["--json", "gc", "--yes", "--grace", "4w"]).good().json("gc");
    assert!(patient["leftovers"].as_array().unwrap().iter().all(|leftover| leftover["fate"] == "kept"), "{patient}");
    place.run(["gc", "--yes", "--grace", "47h"]).fails("usage.arguments", 2).says("48 hours");
    assert_eq!(place.objects(), before);

    let done = place.run(["--json", "gc", "--yes"]).good().json("gc");
    let leftovers = done["leftovers"].as_array().unwrap();
    let deleted: Vec<_> = leftovers.iter().filter(|leftover| leftover["fate"] == "deleted").collect();
    assert_eq!((deleted.len(), &deleted[0]["name"], &deleted[0]["kind"]), (1, &old.as_str().into(), &"upload".into()));
    assert_eq!(deleted[0]["objects"], serde_json::json!([format!("{old}-0"), format!("{old}-1")]));
    let mut expected: Vec<_> = before.into_iter().filter(|name| !name.starts_with(&old)).collect();
    expected.push(format!("{old}.json"));
    expected.sort();
    assert_eq!(place.objects(), expected);
    assert!(std::fs::read_dir(place.store().join(".backstay-tmp")).unwrap().next().is_none());
    place.run(["list", "--incomplete"]).good();
    assert_eq!(place.cat(&archive), b"content");
}

#[test]
fn an_upload_that_may_be_whole_goes_only_when_that_is_said() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    // Its name is of today: it is as young as a name can make it.
    let plan = place.run(["--json", "gc", "--whole"]).good().json("gc");
    assert_eq!((&plan["leftovers"][0]["name"], &plan["leftovers"][0]["fate"]), (&id.as_str().into(), &"kept".into()));
    // The same under an old name is no archive of that name, but for its first line it might be.
    let old = format!("{}-1740130000", &id[..36]);
    let text = std::fs::read(place.store().join(format!("{id}-0"))).unwrap();
    let line = String::from_utf8_lossy(&text[..text.iter().position(|byte| *byte == b'\n').unwrap() + 1]).into_owned();
    let renamed = [line.replace(&id, &old).as_bytes(), &text[line.len()..]].concat();
    std::fs::remove_file(place.store().join(format!("{id}-0"))).unwrap();
    let path = place.write(&format!("store/{old}-0"), renamed);
    let modified = SystemTime::now() - Duration::from_secs(1_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    let kept = place.run(["--json", "gc", "--yes"]).good().json("gc");
    assert!(kept["leftovers"][0]["reason"].as_str().unwrap().contains("--whole"), "{kept}");
    let done = place.run(["--json", "gc", "--yes", "--whole"]).good().json("gc");
    assert_eq!(done["leftovers"][0]["fate"], "deleted");
    assert_eq!(place.objects(), [format!("{old}.json")]);
}

#[test]
fn an_empty_store_has_nothing_left_over() {
    let place = Place::new();
    place.backup("content", &[]);
    let done = place.run(["gc", "--yes"]).good();
    assert_eq!(done.out(), "");
    done.says("nothing is left over");
}
