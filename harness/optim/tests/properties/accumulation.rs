//! A batch cut into micro-batches gives the update of the whole batch.

use optim::{Draw, Method, NoiseKind, NoiseSource, Options, Pass, Record};
use tch::{Kind, Tensor};

use crate::net::{Batch, Net, in_parts, largest_gap};

const SIZES: [i64; 3] = [4, 1, 3];

/// Rows of one table, wherever the batch is cut.
struct Rows(&'static [i64]);

impl NoiseSource for Rows {
    fn draw(&mut self, draw: &Draw) -> Tensor {
        let n = 8 * draw.shape[1] * draw.shape[2];
        let phase = (draw.update * 7 + draw.draw as u64 * 3) as f64;
        let scale = if draw.noise_kind == NoiseKind::Normal {
            1.5
        } else {
            1.0
        };
        let all = ((Tensor::arange(n, (Kind::Double, draw.device)) * 2.3 + phase).sin() * scale)
            .view([8, draw.shape[1], draw.shape[2]]);
        let start: i64 = self.0[..draw.micro_batch].iter().sum::<i64>() + draw.example.unwrap_or(0);
        all.narrow(0, start, draw.shape[0])
    }
}

pub fn methods() -> Vec<Method> {
    let variants = serde_json::json!([
        { "method": "tram_x", "reduction": "published", "distance_scale": 50.0 },
        { "method": "tram_x", "reduction": "per_element" },
        { "method": "tram_x", "reduction": "per_example", "kl_direction": "symmetric" },
        { "method": "tram_x", "distance": "l2" },
        { "method": "tram_x", "distance": "l2", "reduction": "published" },
        { "method": "tram_x", "second_pass_input": "noised", "restore": "graded_only" },
        { "method": "tram_x", "noise_draws": 3 },
        { "method": "tram_x", "distance": "mmd" },
        { "method": "tram_theta_prev", "distance": "mmd", "distance_input": "probs", "reduction": "published" },
        { "method": "asam_r3f", "combo_noise": "resample", "target_grad": true },
        { "method": "fsam", "fisher_estimator": "per_example", "eta": 10.0 },
        { "method": "tram_fisher", "fisher_estimator": "per_example", "eta": 10.0 },
        { "method": "tram_fisher", "fisher_passes": "two_pass", "eta": 10.0 },
    ]);
    let variants: Vec<Method> = serde_json::from_value(variants).expect("methods");
    Method::all().into_iter().chain(variants).collect()
}

#[test]
fn micro_batches_give_the_whole_batchs_update() {
    for method in methods() {
        let options = Options {
            record: Record::Norms,
            clip_norm: Some(0.5),
            ..Default::default()
        };
        let whole = Net::new(Kind::Double);
        let mut optimizer = whole.optimizer(method.clone(), options.clone());
        optimizer.set_noise_source(Rows(&[8]));
        let expected = whole.train(&mut optimizer, 1, 4);

        let net = Net::new(Kind::Double);
        let mut optimizer = net.optimizer(method.clone(), options);
        optimizer.set_noise_source(Rows(&SIZES));
        for t in 1..=4 {
            let batch = Batch::number(t);
            let step = optimizer
                .step(&in_parts(&net, &batch, &SIZES))
                .expect("an update");
            let (ours, theirs) = (step.read(), expected[t as usize - 1]);
            for (a, b) in [
                (ours.loss, theirs.loss),
                (ours.objective, theirs.objective),
                (ours.distance, theirs.distance),
                (ours.radius, theirs.radius),
                (ours.denominator, theirs.denominator),
                (ours.loss_perturbed, theirs.loss_perturbed),
                (ours.distance_perturbed, theirs.distance_perturbed),
                (ours.clip_coef, theirs.clip_coef),
            ] {
                assert!(
                    (a - b).abs() < 1e-12,
                    "{method:?}, update {t}: {ours:?}, not {theirs:?}"
                );
            }
        }
        let gap = largest_gap(&net.values(), &whole.values());
        assert!(gap < 1e-12, "{method:?}: {gap:e}");
    }
}

#[test]
fn a_penalty_of_mmd_says_why_it_cannot_be_cut() {
    let mmd = serde_json::json!({ "method": "r3f", "distance": "mmd" });
    let net = Net::new(Kind::Float);
    let method = serde_json::from_value(mmd).expect("a method");
    let mut optimizer = net.optimizer(method, Options::default());
    let (before, batch) = (net.values(), Batch::number(1));
    let error = optimizer
        .step(&in_parts(&net, &batch, &SIZES))
        .expect_err("pairs across parts");
    assert_eq!(
        error.to_string(),
        "`distance: mmd` compares every pair of examples, so the batch of a penalty cannot be cut into micro-batches or shared"
    );
    assert_eq!(largest_gap(&net.values(), &before), 0.0);
    assert!(
        optimizer
            .step(&|pass: &Pass| net.forward(&batch, pass))
            .is_ok()
    );
}
