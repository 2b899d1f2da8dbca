//! The hub client against a hub that misbehaves.

mod loopback;
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::hub::{
    Error, Holding, Hub, Kind, Need, Patience, Reach, Repository, Settings, Token, What,
};
use loopback::{Loopback, Page, Trick, oid};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const SECRET: &str = "hf_nobodyMaySeeThis";
/// More than [`loopback::LARGE`].
const BIG: usize = 50_000;

/// A hub with a model of a small and a large file, and a cache for it.
struct Place {
    hub: Loopback,
    cache: PathBuf,
    patience: Patience,
    token: Option<Token>,
}

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("harness-hub-{}-{count}", std::process::id());
        let cache = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&cache);
        let hub = Loopback::start();
        for (path, bytes) in files() {
            hub.put("models/acme/net", REVISION, path, &bytes);
        }
        let patience = Patience {
            attempts: 2,
            first: Duration::from_millis(5),
            longest: Duration::from_millis(5),
            asked: Duration::from_secs(2),
            silence: Duration::from_secs(5),
        };
        Place {
            hub,
            cache,
            patience,
            token: None,
        }
    }

    fn client(&self) -> Arc<Hub> {
        Arc::new(Hub::new(Settings {
            endpoint: self.hub.endpoint(),
            cache: self.cache.clone(),
            token: self.token.clone(),
            offline: false,
            patience: self.patience.clone(),
        }))
    }

    fn survey(&self, reach: Reach) -> Result<Holding, Error> {
        self.client()
            .survey(&need(REVISION), reach, &|| false, &|_, _| {})
    }

    /// Fetches the model and tells what could not be had.
    fn fetch(&self) -> Result<Vec<Error>, Error> {
        let holding = self.survey(Reach::Network)?;
        let mut failed = Vec::new();
        let told = &mut |told: harness::hub::Told<'_>| {
            if let What::Failed(error) = told.what {
                failed.push(error);
            }
        };
        let count = self.client().fetch(&[holding], &|| false, told)?;
        assert_eq!(count, failed.len());
        Ok(failed)
    }

    fn snapshot(&self) -> PathBuf {
        self.cache
            .join("models--acme--net/snapshots")
            .join(REVISION)
    }

    /// Asserts that every file is whole, in the layout of Python's client.
    fn assert_whole(&self) {
        for (path, bytes) in files().into_iter().filter(|(path, _)| *path != "README.md") {
            let link = self.snapshot().join(path);
            assert!(fs::read(&link).unwrap() == bytes, "{path}");
            let target = format!("../../blobs/{}", oid(&bytes));
            assert_eq!(fs::read_link(link).unwrap(), Path::new(&target));
        }
        let blobs = fs::read_dir(self.cache.join("models--acme--net/blobs")).unwrap();
        let names: Vec<_> = blobs.map(|blob| blob.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "nothing is left over: {names:?}");
    }

    /// Asserts that no file `path` with `bytes` is there under a final name.
    fn assert_absent(&self, path: &str, bytes: &[u8]) {
        let blob = self.cache.join("models--acme--net/blobs").join(oid(bytes));
        assert!(!blob.exists() && fs::symlink_metadata(self.snapshot().join(path)).is_err());
        let lacks = self.survey(Reach::Cache).unwrap();
        assert!(lacks.missing().any(|file| file.path == path));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.cache);
    }
}

