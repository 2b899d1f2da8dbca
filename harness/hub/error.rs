//! What can go wrong with the hub, in the user's terms. No text holds a token or a signed address.

use std::path::PathBuf;
use std::time::Duration;

use super::need::Repository;
use crate::layout::NoFile;

/// Why something of the hub is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment variable cannot be used.
    #[error("{variable}: {reason}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that no repository has.
    #[error("`{name}` is not the name of a repository: it is written owner/name")]
    Name {
        /// What stands there.
        name: String,
    },
    /// A revision that is not a commit.
    #[error("{name}: `{revision}` is not a commit: it has 40 hexadecimal digits")]
    Revision {
        /// The repository.
        name: String,
        /// What stands there.
        revision: String,
    },
    /// The hub does not let this user read a repository.
    #[error("{repository}: access is refused (status {status}{}); accept the licence on {page} and {}", in_words(.said), token_advice(*.token))]
    Refused {
        /// The repository.
        repository: Repository,
        /// The HTTP status, 401 or 403.
        status: u16,
        /// The repository's page.
        page: String,
        /// Whether a token was sent.
        token: bool,
        /// The hub's own words.
        said: String,
    },
    /// The hub has no such repository, revision or file.
    #[error("{what} is not on the hub (status {status}{})", in_words(.said))]
    NotFound {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The hub's own words.
        said: String,
    },
    /// An answer that trying again would not change.
    #[error("{what}: the hub answers with status {status}{}", in_words(.said))]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The hub's own words.
        said: String,
    },
    /// The hub wants to be left alone for longer than is waited.
    #[error("{what}: the hub asks to come back in {} s (status {status}); try again then", .wait.as_secs())]
    Later {
        /// What was asked for.
        what: String,
        /// The HTTP status, 429 as a rule.
        status: u16,
        /// How long it asks for.
        wait: Duration,
    },
    /// Every attempt failed.
    #[error("{what}: {reason}, and so at each of {attempts} attempts; what has come is kept")]
    Attempts {
        /// What was asked for.
        what: String,
        /// How the last attempt ended.
        reason: String,
        /// Attempts without progress.
        attempts: u32,
    },
    /// A listing that cannot be relied on.
    #[error("the listing of {repository} {reason}")]
    Listing {
        /// The repository.
        repository: Repository,
        /// What is wrong with it.
        reason: String,
    },
    /// A data set without a portion that a task names.
    #[error("{repository}")]
    NoPortion {
        /// The data set.
        repository: Repository,
        /// The portion, and what its files would be called.
        source: NoFile,
    },
    /// A model without something that is always read.
    #[error("{repository} has no `{file}`")]
    NoModelFile {
        /// The model.
        repository: Repository,
        /// The file.
        file: String,
    },
    /// Without a network, nothing of a repository is here.
    #[error("nothing of {repository} is in the cache {}", .cache.display())]
    NotCached {
        /// The repository.
        repository: Repository,
        /// The cache.
        cache: PathBuf,
    },
    /// There is not enough room.
    #[error("{} bytes are to come, and {free} are free in {}", .needed, .folder.display())]
    Space {
        /// Where the files would go.
        folder: PathBuf,
        /// Bytes to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The cache cannot be read or written.
    #[error("{}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The user stopped it.
    #[error("stopped; what has come is kept")]
    Stopped,
}

impl Error {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

fn in_words(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

fn token_advice(sent: bool) -> &'static str {
    if sent {
        "use a token of the account that did (HF_TOKEN)"
    } else {
        "set HF_TOKEN to a token of your account"
    }
}
