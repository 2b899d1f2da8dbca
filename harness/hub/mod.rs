//! Models and data from the Hugging Face Hub: pinned, verified, resumed, and without a network once they are here.
//!
//! [`needs`] says which repositories a plan reads, [`Hub::survey`] which of their files are here, [`Hub::fetch`] gets
//! the rest. The cache is the one that Python's `huggingface_hub` keeps, so that neither fetches what the other has.
//!
//! `hf-hub` gives the names: repository types, addresses, the layout of the cache. Its download is not used: version
//! 0.5 appends whatever a server answers to the partial file, a whole file (200) where the rest (206) was asked for
//! included; it compares neither length nor hash before it renames, and retries without regard to `Retry-After`. So the
//! bytes go through `ureq`, the client under `hf-hub`, under these guarantees:
//!
//! * a file has its final name only when its length and hash are those of the repository's listing;
//! * a transfer that broke off goes on where it stopped, also in a later process;
//! * the token is sent to the endpoint alone, and shown nowhere;
//! * two processes fetch a file once, and a killed one costs nothing that has come.

mod cache;
mod digest;
mod download;
mod error;
mod fetch;
mod http;
mod need;
mod settings;
mod survey;
mod tree;

pub use cache::free_space;
pub use error::Error;
pub use fetch::{Told, What};
pub use need::{Kind, Need, Repository, needs};
pub use settings::{Patience, Settings, Token};
pub use survey::{File, Holding, Reach};

/// The hub as this machine reaches it, and what of it lies here.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    agent: ureq::Agent,
    cache: hf_hub::Cache,
}

impl Hub {
    /// The hub of `settings`; nothing is asked of it yet.
    pub fn new(settings: Settings) -> Hub {
        Hub {
            agent: http::agent(&settings),
            cache: hf_hub::Cache::new(settings.cache.clone()),
            settings,
        }
    }

    /// How it is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