fn files() -> [(&'static str, Vec<u8>); 3] {
    let weights = (0..BIG).map(|i| (i * 7 % 251) as u8).collect();
    [
        ("config.json", b"{\"model_type\": \"vit\"}".to_vec()),
        ("model.safetensors", weights),
        ("README.md", b"not fetched".to_vec()),
    ]
}

fn need(revision: &str) -> Need {
    let hub = harness::suite::Hub {
        hub: "acme/net".into(),
        revision: revision.into(),
    };
    Need {
        repository: Repository::new(Kind::Model, &hub).unwrap(),
        portions: BTreeSet::new(),
    }
}

#[test]
fn a_fetch_takes_what_is_read_once_and_then_needs_no_network() {
    let place = Place::new();
    let before = place.survey(Reach::Network).unwrap();
    assert_eq!(before.to_come(), BIG as u64 + 21);
    assert!(place.fetch().unwrap().is_empty());
    place.assert_whole();
    place.hub.heard();
    let after = place.survey(Reach::Network).unwrap();
    assert_eq!((after.to_come(), after.folder), (0, place.snapshot()));
    assert!(place.fetch().unwrap().is_empty());
    assert!(
        place.hub.heard().iter().all(Vec::is_empty),
        "nothing is asked"
    );

    fs::write(place.snapshot().join("model.safetensors"), "cut").unwrap();
    let damaged = place.survey(Reach::Cache).unwrap();
    assert_eq!(
        damaged.missing().count(),
        1,
        "a file of another size is missing"
    );
    assert!(place.fetch().unwrap().is_empty());
    place.assert_whole();
}

#[test]
fn python_reads_the_cache() {
    let place = Place::new();
    assert!(place.fetch().unwrap().is_empty());
    let Some(mut python) = crate::python("huggingface_hub") else {
        return;
    };
    let script = r#"
import os, sys
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache
cache, revision = sys.argv[1:]
folder = snapshot_download("acme/net", revision=revision, cache_dir=cache, local_files_only=True, ignore_patterns=["README.md"])
assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"], os.listdir(folder)
path = try_to_load_from_cache("acme/net", "model.safetensors", revision=revision, cache_dir=cache)
assert os.path.getsize(path) == 50000, path
found = scan_cache_dir(cache)
assert not found.warnings, found.warnings
(repo,) = found.repos
assert (repo.repo_id, repo.repo_type, repo.nb_files) == ("acme/net", "model", 2), repo
"#;
    let output = python
        .env("HF_HUB_OFFLINE", "1")
        .args(["-c", script])
        .arg(&place.cache)
        .arg(REVISION)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn no_failure_leaves_a_file_under_its_name_and_the_next_fetch_completes() {
    let silent = Trick::Silent(Duration::from_secs(3));
    let cases: [(Trick, &str); 9] = [
        (Trick::Status(403, ""), "status 403"),
        (Trick::Status(404, ""), "status 404"),
        (Trick::Status(500, ""), "status 500"),
        (Trick::Status(503, "Retry-After: 0\r\n"), "status 503"),
        (Trick::BreakOff(0), "breaks off after 0 of"),
        (Trick::OtherBytes, "its hash differs"),
        (Trick::Longer, "where"),
        (Trick::Endless, "more than the file has"),
        (silent, "breaks off after"),
    ];
    for (trick, reason) in cases {
        for (path, bytes) in files().into_iter().take(2) {
            let mut place = Place::new();
            if matches!(trick, Trick::Silent(_)) {
                place.patience.silence = Duration::from_millis(300);
            }
            place.hub.play(path, std::iter::repeat_n(trick.clone(), 4));
            let failed = place.fetch().unwrap();
            let text = failed[0].to_string();
            assert!(
                failed.len() == 1 && text.contains(reason),
                "{trick:?}: {text}"
            );
            place.assert_absent(path, &bytes);

            place.hub.play(path, []);
            place.patience.silence = Duration::from_secs(5);
            assert!(place.fetch().unwrap().is_empty(), "{trick:?}");
            place.assert_whole();
        }
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    for (path, bytes) in files().into_iter().take(2) {
        let place = Place::new();
        // The attempts after the first bring nothing, so the fetch is given up with 9 bytes.
        place.hub.play(
            path,
            [Trick::BreakOff(9), Trick::BreakOff(0), Trick::BreakOff(0)],
        );
        assert_eq!(place.fetch().unwrap().len(), 1);
        place.assert_absent(path, &bytes);
        let survey = place.survey(Reach::Network).unwrap();
        let here = survey
            .missing()
            .find(|file| file.path == path)
            .unwrap()
            .here;
        assert_eq!(here, 9, "what has come is kept");
        place.hub.heard();
        // It breaks off again, and is taken up again within the same fetch.
        place.hub.play(path, [Trick::BreakOff(5)]);
        assert!(place.fetch().unwrap().is_empty());
        place.assert_whole();
        let host = usize::from(bytes.len() > loopback::LARGE);
        let heard = &place.hub.heard()[host];
        let ranges: Vec<_> = heard
            .iter()
            .filter_map(|heard| heard.headers.get("range"))
            .collect();
        assert_eq!(ranges, ["bytes=9-", "bytes=14-"]);
        let tag = heard.last().unwrap().headers.get("if-range");
        assert_eq!(
            tag,
            (host == 0).then(|| format!("\"{}\"", oid(&bytes))).as_ref()
        );
    }
}

#[test]
fn a_server_that_cannot_resume_sends_the_whole_and_another_part_is_refused() {
    for (trick, requests) in [(Trick::Whole, 1), (Trick::OtherPart, 2)] {
        let (path, bytes) = files().into_iter().nth(1).unwrap();
        let place = Place::new();
        place.hub.play(
            path,
            [
                Trick::BreakOff(1000),
                Trick::BreakOff(0),
                Trick::BreakOff(0),
            ],
        );
        assert_eq!(place.fetch().unwrap().len(), 1);
        place.hub.heard();
        place.hub.play(path, [trick]);
        assert!(place.fetch().unwrap().is_empty());
        place.assert_whole();
        let heard = &place.hub.heard()[1];
        assert_eq!(heard[0].headers["range"], "bytes=1000-");
        assert_eq!(heard.len(), requests);
        assert!(heard.len() == 1 || !heard[1].headers.contains_key("range"));
        assert_eq!(bytes.len(), BIG);
    }
}

#[test]
fn a_wrong_partial_file_is_found_out_and_replaced() {
    let place = Place::new();
    let (_, bytes) = files().into_iter().nth(1).unwrap();
    let blobs = place.cache.join("models--acme--net/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", oid(&bytes)));
    for wrong in [vec![0; 100], vec![0; BIG], vec![0; BIG + 1]] {
        fs::write(&partial, wrong).unwrap();
        assert!(place.fetch().unwrap().is_empty());
        place.assert_whole();
        fs::remove_file(blobs.join(oid(&bytes))).unwrap();
        fs::remove_dir_all(place.snapshot()).unwrap();
    }
}

#[test]
fn the_wait_that_the_hub_asks_for_is_kept_within_bounds() {
    let place = Place::new();
    place
        .hub
        .play("config.json", [Trick::Status(429, "Retry-After: 1\r\n")]);
    let begun = Instant::now();
    assert!(place.fetch().unwrap().is_empty());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    place.assert_whole();

    let place = Place::new();
    place
        .hub
        .play("config.json", [Trick::Status(429, "Retry-After: 3600\r\n")]);
    let failed = place.fetch().unwrap();
    assert!(matches!(&failed[..], [Error::Later { wait, .. }] if wait.as_secs() == 3600));
}

#[test]
fn the_token_goes_to_the_hub_alone_and_is_shown_nowhere() {
    let mut place = Place::new();
    place.token = Some(Token::from(SECRET));
    place.hub.play(
        "config.json",
        [Trick::Status(403, "X-Error-Message: gated\r\n")],
    );
    let failed = place.fetch().unwrap();
    let shown = format!("{} {failed:?} {:?}", failed[0], place.client());
    assert!(shown.contains("acme/net") && shown.contains("HF_TOKEN") && shown.contains("gated"));
    assert!(!shown.contains(SECRET));
    assert!(place.fetch().unwrap().is_empty());
    let [hub, large] = place.hub.heard();
    let token = |heard: &loopback::Heard| heard.headers.get("authorization").cloned();
    assert!(
        hub.iter()
            .all(|heard| token(heard) == Some(format!("Bearer {SECRET}")))
    );
    assert!(!large.is_empty() && large.iter().all(|heard| token(heard).is_none()));
    let mut folders = vec![place.cache.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).to_string();
                assert!(!text.contains(SECRET), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_signed_address_that_ran_out_is_asked_for_again_and_shown_nowhere() {
    let place = Place::new();
    place
        .hub
        .play("model.safetensors", [Trick::Status(403, "")]);
    assert!(place.fetch().unwrap().is_empty());
    place.assert_whole();
    let place = Place::new();
    place.hub.play(
        "model.safetensors",
        std::iter::repeat_n(Trick::Status(403, ""), 4),
    );
    let failed = place.fetch().unwrap();
    assert!(!format!("{} {failed:?}", failed[0]).contains("signature"));
}

#[test]
fn a_listing_is_read_to_its_end_and_a_bad_one_is_refused() {
    let place = Place::new();
    place.hub.page(Page::Of(1));
    assert_eq!(place.survey(Reach::Network).unwrap().files.len(), 2);
    assert_eq!(
        place.hub.heard()[0].len(),
        4,
        "three files and a folder, one a page"
    );

    for (page, reason) in [(Page::Circle, "circle"), (Page::Hostile, "outside")] {
        let place = Place::new();
        place.hub.page(page);
        let error = place.survey(Reach::Network).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let place = Place::new();
    let unknown = need("ffffffffffffffffffffffffffffffffffffffff");
    let error = place
        .client()
        .survey(&unknown, Reach::Network, &|| false, &|_, _| {})
        .unwrap_err();
    assert!(matches!(&error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("no such revision"), "{error}");
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let place = Place::new();
    place.hub.page(Page::Huge);
    let error = place.fetch().unwrap_err();
    assert!(matches!(error, Error::Space { needed, .. } if needed >= 1_000_000_000_000_000_000));
    let asked = place.hub.heard().concat();
    assert!(asked.iter().all(|heard| heard.target.starts_with("/api/")));
}

#[test]
fn two_fetches_at_once_bring_a_file_once() {
    let place = Place::new();
    place.survey(Reach::Network).unwrap();
    place.hub.heard();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(place.fetch().unwrap().is_empty()));
        }
    });
    place.assert_whole();
    assert_eq!(place.hub.heard().map(|heard| heard.len()), [2, 1]);
}

#[test]
fn a_user_who_stops_need_not_wait_for_a_silent_server() {
    let place = Place::new();
    place
        .hub
        .play("model.safetensors", [Trick::Silent(Duration::from_secs(4))]);
    let holding = place.survey(Reach::Network).unwrap();
    let begun = Instant::now();
    let stop = || begun.elapsed() > Duration::from_millis(300);
    let error = place
        .client()
        .fetch(&[holding], &stop, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, Error::Stopped) && begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_name_or_revision_that_could_leave_the_cache_is_refused() {
    let new = |name: &str, revision: &str| {
        let (hub, revision) = (name.to_string(), revision.to_string());
        Repository::new(Kind::Model, &harness::suite::Hub { hub, revision })
    };
    assert!(new("google/vit-base_16.1", REVISION).is_ok());
    for name in [
        "../x", "a/..", "a/b/c", "a", "/a", "a/b?c", "a--b/c", "a/.b", "",
    ] {
        assert!(
            matches!(new(name, REVISION), Err(Error::Name { .. })),
            "{name}"
        );
    }
    for revision in ["main", "../../../../../../../../../../../../../x", ""] {
        assert!(matches!(new("a/b", revision), Err(Error::Revision { .. })));
    }
}
