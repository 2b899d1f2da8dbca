//! Which repositories runs read, and what of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::error::Error;
use crate::plan::{DataSpec, ModelSpec, PlannedRun, folder_key};
use crate::suite;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A network.
    Model,
    /// A repository of a model of which only the tokenizer is read.
    Tokenizer,
    /// A data set.
    Dataset,
}

impl Kind {
    pub(super) fn hf(self) -> hf_hub::RepoType {
        match self {
            Kind::Model | Kind::Tokenizer => hf_hub::RepoType::Model,
            Kind::Dataset => hf_hub::RepoType::Dataset,
        }
    }
}

/// A repository of the hub at a commit. Its name and revision can be parts of paths and addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// What it holds.
    pub kind: Kind,
    /// `owner/name`.
    pub name: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
}

impl Repository {
    /// The repository that a suite names.
    ///
    /// # Errors
    /// [`Error::Name`] or [`Error::Revision`] when it cannot be one.
    pub fn new(kind: Kind, hub: &suite::Hub) -> Result<Repository, Error> {
        let name = &hub.hub;
        let part = |part: &str| {
            let known = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
            !part.is_empty() && part.bytes().all(known) && !part.starts_with('.')
        };
        // `--` stands for the slash in the names of the cache.
        let unclear = name.contains("--") || name.contains("..");
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|text| part(text)) || unclear {
            return Err(Error::Name { name: name.clone() });
        }
        if !is_hexadecimal(&hub.revision, 40) {
            return Err(Error::Revision {
                name: name.clone(),
                revision: hub.revision.clone(),
            });
        }
        Ok(Repository {
            kind,
            name: name.clone(),
            revision: hub.revision.clone(),
        })
    }

    /// The key of its folder in a worker's job.
    pub fn key(&self) -> String {
        folder_key(&suite::Hub {
            hub: self.name.clone(),
            revision: self.revision.clone(),
        })
    }

    pub(super) fn hf(&self) -> hf_hub::Repo {
        hf_hub::Repo::with_revision(self.name.clone(), self.kind.hf(), self.revision.clone())
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, &self.revision[..12])
    }
}

pub(super) fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// What runs read of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The repository.
    pub repository: Repository,
    /// Of a data set, the portions that are read; of a model, none.
    pub portions: BTreeSet<String>,
}

/// What `runs` read of the hub, each repository once, in order of kind and name.
///
/// # Errors
/// [`Error::Name`] or [`Error::Revision`] for a repository that cannot be one.
pub fn needs<'a>(runs: impl IntoIterator<Item = &'a PlannedRun>) -> Result<Vec<Need>, Error> {
    let mut found: BTreeMap<Repository, BTreeSet<String>> = BTreeMap::new();
    for run in runs {
        // A run that starts from another's weights still reads the shape of the network.
        let mut model = &run.spec.model;
        while let ModelSpec::Stage(stage) = model {
            model = &stage.model;
        }
        if let ModelSpec::Hub(hub) = model {
            found.entry(Repository::new(Kind::Model, hub)?).or_default();
        }
        // A model's repository brings its own tokenizer.
        if let Some(DataSpec::Hub(hub)) = run.spec.tokenizer_source()
            && !matches!(model, ModelSpec::Hub(model) if *model == hub)
        {
            found
                .entry(Repository::new(Kind::Tokenizer, &hub)?)
                .or_default();
        }
        if let DataSpec::Hub(hub) = &run.spec.data {
            let read = run
                .measurements
                .iter()
                .filter(|wanted| !wanted.measure.is_of_training())
                .map(|wanted| &wanted.on);
            found
                .entry(Repository::new(Kind::Dataset, hub)?)
                .or_default()
                .extend(read.chain(&run.spec.train).chain(&run.spec.select).cloned());
        }
    }
    let need = |(repository, portions)| Need {
        repository,
        portions,
    };
    Ok(found.into_iter().map(need).collect())
}
