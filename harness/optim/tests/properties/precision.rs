//! Mixed precision: forward passes in a lower kind, parameters and distances in single.

use optim::{Method, Options, Pass};
use tch::{Device, Kind};
use torch_ext::Autocast;

use crate::net::{Batch, Net};

#[test]
fn every_method_trains_under_autocast() {
    for method in Method::all() {
        for outside in [false, true] {
            let net = Net::new(Kind::Float);
            let mut optimizer = net.optimizer(method.clone(), Options::default());
            let enter = || Autocast::enter(Device::Cpu, Kind::BFloat16).expect("autocast");
            let batch = Batch::number(1);
            let losses: Vec<f64> = (1..=12)
                .map(|_| {
                    // Around the whole step, the casts of perturbed weights must not be stale.
                    let _step = outside.then(enter);
                    let task = |pass: &Pass| {
                        let _forward = (!outside).then(enter);
                        let output = net.forward(&batch, pass);
                        assert_eq!(output.logits.kind(), Kind::BFloat16);
                        output
                    };
                    let step = optimizer.step(&task).expect("an update");
                    assert_ne!(
                        step.distance.as_ref().map(tch::Tensor::kind),
                        Some(Kind::BFloat16)
                    );
                    let numbers = step.read();
                    if method.name() == "sam" {
                        assert_ne!(numbers.loss, numbers.loss_perturbed);
                    }
                    numbers.loss
                })
                .collect();
            assert!(
                losses[11] < 0.7 * losses[0],
                "{}: {losses:?}",
                method.name()
            );
        }
    }
}

#[test]
fn every_method_runs_on_half_precision_parameters() {
    for method in Method::all() {
        let net = Net::new(Kind::BFloat16);
        let mut optimizer = net.optimizer(method.clone(), Options::default());
        let numbers = net.train(&mut optimizer, 1, 3);
        assert!(
            numbers.iter().all(|n| n.loss.is_finite()),
            "{}",
            method.name()
        );
        assert_eq!(net.weights["fc1.weight"].kind(), Kind::BFloat16);
    }
}
