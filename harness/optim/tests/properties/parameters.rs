//! Parameters that are frozen, not reached, tied or replaced.

use optim::{Adam, Base, Method, Optimizer, Options, Output, Pass};
use tch::{Kind, Tensor};

use crate::net::{Batch, Net, largest_gap, same_bits};

fn adamw(net: &Net, method: &Method, parameters: Vec<(String, Tensor)>) -> Optimizer {
    let base = Base::Adamw(Adam {
        lr: 0.01,
        weight_decay: 0.1,
        ..Default::default()
    });
    let _ = net;
    Optimizer::new(method.clone(), base, Options::default(), parameters).expect("an optimizer")
}

#[test]
fn a_frozen_or_unreached_parameter_changes_nothing_and_does_not_change() {
    for method in Method::all() {
        let plain = Net::new(Kind::Double);
        let mut optimizer = adamw(&plain, &method, plain.parameters());
        plain.train(&mut optimizer, 1, 4);

        let net = Net::new(Kind::Double);
        let unreached = Tensor::from_slice(&[1.0, -2.0, 3.0]).set_requires_grad(true);
        let frozen = Tensor::from_slice(&[4.0, 5.0]);
        let mut parameters = net.parameters();
        parameters.push(("fc0.weight".to_owned(), unreached.shallow_clone()));
        parameters.push(("gate.weight".to_owned(), frozen.shallow_clone()));
        let mut optimizer = adamw(&net, &method, parameters);
        net.train(&mut optimizer, 1, 4);
        assert!(
            largest_gap(&net.values(), &plain.values()) < 1e-13,
            "{}",
            method.name()
        );
        assert_eq!(
            Vec::<f64>::try_from(&unreached).expect("a vector"),
            [1.0, -2.0, 3.0]
        );
        assert_eq!(Vec::<f64>::try_from(&frozen).expect("a vector"), [4.0, 5.0]);
    }
}

#[test]
fn the_published_direction_leaves_unreached_parameters_alone() {
    for name in ["sam", "asam", "tram_x"] {
        let method: Method = serde_json::from_value(
            serde_json::json!({ "method": name, "perturbation": "published" }),
        )
        .expect("a method");
        let run = |extra: bool| {
            let net = Net::new(Kind::Double);
            let mut parameters = net.parameters();
            if extra {
                let unreached = Tensor::from_slice(&[1.0, -2.0]).set_requires_grad(true);
                parameters.push(("fc0.weight".to_owned(), unreached));
            }
            let options = Options {
                record: optim::Record::Norms,
                ..Default::default()
            };
            let base = Base::Adam(Adam::default());
            let mut optimizer =
                Optimizer::new(method.clone(), base, options, parameters).expect("an optimizer");
            let eps = net.train(&mut optimizer, 1, 1)[0]
                .eps_norm
                .expect("recorded");
            (eps, net.values())
        };
        let ((eps, values), (eps_extra, values_extra)) = (run(false), run(true));
        assert!(
            (eps - eps_extra).abs() < 1e-13,
            "{name}: {eps} and {eps_extra}"
        );
        assert!(largest_gap(&values, &values_extra) < 1e-13);
    }
}

#[test]
fn a_parameter_that_is_reached_late_starts_its_moments_then() {
    // From update 3 on the scale takes part; its Adam is then at its own first update.
    let scale = Tensor::from(1.0).set_requires_grad(true);
    let net = Net::new(Kind::Double);
    let mut parameters = net.parameters();
    parameters.push(("scale".to_owned(), scale.shallow_clone()));
    let base = Base::Adam(Adam {
        lr: 0.01,
        eps: 0.0,
        ..Default::default()
    });
    let method = Method::all().remove(0);
    let mut optimizer =
        Optimizer::new(method, base, Options::default(), parameters).expect("an optimizer");
    for t in 1..=3 {
        let batch = Batch::number(t);
        let task = |pass: &Pass| {
            let Output { loss, logits } = net.forward(&batch, pass);
            Output {
                loss: if t < 3 { loss } else { loss * &scale },
                logits,
            }
        };
        optimizer.step(&task).expect("an update");
    }
    // The first update of Adam moves by exactly lr.
    assert!((scale.double_value(&[]) - 0.99).abs() < 1e-12);
}

#[test]
fn a_tied_tensor_counts_once_under_its_first_name() {
    for method in Method::all() {
        let run = |tied: bool| {
            let net = Net::new(Kind::Float);
            let mut parameters = net.parameters();
            if tied {
                parameters.push((
                    "head.weight".to_owned(),
                    net.weights["emb.weight"].shallow_clone(),
                ));
            }
            let mut optimizer = adamw(&net, &method, parameters);
            net.train(&mut optimizer, 1, 3);
            net.values()
        };
        assert!(same_bits(&run(false), &run(true)), "{}", method.name());
    }
}

#[test]
fn values_that_are_put_in_a_parameters_place_are_adopted() {
    let expected = {
        let net = Net::new(Kind::Double);
        let _ = tch::no_grad(|| net.weights["fc1.weight"].shallow_clone().fill_(0.25));
        let mut optimizer = adamw(&net, &Method::all()[1], net.parameters());
        net.train(&mut optimizer, 1, 2);
        net.values()
    };
    let mut net = Net::new(Kind::Double);
    let mut optimizer = adamw(&net, &Method::all()[1], net.parameters());
    let weight = net.weights.get_mut("fc1.weight").expect("listed");
    weight.set_data(&(weight.zeros_like().detach() + 0.25));
    net.train(&mut optimizer, 1, 2);
    assert!(same_bits(&net.values(), &expected));
}

#[test]
fn what_cannot_be_optimized_is_an_error_with_its_name() {
    let make = |parameters: Vec<(&str, Tensor)>| {
        let parameters = parameters
            .into_iter()
            .map(|(n, t)| (n.to_owned(), t))
            .collect();
        let base = Base::Adam(Adam::default());
        let method = Method::all().remove(0);
        Optimizer::new(method, base, Options::default(), parameters)
            .expect_err("refused")
            .to_string()
    };
    let leaf = |kind| Tensor::ones([2], (kind, tch::Device::Cpu)).set_requires_grad(true);
    let computed = leaf(Kind::Float) * 2.0;
    assert_eq!(
        make(vec![("a", computed)]),
        "parameter `a` is not a leaf of the graph"
    );
    let twice = vec![("a", leaf(Kind::Float)), ("a", leaf(Kind::Float))];
    assert_eq!(make(twice), "parameter `a` is named twice");
    let mixed = vec![("a", leaf(Kind::Float)), ("b", leaf(Kind::Double))];
    assert!(make(mixed).starts_with("parameter `b` is (Double, Cpu)"));
    let frozen = vec![("a", Tensor::from(1.0))];
    assert_eq!(make(frozen), "no parameter requires a gradient");
}
