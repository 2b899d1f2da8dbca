use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use harness::seed::SplitMix;
use harness::suite::SentencePairs;
use serde_json::Value;
use training::tasks::blocks::{Blocks, Ids, Tail, Tokens};
use training::tasks::cache::{Cache, Progress};
use training::tasks::count;
use training::tasks::error::DataError;
use training::tasks::pairs::Pairs;
use training::tasks::portion::{Portion, Table};
use training::tasks::tokenizer::{Special, Strategy, Tokenizer, Truncation};

use super::{Folder, data, known, models};

fn documents(portion: &Portion) -> Vec<String> {
    let mut found = Vec::new();
    let each = |document: &str, _| {
        found.push(document.to_string());
        ControlFlow::Continue(())
    };
    portion.documents("text", each).unwrap();
    found
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::open(&models().join(name)).unwrap()
}

fn all(ids: Ids) -> Vec<i64> {
    let mut out = Vec::new();
    ids.append_to(&mut out);
    out
}

fn long(ids: Vec<u32>) -> Vec<i64> {
    ids.into_iter().map(i64::from).collect()
}

#[test]
fn documents_are_those_that_are_known_and_their_joined_tokens_fill_the_blocks() {
    let tokenizer = tokenizer("gpt2-tiny");
    let mut checked = 0;
    for known in known() {
        let Some(blank) = known.facts.get("blank_rows").and_then(Value::as_u64) else {
            continue;
        };
        let documents = documents(&known.portion);
        assert_eq!(
            documents.first().map(String::as_str),
            known.facts["first"].as_str()
        );
        assert_eq!(
            documents.last().map(String::as_str),
            known.facts["last"].as_str()
        );
        let rows = count::rows(&known.portion).unwrap();
        assert_eq!(rows, documents.len() as u64, "{}", known.name);
        let empty = documents.iter().filter(|document| document.is_empty());
        assert_eq!(empty.count() as u64, blank, "{}", known.name);

        let whole = tokenizer
            .ids(&documents.join("\n"), Special::Omit, None)
            .unwrap();
        let tokens = || {
            let cache = Cache::forgetful();
            Tokens::prepare(&cache, &known.portion, "text", &tokenizer, &mut |_| {}).unwrap()
        };
        let whole = long(whole);
        assert_eq!(all(tokens().ids()), whole, "{}", known.name);
        let training = Blocks::new(vec![tokens()], 64, Tail::Drop);
        assert_eq!(training.len(), whole.len() / 64);
        assert_eq!(all(training.block(1)), whole[64..128]);
        let evaluation = Blocks::new(vec![tokens()], 64, Tail::Keep);
        let left = if whole.len() % 64 >= 2 {
            whole.len() % 64
        } else {
            0
        };
        assert_eq!(evaluation.tokens(), whole.len() / 64 * 64 + left);
        checked += 1;
    }
    assert!(checked > 0, "no portion of text is known");
}

#[test]
fn the_last_block_needs_two_tokens_and_portions_are_cut_apart() {
    let folder = Folder::new("blocks-tail");
    let tokenizer = tokenizer("gpt2-tiny");
    // Every character is a token: a lone `q` and `z` merge with nothing.
    for (name, text) in [("a", "qzqzq"), ("b", "zqzqzq")] {
        fs::write(folder.0.join(format!("{name}.txt")), text).unwrap();
    }
    let tokens = |name: &str| {
        let portion = Portion::find(&folder.0, name).unwrap();
        Tokens::prepare(
            &Cache::forgetful(),
            &portion,
            "text",
            &tokenizer,
            &mut |_| {},
        )
        .unwrap()
    };
    assert_eq!((tokens("a").ids().len(), tokens("b").ids().len()), (5, 6));
    let blocks = |tail| Blocks::new(vec![tokens("a"), tokens("b")], 4, tail);
    assert_eq!(blocks(Tail::Drop).len(), 2);
    assert_eq!(
        blocks(Tail::Keep).len(),
        3,
        "one token is no block, two are"
    );
    assert_eq!(
        all(blocks(Tail::Keep).block(2)),
        all(tokens("b").ids().part(4, 6))
    );
}

/// Lines made of what could confuse a cut: white space of all kinds, runs of newlines, contractions, digits, letters
/// of many scripts, the text of a special token.
fn nasty(seed: u64, bytes: usize) -> String {
    const PARTS: [&str; 34] = [
        "\n",
        "\n",
        "\n\n\n",
        " ",
        "  ",
        "\t",
        "\r\n",
        "\r",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{a0}",
        "\u{2003}",
        "\u{2028}",
        "\u{3000}",
        "\u{feff}",
        "\u{200b}",
        "\u{1c}",
        "the",
        " the",
        "a",
        "'s",
        "'",
        "’ll",
        "don't",
        "42",
        "½",
        "!?",
        "é",
        "e\u{301}",
        "船",
        "ब\u{93f}",
        "👩\u{200d}🔧",
        "<|endoftext|>",
    ];
    let mut random = SplitMix::new(seed);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(PARTS[random.below(PARTS.len() as u64) as usize]);
    }
    text
}

