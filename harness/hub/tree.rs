//! The listing of a repository at a commit: from the hub, page by page, and kept in the cache, where a commit's
//! listing never gets old.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Hub;
use super::cache::{Place, write_whole};
use super::digest::Digest;
use super::error::Error;
use super::http::{Ask, next_page, trouble_of};
use super::need::{Kind, Repository, is_hexadecimal};

/// Size and hash of every file, by path.
pub(super) type Tree = BTreeMap<String, Entry>;

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bytes.
    pub(super) size: u64,
    /// What names its content.
    pub(super) digest: Digest,
}

/// Bytes of a page of a listing, at most; a thousand files are some hundred thousand.
const PAGE: u64 = 64 << 20;

/// An entry as the hub tells it.
#[derive(Deserialize)]
struct Told {
    r#type: String,
    path: String,
    oid: String,
    size: u64,
    lfs: Option<ToldLarge>,
}

#[derive(Deserialize)]
struct ToldLarge {
    oid: String,
    size: u64,
}

/// The listing as Python's client keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    format_version: u32,
    files: BTreeMap<String, KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    size: u64,
    blob_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
}

impl KeptFile {
    /// Size and hash, when they are what they should be.
    fn entry(&self) -> Option<Entry> {
        let (size, digest) = match (&self.lfs_sha256, self.lfs_size) {
            (Some(sha256), size) => (size.unwrap_or(self.size), Digest::Sha256(sha256.clone())),
            (None, _) => (self.size, Digest::Git(self.blob_id.clone())),
        };
        let digits = match digest {
            Digest::Sha256(_) => 64,
            Digest::Git(_) => 40,
        };
        is_hexadecimal(digest.text(), digits).then_some(Entry { size, digest })
    }
}

/// The listing that lies in the cache, if a sound one does.
pub(super) fn kept(place: &Place) -> Option<Tree> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(&place.tree).ok()?).ok()?;
    if kept.format_version != 1 {
        return None;
    }
    let entry = |(path, file): (String, KeptFile)| {
        let entry = file.entry().filter(|_| stays_inside(&path))?;
        Some((path, entry))
    };
    kept.files.into_iter().map(entry).collect()
}

/// The listing from the hub, which is kept.
pub(super) fn ask(
    hub: &Hub,
    repository: &Repository,
    place: &Place,
    stop: &dyn Fn() -> bool,
    waiting: &dyn Fn(&str, Duration),
) -> Result<Tree, Error> {
    let wrong = |reason: String| Error::Listing {
        repository: repository.clone(),
        reason,
    };
    let what = format!("the listing of {repository}");
    let mut next = Some(address(hub, repository));
    let mut seen = BTreeSet::new();
    let mut files = BTreeMap::new();
    while let Some(url) = next.take() {
        if !seen.insert(url.clone()) {
            return Err(wrong("goes round in a circle".into()));
        }
        let ask = Ask {
            what: &what,
            repository,
            stop,
            waiting,
        };
        let (page, after) = hub.persist(&ask, || {
            let answer = hub.get(&ask, &url, None)?;
            let after = next_page(&url, &answer);
            let mut body = answer.response.into_body();
            let text = body.with_config().limit(PAGE).read_to_string();
            Ok((text.map_err(trouble_of)?, after))
        })?;
        let page: Vec<Told> = serde_json::from_str(&page)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        for told in page.into_iter().filter(|told| told.r#type == "file") {
            if !stays_inside(&told.path) {
                return Err(wrong(format!("names a file outside it, `{}`", told.path)));
            }
            let file = KeptFile {
                size: told.size,
                blob_id: told.oid,
                lfs_size: told.lfs.as_ref().map(|large| large.size),
                lfs_sha256: told.lfs.map(|large| large.oid),
            };
            if file.entry().is_none() {
                return Err(wrong(format!("gives no usable hash of `{}`", told.path)));
            }
            files.insert(told.path, file);
        }
        next = after;
    }
    let listing = Kept {
        format_version: 1,
        files,
    };
    let text = serde_json::to_vec_pretty(&listing).expect("a listing is plain data");
    write_whole(&place.tree, &text)?;
    let entry = |(path, file): (String, KeptFile)| Some((path, file.entry()?));
    Ok(listing.files.into_iter().filter_map(entry).collect())
}

fn address(hub: &Hub, repository: &Repository) -> String {
    let kind = match repository.kind {
        Kind::Model | Kind::Tokenizer => "models",
        Kind::Dataset => "datasets",
    };
    let (endpoint, name) = (&hub.settings.endpoint, &repository.name);
    format!(
        "{endpoint}/api/{kind}/{name}/tree/{}?recursive=true",
        repository.revision
    )
}

/// Whether a path of a listing, joined to a folder, stays in it.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !["", ".", ".."].contains(&part))
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn a_listing_cannot_name_files_outside_its_folder() {
        assert!(stays_inside("data/train-00000-of-00001.parquet"));
        for path in ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a\\..\\b"] {
            assert!(!stays_inside(path), "{path}");
        }
    }
}
