//! The suite language: the shape of a YAML file, exactly as written.
//!
//! These types are the single source of the language. Their JSON Schema (`harness schema`) drives the strict
//! reader in [`super::check`] and the completion of editors; their doc comments are its documentation.

use indexmap::IndexMap;
use methods::{Base, Method, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One experiment family of a paper: what to train, on what, and every number the paper prints about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Short name, used for folders: lower-case letters, digits and hyphens.
    pub suite: String,
    /// One line that says what the suite compares.
    pub title: String,
    /// The publication whose numbers the tables report.
    pub citation: Citation,
    /// The networks, by name.
    pub models: IndexMap<String, Model>,
    /// What can be measured, by name.
    pub metrics: IndexMap<String, Metric>,
    /// How training goes, by name.
    pub training: IndexMap<String, Training>,
    /// Data, model, training and metric put together, by name.
    pub tasks: IndexMap<String, Task>,
    /// Optimizers with their hyper-parameters, by the name the tables print.
    pub methods: IndexMap<String, MethodEntry>,
    /// One run per seed for every cell; all randomness of a run derives from its seed.
    #[schemars(length(min = 1))]
    pub seeds: Vec<u64>,
    /// The tables, cell by cell.
    #[schemars(length(min = 1))]
    pub tables: Vec<Table>,
    /// Tables computed from other tables.
    #[serde(default)]
    pub derived_tables: Vec<DerivedTable>,
    /// Figures drawn from tables or from observations.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Sentences that numbers can decide.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A publication.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// Its title.
    pub title: String,
    /// Its authors, as printed.
    pub authors: String,
    /// Conference, journal or archive.
    pub venue: String,
    /// Year of publication.
    pub year: u16,
    /// arXiv number with version, `2310.03646v2`.
    #[serde(default)]
    pub arxiv: Option<String>,
}

/// Where a network comes from: give one of `hub`, `folder`, `config`, `stage`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Model {
    /// A repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder of the same layout.
    Folder(Folder),
    /// An architecture in the Hugging Face configuration format, initialised from the run's seed.
    Config(ConfigModel),
    /// The final weights of another run that this file declares, such as pre-training.
    Stage(StageModel),
}

/// A repository of the Hugging Face Hub, pinned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `owner/name`.
    pub hub: String,
    /// Full commit hash, so that the same file always means the same bytes.
    #[schemars(regex(pattern = r"^[0-9a-f]{40}$"))]
    pub revision: String,
}

/// A local folder, pinned by its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Path, relative to the suite file.
    pub folder: String,
    /// Hash of the folder's content, as `harness validate` prints it when it differs.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// An architecture without weights.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModel {
    /// The keys of a Hugging Face `config.json`; `model_type` chooses the family.
    pub config: ModelConfig,
}

/// The keys of a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConfig {
    /// `vit`, `gpt2` or `xlm-roberta`.
    pub model_type: ModelType,
    /// Every other key, with the meaning and defaults of the reference implementation.
    #[serde(flatten)]
    pub keys: IndexMap<String, serde_json::Value>,
}

/// A family of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelType {
    /// Vision transformer with a classifier.
    Vit,
    /// GPT-2 language model.
    Gpt2,
    /// XLM-RoBERTa sequence classifier.
    XlmRoberta,
}

/// Weights from another run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageModel {
    /// The run that makes them.
    pub stage: Stage,
}

/// A run whose final weights another run starts from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// A task of this file.
    pub task: String,
    /// A method of this file.
    pub method: String,
    /// Its seed; left out, the seed of the run that starts from it.
    #[serde(default)]
    pub seed: Option<u64>,
}

/// A quantity, its unit and which way is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// How it is measured.
    pub measure: Measure,
    /// Which way is better.
    pub better: Direction,
    /// Unit as printed in table headers, `%`.
    #[serde(default)]
    pub unit: Option<String>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger values are better.
    Higher,
    /// Smaller values are better.
    Lower,
}

