//! Which files of a repository are read, told from a listing of their names: the layouts that data sets and models
//! have on the Hugging Face Hub, and local folders like them. Pure.

/// The files that hold a portion of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortionFiles {
    /// Parquet files, in the order of their numbers.
    Parquet(Vec<String>),
    /// A text file, an example a line.
    Text(String),
    /// A text file inside a gzipped tar archive.
    Archived {
        /// The archive.
        archive: String,
        /// The text file's name inside it.
        member: String,
    },
}

impl PortionFiles {
    /// The files to have at hand.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Parquet(files) => files.iter().map(String::as_str).collect(),
            Self::Text(file) | Self::Archived { archive: file, .. } => vec![file],
        }
    }
}

/// No file of a listing belongs to a portion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("portion `{portion}` has no file; it would be {}", looked_for.join(" or "))]
pub struct NoFile {
    /// The portion.
    pub portion: String,
    /// What its files would be called.
    pub looked_for: Vec<String>,
}

/// The files of `portion` among `listing`, names relative to the data set, `/` between folders.
///
/// A portion is a split, `train`, or a configuration (a language, a domain) with one, `en/train`. It is, whichever is
/// there first:
///
/// * Parquet, `<configuration>/<split>-00000-of-00001.parquet`, with or without a hash before the dot; the
///   configuration is the folder `data` when the portion names none. All shards must be there;
/// * text, `<configuration>/<split>.txt`, or `<split>.txt` when the portion names no configuration;
/// * archived text, `<configuration>/<split>.txt` in `data/<configuration>.tar.gz` or `<configuration>.tar.gz`.
pub fn portion_files(listing: &[String], portion: &str) -> Result<PortionFiles, NoFile> {
    let (configuration, split) = match portion.rsplit_once('/') {
        Some((configuration, split)) => (Some(configuration), split),
        None => (None, portion),
    };
    let folder = configuration.unwrap_or("data");
    let has = |name: &String| listing.contains(name);

    let mut shards: Vec<(Shard, &String)> = listing
        .iter()
        .filter_map(|name| {
            Some((
                shard(name.strip_prefix(folder)?.strip_prefix('/')?, split)?,
                name,
            ))
        })
        .collect();
    shards.sort();
    let complete = |shards: &[(Shard, &String)]| {
        shards
            .iter()
            .enumerate()
            .all(|(i, (shard, _))| shard.part == i && shard.parts == shards.len())
    };
    if !shards.is_empty() && complete(&shards) {
        return Ok(PortionFiles::Parquet(
            shards.into_iter().map(|(_, name)| name.clone()).collect(),
        ));
    }

    let text = match configuration {
        Some(configuration) => format!("{configuration}/{split}.txt"),
        None => format!("{split}.txt"),
    };
    if has(&text) {
        return Ok(PortionFiles::Text(text));
    }
    let archives: Vec<String> = configuration
        .iter()
        .flat_map(|configuration| {
            [
                format!("data/{configuration}.tar.gz"),
                format!("{configuration}.tar.gz"),
            ]
        })
        .collect();
    if let Some(archive) = archives.iter().find(|name| has(name)) {
        return Ok(PortionFiles::Archived {
            archive: archive.clone(),
            member: text,
        });
    }
    let parquet = format!("{folder}/{split}-00000-of-*.parquet and all its shards");
    Err(NoFile {
        portion: portion.into(),
        looked_for: [parquet, text].into_iter().chain(archives).collect(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shard {
    part: usize,
    parts: usize,
}

/// What `<split>-<part>-of-<parts>[-<hash>].parquet` says.
fn shard(name: &str, split: &str) -> Option<Shard> {
    let numbers = name
        .strip_prefix(split)?
        .strip_prefix('-')?
        .strip_suffix(".parquet")?;
    let (part, rest) = numbers.split_once("-of-")?;
    let parts = rest.split_once('-').map_or(rest, |(parts, _)| parts);
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    Some(Shard {
        part: number(part)?,
        parts: number(parts)?,
    })
}

/// The files of a model's repository that are read: configuration, weights (safetensors alone, never a pickle), and
/// what turns text or images into inputs.
pub fn model_files(listing: &[String]) -> Vec<&str> {
    const KNOWN: [&str; 9] = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "preprocessor_config.json",
        "generation_config.json",
    ];
    let names = listing.iter().map(String::as_str);
    if listing.iter().any(|name| name == "model.safetensors") {
        return names
            .filter(|name| KNOWN.contains(name) || *name == "model.safetensors")
            .collect();
    }
    let is_shard = |name: &str| shard_of_weights(name) || name == "model.safetensors.index.json";
    names
        .filter(|name| KNOWN.contains(name) || is_shard(name))
        .collect()
}

/// Whether a name is `model-00001-of-00002.safetensors`.
fn shard_of_weights(name: &str) -> bool {
    let numbers = name
        .strip_prefix("model-")
        .and_then(|name| name.strip_suffix(".safetensors"));
    numbers
        .and_then(|numbers| numbers.split_once("-of-"))
        .is_some_and(|(part, parts)| {
            [part, parts]
                .iter()
                .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn parquet_is_found_by_split_and_configuration_and_all_shards_must_be_there() {
        let flowers = listing(&[
            "README.md",
            "data/train-00000-of-00001-12de94e121bdbead.parquet",
        ]);
        let found = portion_files(&flowers, "train").unwrap();
        assert_eq!(found.names(), [&flowers[1]]);
        let cars = listing(&[
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
        ]);
        assert_eq!(
            portion_files(&cars, "train").unwrap().names(),
            [&cars[1], &cars[0]]
        );
        assert!(
            portion_files(&cars[..1], "train").is_err(),
            "a shard is missing"
        );
        let xnli = listing(&[
            "en/test-00000-of-00001.parquet",
            "ar/test-00000-of-00001.parquet",
        ]);
        assert_eq!(portion_files(&xnli, "ar/test").unwrap().names(), [&xnli[1]]);
        assert!(portion_files(&xnli, "ar/tes").is_err() && portion_files(&xnli, "test").is_err());
    }

    #[test]
    fn text_lies_bare_or_in_an_archive() {
        let archived = PortionFiles::Archived {
            archive: "data/Art.tar.gz".into(),
            member: "Art/valid.txt".into(),
        };
        assert_eq!(
            portion_files(&listing(&["data/Art.tar.gz"]), "Art/valid"),
            Ok(archived)
        );
        let bare = portion_files(&listing(&["data/Art.tar.gz", "Art/valid.txt"]), "Art/valid");
        assert_eq!(bare, Ok(PortionFiles::Text("Art/valid.txt".into())));
        let error = portion_files(&[], "Art/valid").unwrap_err().to_string();
        assert!(
            error.contains("`Art/valid`") && error.contains("Art.tar.gz"),
            "{error}"
        );
    }

    #[test]
    fn of_a_model_only_safetensors_are_read() {
        let names = [
            "config.json",
            "pytorch_model.bin",
            "model.safetensors",
            "tf_model.h5",
            "tokenizer.json",
        ];
        assert_eq!(
            model_files(&listing(&names)),
            ["config.json", "model.safetensors", "tokenizer.json"]
        );
        let sharded = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ];
        assert_eq!(model_files(&listing(&sharded)), sharded);
    }
}
