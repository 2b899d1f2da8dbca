//! One case, through the same door as training.

use std::collections::BTreeMap;

use optim::{Draw, NoiseKind, NoiseSource, Numbers, Optimizer, Pass, Step};
use tch::{Kind, Tensor};

use crate::{
    manifest::{Case, Manifest},
    models::{Named, forward},
};

struct Stored(Named);

impl NoiseSource for Stored {
    fn draw(&mut self, draw: &Draw) -> Tensor {
        let name = match (draw.noise_kind, draw.draw) {
            (NoiseKind::Uniform, _) => "unoise",
            (NoiseKind::Normal, 0) => "noise",
            (NoiseKind::Normal, _) => "noise_b",
        };
        let noise = &self.0[&format!("batch.{}.{name}", draw.update)];
        draw.example
            .map_or(noise.shallow_clone(), |i| noise.narrow(0, i, 1))
    }
}

struct Setting {
    optimizer: Optimizer,
    weights: Named,
    tensors: Named,
    steps: usize,
    model: String,
}

fn prepare(manifest: &Manifest, case: &Case, kind: Kind) -> Setting {
    let model = &manifest.models[&case.model];
    let mut tensors = manifest.tensors(&model.file);
    for tensor in tensors.values_mut() {
        if tensor.is_floating_point() {
            *tensor = tensor.to_kind(kind);
        }
    }
    let mut weights = Named::new();
    for (name, tensor) in &tensors {
        if let Some(name) = name.strip_prefix("init.") {
            let leaf = tensor
                .copy()
                .set_requires_grad(!model.frozen.iter().any(|f| f == name));
            weights.insert(name.to_owned(), leaf);
        }
    }
    let (method, base, options) = manifest.settings(case);
    let parameters = weights
        .iter()
        .map(|(name, w)| (name.clone(), w.shallow_clone()))
        .collect();
    let mut optimizer = Optimizer::new(method, base, options, parameters)
        .unwrap_or_else(|e| panic!("{}: {e}", case.id));
    optimizer.set_noise_source(Stored(
        tensors
            .iter()
            .map(|(name, x)| (name.clone(), x.shallow_clone()))
            .collect(),
    ));
    Setting {
        optimizer,
        weights,
        tensors,
        steps: model.steps,
        model: case.model.clone(),
    }
}

impl Setting {
    fn step(&mut self, t: usize) -> Step {
        let prefix = format!("batch.{t}.");
        let batch: Named = self
            .tensors
            .iter()
            .filter_map(|(name, x)| {
                Some((name.strip_prefix(&prefix)?.to_owned(), x.shallow_clone()))
            })
            .collect();
        let (model, weights) = (&self.model, &self.weights);
        let task = |pass: &Pass| forward(model, weights, &batch, pass);
        self.optimizer.step(&task).expect("a step")
    }
}

/// Parameters after every update.
pub fn trajectory(manifest: &Manifest, case: &Case, kind: Kind) -> Vec<Named> {
    let mut setting = prepare(manifest, case, kind);
    let copy = |weights: &Named| {
        weights
            .iter()
            .map(|(n, w)| (n.clone(), w.detach().copy()))
            .collect()
    };
    let mut all = Vec::new();
    for t in 1..=setting.steps {
        setting.step(t);
        all.push(copy(&setting.weights));
    }
    all
}

/// Compares a case with its file; the error is the first quantity that differs.
pub fn case(manifest: &Manifest, case: &Case, kind: Kind) -> Result<(), String> {
    let golden = manifest.tensors(&case.file);
    let double = kind == Kind::Double;
    let tolerance = match double {
        true => Tolerance {
            abs: 1e-10,
            rel: 1e-9,
        },
        false => Tolerance {
            abs: (10.0 * case.float32_drift).max(2e-6),
            rel: 0.0,
        },
    };
    let mut setting = prepare(manifest, case, kind);
    for t in 1..=setting.steps {
        let step = setting.step(t);
        if double {
            if manifest.debug_steps.contains(&t) {
                debug_tensors(&golden, t, &step, tolerance)?;
            }
            traces(&golden, t, &step, tolerance)?;
            let counted = (step.passes.forward.into(), step.passes.backward.into());
            let expected = (case.passes_per_step.forward, case.passes_per_step.backward);
            if counted != expected {
                return Err(format!(
                    "step {t} made {counted:?} passes, not {expected:?}"
                ));
            }
        }
        for (name, w) in &setting.weights {
            let name = format!("step.{t}.param.{name}");
            let expected = golden
                .get(&name)
                .ok_or(format!("{name} is not in the file"))?;
            tolerance.compare(&name, &w.detach(), expected)?;
        }
    }
    Ok(())
}

