//! What transformers makes of our files, and we of its.

use std::path::{Path, PathBuf};
use std::process::Command;

use optim::{Adam, Base, Method, Optimizer, Options, Output, Pass};
use tch::Tensor;
use training::models::{Head, Network};

use crate::files::{LOGITS, Tensors, folders, fresh, generator, near, network, pass, root};

/// An empty folder of the test's own.
pub fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The logits of a fine-tuned network on a batch, and the batch as transformers wants it.
fn check_file(model: &Network, batch: &Tensors) -> Vec<(&'static str, Tensor)> {
    let mut tensors = vec![("logits", pass(model, batch, false).logits.detach())];
    for name in ["input_ids", "attention_mask", "pixel_values"] {
        tensors.extend(batch.find(name).map(|tensor| (name, tensor)));
    }
    tensors
}

fn fine_tune(model: &Network, batch: &Tensors) {
    let base = Base::Adam(Adam {
        lr: 1e-3,
        ..Adam::default()
    });
    let method = Method::all().remove(0);
    let named = model.weights().named();
    let mut optimizer =
        Optimizer::new(method, base, Options::default(), named).expect("an optimizer");
    let task = |_: &Pass| {
        let passed = pass(model, batch, true);
        Output {
            loss: passed.loss,
            logits: passed.logits,
        }
    };
    for _ in 0..3 {
        optimizer.step(&task).expect("a step");
    }
}

/// Whether transformers could be asked; a failure of its is a panic.
fn transformers_agrees(folder: &Path, check: &Path, resaved: &Path) -> bool {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python");
    let mut path = installed.into_os_string();
    if let Some(own) = std::env::var_os("PYTHONPATH") {
        path.push(":");
        path.push(own);
    }
    let output = Command::new("python3")
        .arg(repository.join("tests/transformers_check.py"))
        .args([folder, check, resaved])
        .env("PYTHONPATH", path)
        .env("HF_HUB_OFFLINE", "1")
        .output();
    let (status, said) = match output {
        Ok(output) => (
            output.status.code(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        ),
        Err(error) => (Some(3), format!("python3: {error}")),
    };
    eprintln!("{said}");
    match status {
        Some(0) => true,
        Some(3) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: Python has no transformers");
            false
        }
        _ => panic!("{}: {said}", folder.display()),
    }
}

#[test]
fn exported_models_are_read_by_transformers_and_its_own_by_us() {
    let _generator = generator();
    for folder in folders(&root().join("training")) {
        let name = folder.file_name().expect("a name").to_string_lossy();
        let batch = Tensors::read(folder.join("batches.safetensors")).under("step0.");
        let model = network(&root().join("models").join(&*name));
        fine_tune(&model, &batch);

        let ours = empty(&format!("exported-{name}"));
        model.save(&ours).expect("an export");
        let check = check_file(&model, &batch);
        let logits = check[0].1.shallow_clone();
        let again = fresh(&ours, None);
        assert_eq!(
            again.load(&ours, Head::Stored).expect("weights"),
            Default::default()
        );
        assert_eq!(
            pass(&again, &batch, false).logits,
            logits,
            "{name}: read again"
        );

        let path = ours.join("check.safetensors");
        Tensor::write_safetensors(&check, &path).expect("a file");
        let theirs = empty(&format!("resaved-{name}"));
        if !transformers_agrees(&ours, &path, &theirs) {
            return;
        }
        assert!(theirs.join("sharded/model.safetensors.index.json").exists());
        for form in ["whole", "sharded"] {
            let folder = theirs.join(form);
            let model = fresh(&folder, None);
            let loaded = model.load(&folder, Head::Stored).expect("weights");
            assert_eq!(loaded, Default::default(), "{name} {form}");
            near(
                &format!("{name} {form}"),
                &pass(&model, &batch, false).logits,
                &logits,
                LOGITS,
            );
        }
    }
}