/// How a quantity is measured. Plain ones are a word, those with knobs a mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of examples whose largest logit is the label, in percent.
    Accuracy,
    /// Mean task loss in nats.
    Loss,
    /// Mean trust-region distance d over the updates of training; measured while training, on no portion.
    Distance,
    /// exp(total negative log-likelihood / tokens).
    #[serde(untagged)]
    Perplexity(PerplexityMeasure),
    /// Epsilon-sharpness (Keskar et al. 2017), in percent: TRAM paper, eq. 11.
    #[serde(untagged)]
    Sharpness(SharpnessMeasure),
    /// Linear centred kernel alignment of first-token states with the pre-trained model's: TRAM paper, eq. 12.
    #[serde(untagged)]
    Cka(CkaMeasure),
}

/// Perplexity and its one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerplexityMeasure {
    /// Its knobs.
    pub perplexity: PerplexityKnobs,
}

/// How the mean over blocks is weighted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerplexityKnobs {
    /// `predicted_tokens`: a block of T tokens counts T-1; `block_tokens`: T, as the data set's own script does.
    #[serde(default)]
    pub perplexity_weighting: PerplexityWeighting,
}

/// What a block of T tokens weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PerplexityWeighting {
    /// T - 1, the tokens that were predicted.
    #[default]
    PredictedTokens,
    /// T.
    BlockTokens,
}

/// Epsilon-sharpness and its knobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharpnessMeasure {
    /// Its knobs.
    pub sharpness: SharpnessKnobs,
}

/// 100 (L_max - L_0) / (1 + L_0), with L_max found by gradient ascent inside a box around the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharpnessKnobs {
    /// Half-width of the box, relative to |theta| + 1.
    #[serde(default = "SharpnessKnobs::epsilon")]
    pub epsilon: f64,
    /// Step size of the ascent.
    #[serde(default = "SharpnessKnobs::lr")]
    pub lr: f64,
    /// Examples per batch.
    #[serde(default = "SharpnessKnobs::batch")]
    pub batch: u64,
    /// Batches per ascent step.
    #[serde(default = "SharpnessKnobs::accumulation")]
    pub accumulation: u64,
    /// Whether those batches' gradients are summed or averaged.
    #[serde(default)]
    pub accum_reduction: Reduction,
    /// `absolute`: epsilon (|theta| + 1), the paper's; `signed`: epsilon |theta + 1|, the released code's.
    #[serde(default, rename = "box")]
    pub box_: BoxKind,
    /// The loss after the sweep, or the largest seen.
    #[serde(default)]
    pub value: SharpnessValue,
}

impl SharpnessKnobs {
    fn epsilon() -> f64 {
        1e-5
    }
    fn lr() -> f64 {
        8e-5
    }
    fn batch() -> u64 {
        32
    }
    fn accumulation() -> u64 {
        4
    }
}

/// How several gradients become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// Shape of the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxKind {
    /// epsilon (|theta| + 1).
    #[default]
    Absolute,
    /// epsilon |theta + 1|.
    Signed,
}

/// Which loss of the ascent counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharpnessValue {
    /// The one after the sweep.
    #[default]
    Final,
    /// The largest.
    Best,
}

/// Linear CKA and its one choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CkaMeasure {
    /// Its knobs.
    pub cka: CkaKnobs,
}

/// Knobs of linear CKA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CkaKnobs {
    /// Whether columns are centred first, as the definition the paper cites assumes.
    #[serde(default = "CkaKnobs::centred")]
    pub centred: bool,
}

impl CkaKnobs {
    fn centred() -> bool {
        true
    }
}

/// How training goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The base optimizer that applies the final gradient.
    pub base: Base,
    /// The learning rate over time, as a multiple of the base optimizer's.
    pub schedule: Schedule,
    /// How long: `{steps: 50000}` or `{epochs: 200}`.
    pub length: Length,
    /// Examples (images, blocks, pairs) per update.
    #[schemars(range(min = 1))]
    pub batch: u64,
    /// Parts a batch is cut into to fit the device; the update is the whole batch's.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub micro_batches: u64,
    /// Number format of forward and backward passes; parameters stay float32.
    #[serde(default)]
    pub precision: Precision,
    /// Largest norm of the gradient handed to the base optimizer; left out, no clipping.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Fragments of parameter names exempt from weight decay.
    #[serde(default)]
    pub no_decay: Vec<String>,
    /// How often the task's `select` portion is evaluated; left out, only at the end.
    #[serde(default)]
    pub evaluate_every: Option<Length>,
    /// Which model is measured at the end.
    #[serde(default)]
    pub selection: Selection,
}

