//! Save, restore, continue.

use optim::{Adam, Base, Keep, Method, Optimizer, Options};
use tch::{Kind, Tensor};

use crate::net::{Net, same_bits};

fn optimizer(net: &Net, method: &Method, options: &Options) -> Optimizer {
    let base = Base::Adamw(Adam {
        lr: 0.01,
        weight_decay: 0.1,
        ..Default::default()
    });
    Optimizer::new(method.clone(), base, options.clone(), net.parameters()).expect("an optimizer")
}

fn continues_bit_for_bit(method: &Method, options: &Options) {
    let mut net = Net::new(Kind::Float);
    net.dropout = 0.25;
    tch::manual_seed(5);
    let mut whole = optimizer(&net, method, options);
    net.train(&mut whole, 1, 3);
    let file = tempfile(method.name());
    let state: Vec<(String, Tensor)> = whole.state().expect("a state").into_iter().collect();
    Tensor::write_safetensors(&state, &file).expect("a file");
    let numbers = net.train(&mut whole, 4, 6);
    let expected = net.values();

    let mut net = Net::new(Kind::Float);
    net.dropout = 0.25;
    tch::manual_seed(99);
    let mut restored = optimizer(
        &net,
        method,
        &Options {
            seed: 123,
            ..options.clone()
        },
    );
    let saved: std::collections::BTreeMap<String, Tensor> = Tensor::read_safetensors(&file)
        .expect("a file")
        .into_iter()
        .collect();
    restored
        .load_state(|name| saved.get(name).map(Tensor::shallow_clone))
        .expect("a fitting state");
    std::fs::remove_file(&file).expect("ours");
    assert_eq!(restored.updates(), 3);
    assert_eq!(net.train(&mut restored, 4, 6), numbers, "{}", method.name());
    assert!(same_bits(&net.values(), &expected), "{}", method.name());
}

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let thread = std::thread::current().id();
    folder.join(format!(
        "{name}-{}-{thread:?}.safetensors",
        std::process::id()
    ))
}

#[test]
fn every_method_continues_bit_for_bit_from_a_file() {
    // One test, because dropout draws from the process's global generator.
    for method in Method::all() {
        continues_bit_for_bit(&method, &Options::default());
    }
    let kept = Options {
        keep: Keep {
            kind: Some(Kind::BFloat16),
            on_host: true,
        },
        seed: u64::MAX,
        ..Default::default()
    };
    for method in Method::all() {
        continues_bit_for_bit(&method, &kept);
    }
}

#[test]
fn a_state_of_another_shape_kind_or_method_is_refused() {
    let net = Net::new(Kind::Float);
    let plain = optimizer(&net, &Method::all()[0], &Options::default());
    let state = plain.state().expect("a state");
    let get = |name: &str| state.get(name).map(Tensor::shallow_clone);
    let mesa = Method::all()
        .into_iter()
        .find(|m| m.name() == "mesa")
        .expect("listed");
    let error = optimizer(&net, &mesa, &Options::default())
        .load_state(get)
        .expect_err("no average");
    assert_eq!(error.to_string(), "saved state: lacks `stored.fc1.bias`");

    let double = Net::new(Kind::Double);
    let mut other = optimizer(&double, &Method::all()[0], &Options::default());
    let error = other.load_state(get).expect_err("another kind");
    assert_eq!(
        error.to_string(),
        "saved state: `theta.fc1.bias` is Float, not Double"
    );
}

#[test]
fn theta_0_may_be_kept_smaller_or_elsewhere() {
    let distance = |keep| {
        let net = Net::new(Kind::Float);
        let tram = Method::all()
            .into_iter()
            .find(|m| m.name() == "tram_theta_0")
            .expect("listed");
        let mut optimizer = optimizer(
            &net,
            &tram,
            &Options {
                keep,
                ..Default::default()
            },
        );
        net.train(&mut optimizer, 1, 3)[2].distance
    };
    let exact = distance(Keep::default());
    assert_eq!(
        distance(Keep {
            kind: None,
            on_host: true
        }),
        exact
    );
    let rounded = distance(Keep {
        kind: Some(Kind::BFloat16),
        on_host: false,
    });
    assert!(
        rounded != exact && (rounded - exact).abs() < 0.05 * exact,
        "{rounded} for {exact}"
    );
}