fn check_whole(tokenizer: &Tokenizer, text: &str) {
    let folder = Folder::new("blocks-nasty");
    fs::write(folder.0.join("train.txt"), text).unwrap();
    let portion = Portion::find(&folder.0, "train").unwrap();
    let joined = documents(&portion).join("\n");
    let whole = long(tokenizer.ids(&joined, Special::Omit, None).unwrap());
    let tokens = Tokens::prepare(
        &Cache::forgetful(),
        &portion,
        "text",
        tokenizer,
        &mut |_| {},
    );
    assert!(
        all(tokens.unwrap().ids()) == whole,
        "{:?}",
        &text[..text.len().min(200)]
    );
}

#[test]
fn tokens_of_pieces_are_those_of_the_joined_whole() {
    let tokenizer = tokenizer("gpt2-tiny");
    for text in [
        "",
        "\n",
        "\n\n",
        "a",
        "\na",
        "a\n",
        "a\n\n\nb\n",
        " a \n b",
        "x\n'\ns",
    ] {
        check_whole(&tokenizer, text);
    }
    for seed in 0..40 {
        check_whole(&tokenizer, &nasty(seed, 300));
    }
    // Enough for a dozen pieces on every thread, with the special token's text and without.
    check_whole(&tokenizer, &nasty(99, 1_000_000));
    check_whole(
        &tokenizer,
        &nasty(98, 1_000_000).replace("<|endoftext|>", "<|endoftext"),
    );
}

#[test]
fn where_cuts_are_not_shown_to_be_safe_each_document_is_tokenized_with_the_newlines_before_it() {
    let tokenizer = tokenizer("xlmr-tiny");
    assert!(!tokenizer.splits_at_newlines());
    let folder = Folder::new("blocks-by-document");
    fs::write(folder.0.join("train.txt"), "The boat\n\nA book \n").unwrap();
    let portion = Portion::find(&folder.0, "train").unwrap();
    let tokens = Tokens::prepare(
        &Cache::forgetful(),
        &portion,
        "text",
        &tokenizer,
        &mut |_| {},
    );
    let parts =
        ["The boat", "\n\nA book"].map(|text| tokenizer.ids(text, Special::Omit, None).unwrap());
    assert_eq!(all(tokens.unwrap().ids()), long(parts.concat()));
}

#[test]
fn a_second_preparation_reads_the_cache_and_a_change_of_the_text_does_not() {
    let folder = Folder::new("blocks-cache");
    let cache = Cache::at(folder.0.join("cache"));
    let tokenizer = tokenizer("gpt2-tiny");
    let mut looks = Vec::new();
    for text in ["one", "one", "two words"] {
        fs::write(folder.0.join("train.txt"), text).unwrap();
        let portion = Portion::find(&folder.0, "train").unwrap();
        let mut told = 0;
        let mut tell = |_: Progress| told += 1;
        let tokens = Tokens::prepare(&cache, &portion, "text", &tokenizer, &mut tell).unwrap();
        let expected = tokenizer.ids(text, Special::Omit, None).unwrap();
        assert_eq!(all(tokens.ids()), long(expected));
        looks.push(told > 0);
    }
    assert_eq!(
        looks,
        [true, false, true],
        "what told progress was prepared"
    );
}

fn input(max_length: u64) -> SentencePairs {
    serde_json::from_value(serde_json::json!({ "max_length": max_length })).unwrap()
}

/// First and second sentence of every row.
fn sentences(portion: &Portion) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let each = |table: Table| {
        let texts = |column| {
            table
                .texts(column)
                .unwrap()
                .map(|text| text.unwrap().to_string())
        };
        found.extend(texts("premise").zip(texts("hypothesis")));
        Ok(ControlFlow::Continue(()))
    };
    portion.tables(&["premise", "hypothesis"], each).unwrap();
    found
}

#[test]
fn pairs_have_the_sentences_and_labels_that_are_known_and_the_ids_of_the_tokenizer() {
    let tokenizer = tokenizer("xlmr-tiny");
    let mut checked = 0;
    for known in known()
        .iter()
        .filter(|known| known.facts.contains_key("first"))
    {
        let Some(labels) = known.integers("label") else {
            continue;
        };
        let sentences = sentences(&known.portion);
        for (place, row) in [
            (&known.facts["first"], 0),
            (&known.facts["last"], labels.len() - 1),
        ] {
            assert_eq!(
                place["premise"].as_str(),
                Some(&*sentences[row].0),
                "{}",
                known.name
            );
            assert_eq!(
                place["hypothesis"].as_str(),
                Some(&*sentences[row].1),
                "{}",
                known.name
            );
            assert_eq!(place["label"].as_i64(), Some(labels[row]), "{}", known.name);
        }
        let (cache, portions) = (Cache::forgetful(), [known.portion.clone()]);
        let pairs =
            Pairs::prepare(&cache, &portions, &input(40), &tokenizer, 3, &mut |_| {}).unwrap();
        assert_eq!(pairs.len(), labels.len());
        let truncation = Some(Truncation {
            max_length: 40,
            strategy: Strategy::LongestFirst,
        });
        for (place, (first, second)) in sentences.iter().enumerate() {
            let ids = tokenizer.pair(first, second, truncation).unwrap();
            assert_eq!(pairs.length(place), ids.len());
            assert_eq!(all(pairs.ids(place)), long(ids));
            assert_eq!(pairs.label(place), labels[place]);
        }
        checked += 1;
    }
    assert!(checked > 0, "no pairs are known");
}