fn one() -> u64 {
    1
}

/// A stretch of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Updates.
    Steps(#[schemars(range(min = 1))] u64),
    /// Passes over the training data.
    Epochs(#[schemars(range(min = 1))] u64),
}

/// Number format of forward and backward passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision throughout.
    #[default]
    Float32,
    /// bfloat16 where autocast allows, float32 elsewhere.
    Bfloat16,
}

/// Which model is measured at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The one after the last update.
    #[default]
    Last,
    /// The one with the lowest loss on the task's `select` portion.
    Best,
}

/// Data, model, training and metric put together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// A model of this file.
    pub model: String,
    /// The data set.
    pub data: Data,
    /// How an example is read and fed to the model.
    pub input: Input,
    /// Portions to train on: a split (`train`), or a domain or language with one (`en/train`).
    #[schemars(length(min = 1))]
    pub train: Vec<String>,
    /// The portion whose loss selects the model.
    #[serde(default)]
    pub select: Option<String>,
    /// A training of this file.
    pub training: String,
    /// The metric of this file that columns show unless they name another.
    pub metric: String,
}

/// Where a data set comes from: give `hub` or `folder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    /// A repository of the Hugging Face Hub.
    Hub(Hub),
    /// A local folder of the same layout.
    Folder(Folder),
}

/// How an example is read and fed to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Images with a class label.
    Images(Images),
    /// Plain text cut into blocks of tokens.
    TextBlocks(TextBlocks),
    /// Pairs of sentences with a class label.
    SentencePairs(SentencePairs),
}

/// Images with a class label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Column of the encoded images.
    #[serde(default = "Images::image")]
    pub image: String,
    /// Column of the labels.
    #[serde(default = "Images::label")]
    pub label: String,
    /// Subtracted from pixel values in 0..1.
    #[serde(default = "Images::half")]
    pub mean: f64,
    /// They are then divided by this.
    #[serde(default = "Images::half")]
    pub std: f64,
    /// What training does to an image besides resizing.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Where a method's input noise goes.
    #[serde(default)]
    pub vit_noise_at: VitNoise,
}

impl Images {
    fn image() -> String {
        "image".into()
    }
    fn label() -> String {
        "label".into()
    }
    fn half() -> f64 {
        0.5
    }
}

/// What training does to an image besides resizing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Augmentation {
    /// Nothing.
    #[default]
    None,
    /// A random crop, resized, and a random horizontal flip.
    CropFlip,
}

/// Where a vision transformer receives input noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VitNoise {
    /// The normalised pixels.
    #[default]
    Pixels,
    /// The patch projection's output, before class token and positions.
    PatchEmbeddings,
}

/// Plain text cut into blocks of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextBlocks {
    /// Tokens per block.
    #[schemars(range(min = 2))]
    pub length: u64,
}

/// Pairs of sentences with a class label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentencePairs {
    /// Longest pair in tokens; longer ones lose their end.
    #[schemars(range(min = 4))]
    pub max_length: u64,
    /// Column of the first sentence.
    #[serde(default = "SentencePairs::first")]
    pub first: String,
    /// Column of the second.
    #[serde(default = "SentencePairs::second")]
    pub second: String,
    /// Column of the label.
    #[serde(default = "Images::label")]
    pub label: String,
}

impl SentencePairs {
    fn first() -> String {
        "premise".into()
    }
    fn second() -> String {
        "hypothesis".into()
    }
}

/// A method: `{method: sam, rho: 0.05}`, or `{method: untrained}` for the model evaluated as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MethodEntry {
    /// The model as it is, without training.
    Untrained(Untrained),
    /// An optimizer with its hyper-parameters.
    Trained(Method),
}

/// The model as it is, without training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Untrained {
    /// Always `untrained`.
    pub method: UntrainedTag,
}

/// The word `untrained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UntrainedTag {
    /// No training.
    Untrained,
}

/// A table of the paper: methods x columns.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Short name, `table3`.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand, `Table 3`.
    pub place: String,
    /// What the reported numbers carry besides a mean.
    #[serde(default)]
    pub spread: Spread,
    /// Seeds behind each reported number.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub reported_seeds: Option<u64>,
    /// Seeds to run for this table, when not the suite's.
    #[serde(default)]
    pub seeds: Option<Vec<u64>>,
    /// Columns, in the printed order.
    #[schemars(length(min = 1))]
    pub columns: Vec<Column>,
    /// Rows, in the printed order.
    #[schemars(length(min = 1))]
    pub rows: Vec<Row>,
}