fn debug_tensors(
    golden: &Named,
    t: usize,
    step: &Step,
    tolerance: Tolerance,
) -> Result<(), String> {
    let of = &step.tensors;
    let one = |name: &str, list: &[Tensor]| {
        list.first()
            .map(|x| (name.to_owned(), x.shallow_clone()))
            .into_iter()
            .collect()
    };
    let many = |prefix: &str, map: &BTreeMap<String, Tensor>| {
        map.iter()
            .map(|(name, x)| (format!("{prefix}.{name}"), x.shallow_clone()))
            .collect()
    };
    let groups: [Named; 6] = [
        one("logits", &of.logits),
        one("target_logits", &of.target_logits),
        many("grad", &of.grad),
        many("grad_noised", &of.grad_noised),
        many("eps", &of.eps),
        many("grad_perturbed", &of.grad_perturbed),
    ];
    let prefix = format!("step.{t}.");
    let ours: Named = groups
        .into_iter()
        .flatten()
        .map(|(name, x)| (format!("{prefix}{name}"), x))
        .collect();
    for group in [
        "logits",
        "target_logits",
        "grad.",
        "grad_noised.",
        "eps.",
        "grad_perturbed.",
    ] {
        let group = format!("{prefix}{group}");
        let chosen = |names: &Named| -> Vec<String> {
            names
                .keys()
                .filter(|name| name.starts_with(&group))
                .cloned()
                .collect()
        };
        if chosen(golden) != chosen(&ours) {
            return Err(format!(
                "we have {:?}, the file {:?}",
                chosen(&ours),
                chosen(golden)
            ));
        }
        for name in chosen(golden) {
            tolerance.compare(&name, &ours[&name], &golden[&name])?;
        }
    }
    Ok(())
}

fn traces(golden: &Named, t: usize, step: &Step, tolerance: Tolerance) -> Result<(), String> {
    let n: Numbers = step.read();
    let fields = [
        ("loss", n.loss),
        ("objective", n.objective),
        ("distance", n.distance),
        ("grad_norm", n.grad_norm.expect("recorded")),
        ("radius", n.radius),
        ("denominator", n.denominator),
        ("eps_norm", n.eps_norm.unwrap_or(0.0)),
        ("loss_perturbed", n.loss_perturbed),
        ("objective_perturbed", n.objective_perturbed),
        ("distance_perturbed", n.distance_perturbed),
        (
            "grad_norm_perturbed",
            n.grad_norm_perturbed.expect("recorded"),
        ),
        ("clip_coef", n.clip_coef),
        ("lr", step.lr),
    ];
    let known = golden.keys().filter_map(|name| name.strip_prefix("trace."));
    for name in known.clone() {
        if !fields.iter().any(|(field, _)| *field == name) {
            return Err(format!(
                "the file has trace.{name}, which this test does not know"
            ));
        }
    }
    for (field, value) in fields {
        let name = format!("trace.{field}");
        let Some(expected) = golden.get(&name) else {
            continue;
        };
        let place = format!("{name} at step {t}");
        tolerance.compare(&place, &Tensor::from(value), &expected.get(t as i64 - 1))?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Tolerance {
    abs: f64,
    rel: f64,
}

impl Tolerance {
    fn compare(self, name: &str, ours: &Tensor, golden: &Tensor) -> Result<(), String> {
        if ours.size() != golden.size() {
            return Err(format!(
                "{name} has shape {:?}, not {:?}",
                ours.size(),
                golden.size()
            ));
        }
        let (ours, golden) = (ours.to_kind(Kind::Double), golden.to_kind(Kind::Double));
        let gap = (&ours - &golden).abs();
        let allowed = (golden.abs() * self.rel).clamp_min(self.abs);
        // Not `gap > allowed`, which is false for a NaN.
        match gap.le_tensor(&allowed).all().int64_value(&[]) {
            1 => Ok(()),
            _ => Err(format!(
                "{name} differs by {:e}",
                gap.max().double_value(&[])
            )),
        }
    }
}
