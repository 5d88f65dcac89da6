//! Verbs that delete, when the store fails on the way: what is gone by then is told, and the exit status is the failure's.

use std::time::{Duration, SystemTime};

use backstay_testkit::S3Server;
use backstay_testkit::proxy::{Fate, Proxy};

use crate::harness::{Place, Run};

/// A server that says no to each DELETE of an object whose name contains this.
fn refusing(server: &S3Server, name: &str) -> Proxy {
    let name = name.to_owned();
    Proxy::start(server.address(), move |request| {
        let refused = request.method == "DELETE" && request.target.contains(&name);
        if refused { Fate::AnswerInstead(400, "<Error><Code>InvalidRequest</Code></Error>") } else { Fate::Pass }
    })
}

fn at<'a>(run: Run<'a>, server: &S3Server, endpoint: &str) -> Run<'a> {
    let run = run.env("BACKSTAY_STORE", "s3://bucket/pg");
    server.variables(endpoint).iter().fold(run, |run, (name, value)| run.env(name, value))
}

fn four(place: &Place, server: &S3Server) -> Vec<String> {
    let backup = |number: u32| {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin(format!("content {number}"));
        at(run, server, &server.endpoint).good().out().split(' ').next().unwrap().to_owned()
    };
    (0..4).map(backup).collect()
}

fn is_there(server: &S3Server, name: &str) -> bool {
    server.object_path("bucket", &format!("pg/{name}")).exists()
}

#[test]
fn prune_tells_what_is_gone() {
    for json in [true, false] {
        let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
        let ids = four(&place, &server);
        let proxy = refusing(&server, &format!("{}.json", ids[1]));
        let prune = ["prune", "--keep-last", "1", "--grace", "0s", "--yes", "--force"];
        let run = at(place.run(prune).args(json.then_some("--json")), &server, &proxy.endpoint);
        let done = run.done();
        assert_eq!(done.status.code(), Some(40), "{}", done.stderr);
        let expected = ["deleted", "begun", "deleted", "kept"];
        if json {
            let report = done.json("prune");
            assert_eq!((&report["stopped_by"], &report["done"]), (&"store.failed".into(), &true.into()));
            let fates: Vec<_> = report["archives"].as_array().unwrap().iter().map(|row| row["fate"].clone()).collect();
            assert_eq!(fates, expected);
            assert_eq!(done.event("error")["code"], "store.failed");
        } else {
            for (id, fate) in ids.iter().zip(expected) {
                let line = done.out().lines().find(|line| line.starts_with(id.as_str())).unwrap().to_owned();
                assert!(line.contains(fate), "{line}");
            }
            done.says("2 archives with").says("1 archive with").says("gone in part").says("error[store.failed]");
        }
        let there: Vec<bool> = ids.iter().map(|id| is_there(&server, &format!("{id}.json"))).collect();
        assert_eq!(there, [false, true, false, true]);
    }
}

#[test]
fn rm_says_that_it_is_not_at_its_end() {
    for json in [true, false] {
        let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
        let ids = four(&place, &server);
        let proxy = refusing(&server, &format!("{}-0", ids[0]));
        let run = place.run(["rm", &ids[0], "--yes"]).args(json.then_some("--json"));
        let done = at(run, &server, &proxy.endpoint).done();
        assert_eq!(done.status.code(), Some(40), "{}", done.stderr);
        if json {
            let removed = done.json("rm");
            assert_eq!((&removed["deleted"], &removed["stopped_by"]), (&false.into(), &"store.failed".into()));
        } else {
            done.says_out("NOT DELETED TO ITS END").says("error[store.failed]");
        }
        assert!(!is_there(&server, &format!("{}.json", ids[0])) && is_there(&server, &format!("{}-0", ids[0])));
        at(place.run(["rm", &ids[0], "--yes"]), &server, &server.endpoint).good().says_out("was deleted");
    }
}

#[test]
fn gc_tells_what_is_gone() {
    for json in [true, false] {
        let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
        // Uploads that stopped years ago.
        let ids = [1, 2, 3].map(|last| format!("de2fe9e4-6535-423d-8709-dca87df7985c-174013000012{last}"));
        let old = SystemTime::now() - Duration::from_secs(49 * 3600);
        for id in &ids {
            for n in 0..2 {
                let path = server.object_path("bucket", &format!("pg/{id}-{n}"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, format!("BACKSTAY1 {{\"id\":\"{id}\",\"part\":{n},")).unwrap();
                std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            }
        }
        let proxy = refusing(&server, &format!("{}-1", ids[1]));
        let done = at(place.run(["gc", "--yes"]).args(json.then_some("--json")), &server, &proxy.endpoint).done();
        assert_eq!(done.status.code(), Some(40), "{}", done.stderr);
        if json {
            let report = done.json("gc");
            assert_eq!(report["stopped_by"], "store.failed");
            let rows = report["leftovers"].as_array().unwrap();
            let fates: Vec<_> = rows.iter().map(|row| (row["name"].clone(), row["fate"].clone())).collect();
            let expected = ids.iter().zip(["deleted", "refused", "due"]);
            let expected: Vec<_> = expected.map(|(id, fate)| (id.as_str().into(), fate.into())).collect();
            assert_eq!(fates, expected);
            assert_eq!(done.event("error")["code"], "store.failed");
        } else {
            done.says("1 leftover with").says("deleted, 1 leftover with").says("error[store.failed]");
        }
        assert!(!is_there(&server, &format!("{}-0", ids[0])) && is_there(&server, &format!("{}-1", ids[1])));
    }
}