/// The kind of a printed ±.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// None is printed.
    #[default]
    None,
    /// Standard deviation over seeds.
    Sd,
    /// Half-width of the 95% confidence interval of the mean over seeds.
    Ci95,
    /// Standard deviation over the columns a derived column averages.
    SdOverColumns,
}

/// A column of a table: measured (`task`, `on`), or derived from other columns (`mean`, `sd`, `correlation`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Measured on a portion of a task's data.
    Measured(MeasuredColumn),
    /// The arithmetic mean of other columns.
    Mean(MeanColumn),
    /// The standard deviation over other columns.
    Sd(SdColumn),
    /// Pearson's correlation over seeds of one column with others, averaged over these.
    Correlation(CorrelationColumn),
}

/// Measured on a portion of a task's data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// A task of this file.
    pub task: String,
    /// The portion of its data, `test` or `ar/test`.
    pub on: String,
    /// A metric of this file; the task's when left out.
    #[serde(default)]
    pub metric: Option<String>,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
}

/// The arithmetic mean of other columns of the table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeanColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// Ids of the columns it averages.
    #[schemars(length(min = 1))]
    pub mean: Vec<String>,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
}

/// The standard deviation over other columns of the table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SdColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// Ids of the columns.
    #[schemars(length(min = 2))]
    pub sd: Vec<String>,
}

/// Pearson's correlation over seeds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationColumn {
    /// Short name, unique in the table.
    pub id: String,
    /// Header; the id when left out.
    #[serde(default)]
    pub title: Option<String>,
    /// The two sides.
    pub correlation: CorrelationOver,
    /// Overrides the table's.
    #[serde(default)]
    pub spread: Option<Spread>,
}

/// One column against others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrelationOver {
    /// The id of one column.
    pub of: String,
    /// Ids of the others; their correlations are averaged.
    #[schemars(length(min = 1))]
    pub with: Vec<String>,
}

/// A row of a table.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// A method of this file.
    pub method: String,
    /// Rows of one group stand together.
    #[serde(default)]
    pub group: Option<String>,
    /// What is printed, one entry a column, between blanks: `87.97±0.12 92.85±0.31`; `-` for an empty cell.
    #[serde(default)]
    pub reported: Option<String>,
}

/// A table of correlations, over methods, between one column of another table and each of the rest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedTable {
    /// Short name, `table9`.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the reported numbers stand.
    pub place: String,
    /// The table it is computed from.
    pub from: String,
    /// The column every other one is correlated with.
    pub correlation_with: String,
    /// Methods that do not take part.
    #[serde(default)]
    pub without: Vec<String>,
    /// Its rows.
    #[schemars(length(min = 1))]
    pub rows: Vec<DerivedRow>,
}

/// A correlation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedRow {
    /// First column of the row.
    pub title: String,
    /// The column, or the columns whose mean is meant.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// What is printed.
    #[serde(default)]
    pub reported: Option<String>,
    /// The significance level the paper marks it with.
    #[serde(default)]
    pub p_below: Option<f64>,
}

/// A figure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Short name, used for the file.
    pub id: String,
    /// Caption.
    pub title: String,
    /// Where the paper shows it; left out for a figure of our own.
    #[serde(default)]
    pub place: Option<String>,
    /// What it draws.
    pub draw: Drawing,
}

/// What a figure draws.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drawing {
    /// One point per method with its interval, ours beside the reported, one panel a column.
    Intervals(Intervals),
    /// One point per method in the plane of two columns, with regression lines.
    Scatter(Scatter),
    /// A quantity over training, one line per method, mean over seeds.
    Curves(Curves),
}

/// Points with error bars.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// A table of this file.
    pub table: String,
    /// Its columns; all when left out.
    #[serde(default)]
    pub columns: Vec<String>,
}

/// Points in a plane.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scatter {
    /// A table of this file.
    pub table: String,
    /// The column on the horizontal axis.
    pub x: String,
    /// The columns whose mean is on the vertical axis.
    #[schemars(length(min = 1))]
    pub y: Vec<String>,
    /// Methods that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Regression lines.
    #[serde(default)]
    pub lines: Vec<Line>,
}