#[test]
fn pairs_of_two_portions_stand_behind_one_another_and_batches_are_filled_up() {
    let tokenizer = tokenizer("xlmr-tiny");
    let find = |name: &str| Portion::find(&data().join("xnli"), name).unwrap();
    let prepare = |portions: &[Portion]| {
        Pairs::prepare(
            &Cache::forgetful(),
            portions,
            &input(200),
            &tokenizer,
            3,
            &mut |_| {},
        )
        .unwrap()
    };
    let [en, de] = ["en/test", "de/test"].map(|name| prepare(&[find(name)]));
    let both = prepare(&[find("en/test"), find("de/test")]);
    assert_eq!(both.len(), en.len() + de.len());
    assert_eq!(all(both.ids(en.len() + 1)), all(de.ids(1)));

    let by_length = |&place: &i64| both.length(place as usize);
    let shortest = (0..both.len() as i64).min_by_key(by_length).unwrap();
    let longest = (0..both.len() as i64).max_by_key(by_length).unwrap();
    let places = [shortest, longest];
    let batch = both.batch(&places, 1);
    let (short, long) = (
        both.length(places[0] as usize),
        both.length(places[1] as usize),
    );
    assert!(short < long && batch.width == long);
    assert_eq!(batch.ids[..short], all(both.ids(places[0] as usize)));
    assert!(batch.ids[short..long].iter().all(|&id| id == 1));
    assert_eq!(batch.ids[long..], all(both.ids(places[1] as usize)));
    assert_eq!(batch.mask[..long].iter().sum::<i64>(), short as i64);
    assert_eq!(batch.labels, places.map(|place| both.label(place as usize)));
}

fn refused(portion: &str, input: &SentencePairs, classes: i64) -> DataError {
    let portions = [Portion::find(&data().join("xnli"), portion).unwrap()];
    let tokenizer = tokenizer("xlmr-tiny");
    Pairs::prepare(
        &Cache::forgetful(),
        &portions,
        input,
        &tokenizer,
        classes,
        &mut |_| {},
    )
    .unwrap_err()
}

#[test]
fn a_text_column_gives_documents_as_lines_do() {
    let tokenizer = tokenizer("gpt2-tiny");
    let portion = Portion::find(&data().join("xnli"), "all_languages/train").unwrap();
    let error = Tokens::prepare(
        &Cache::forgetful(),
        &portion,
        "premise",
        &tokenizer,
        &mut |_| {},
    );
    assert!(matches!(error, Err(DataError::Column { .. })));

    let portion = Portion::find(&data().join("xnli"), "ru/train").unwrap();
    let premises: Vec<String> = sentences(&portion).into_iter().map(|pair| pair.0).collect();
    let whole = tokenizer.ids(&premises.join("\n"), Special::Omit, None);
    let tokens = Tokens::prepare(
        &Cache::forgetful(),
        &portion,
        "premise",
        &tokenizer,
        &mut |_| {},
    );
    assert_eq!(all(tokens.unwrap().ids()), long(whole.unwrap()));
    assert_eq!(count::rows(&portion).unwrap(), premises.len() as u64);
}

#[test]
fn what_is_wrong_with_pairs_is_told_with_its_place() {
    let error = refused("en/test", &input(32), 2).to_string();
    let file = Path::new("xnli/en/test-00000-of-00001.parquet");
    assert!(error.contains(&*file.to_string_lossy()), "{error}");
    // Row 1 is the first of class 2.
    assert!(
        error.ends_with("row 1 has the label 2 in column `label`, but the classes are 0 to 1"),
        "{error}"
    );

    let error = refused("all_languages/test", &input(32), 3).to_string();
    assert!(
        error.contains("column `premise` holds") && error.ends_with("not text"),
        "{error}"
    );

    let named = SentencePairs {
        first: "question".into(),
        ..input(32)
    };
    let error = refused("en/test", &named, 3);
    let source = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(source.contains("question"), "{source}");

    assert!(matches!(
        refused("en/test", &input(3), 3),
        DataError::TooShort {
            max_length: 3,
            added: 4
        }
    ));
    let missing = Portion::find(&data().join("xnli"), "en/tset").unwrap_err();
    let source = std::error::Error::source(&missing)
        .expect("a cause")
        .to_string();
    assert!(source.contains("`en/tset`"), "{source}");
}