/// A regression line through some methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Legend.
    pub title: String,
    /// The methods it is fitted to.
    #[schemars(length(min = 2))]
    pub methods: Vec<String>,
}

/// A quantity over training.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curves {
    /// A task of this file.
    pub task: String,
    /// The observation's name: `loss`, `distance`, `lr`, ...
    pub metric: String,
    /// The observation's portion; `training` when left out.
    #[serde(default = "Curves::training")]
    pub on: String,
}

impl Curves {
    fn training() -> String {
        "training".into()
    }
}

/// A sentence of the paper that numbers can decide.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Short name.
    pub id: String,
    /// The sentence, in our words.
    pub says: String,
    /// Where the paper says it.
    pub place: String,
    /// What must hold.
    pub holds: Statement,
}

/// What must hold for a claim.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// Methods are better than others.
    Order(Order),
    /// A method is the best or the worst.
    Extreme(Extreme),
    /// No significant difference.
    NotDifferent(NotDifferent),
    /// Two columns correlate over methods.
    Correlates(Correlates),
    /// The distance between two methods lies in a range.
    Gap(Gap),
    /// Values lie in a range.
    Bound(Bound),
    /// A method makes so many passes per update.
    Passes(PassesClaim),
    /// All of several statements.
    AllOf(Vec<Statement>),
    /// At least one of several statements.
    AnyOf(Vec<Statement>),
}

/// Methods are better than others, in every named column.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The better ones.
    #[schemars(length(min = 1))]
    pub better: Vec<String>,
    /// Whether each of them, or the best of them in each column, is meant.
    #[serde(default)]
    pub which: Which,
    /// The others.
    #[schemars(length(min = 1))]
    pub than: Vec<String>,
    /// The significance test; left out, the order of the means decides.
    #[serde(default)]
    pub test: Option<TestOver>,
}

/// Each of several methods, or the best of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Each of them.
    #[default]
    Each,
    /// The best of them in each column.
    Best,
}

/// A significance test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestOver {
    /// Which one.
    pub name: Test,
    /// Significance level, such as 0.01.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub level: f64,
    /// What the samples are.
    #[serde(default)]
    pub over: Samples,
}

/// A significance test by name; all two-sided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Welch's t-test; from printed mean, spread and seeds when there are no samples.
    Welch,
    /// Wilcoxon signed-rank test on pairs.
    Wilcoxon,
    /// Two-sample Kolmogorov-Smirnov test.
    KolmogorovSmirnov,
}

/// What a test's samples are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// One value per seed, a test per column.
    #[default]
    Seeds,
    /// One value per column, one test.
    Columns,
}

/// A method is the best or the worst, in every named column.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extreme {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The method.
    pub method: String,
    /// Best or worst.
    pub is: End,
    /// Among these methods; all rows of the table when left out.
    #[serde(default)]
    pub among: Vec<String>,
}

/// Best or worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// None is better.
    Best,
    /// None is worse.
    Worst,
}

/// No significant difference between two methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotDifferent {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// One method.
    pub method: String,
    /// The other.
    pub from: String,
    /// The test.
    pub test: TestOver,
}

/// Two columns correlate over methods.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correlates {
    /// A table of this file.
    pub table: String,
    /// One column.
    pub x: String,
    /// The columns each of which is correlated with it.
    #[schemars(length(min = 1))]
    pub y: Vec<String>,
    /// Methods that do not take part.
    #[serde(default)]
    pub without: Vec<String>,
    /// Every correlation is at least this.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Every correlation is at most this.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// `method` minus `from`, in every named column, lies in a range.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// One method.
    pub method: String,
    /// The other.
    pub from: String,
    /// Lower end.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Upper end.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// Values lie in a range.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// A table of this file.
    pub table: String,
    /// Its columns.
    #[schemars(length(min = 1))]
    pub columns: Vec<String>,
    /// The methods.
    #[schemars(length(min = 1))]
    pub methods: Vec<String>,
    /// Lower end.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// Upper end.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// A method makes so many passes per update.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassesClaim {
    /// The method.
    pub method: String,
    /// Forward passes.
    pub forward: u64,
    /// Backward passes.
    pub backward: u64,
}
