//! Trains a small classifier with TRAM: `cargo run -p optim --example tram`.

use optim::{Adam, Base, Method, Optimizer, Output, Pass, TramX};
use tch::{Device, Kind, Tensor, nn, nn::Module};

fn main() -> Result<(), optim::Error> {
    let weights = nn::VarStore::new(Device::Cpu);
    let network = nn::seq()
        .add(nn::linear(
            &weights.root() / "fc1",
            16,
            64,
            Default::default(),
        ))
        .add_fn(|x| x.tanh())
        .add(nn::linear(
            &weights.root() / "fc2",
            64,
            4,
            Default::default(),
        ));
    let teacher = Tensor::randn([16, 4], (Kind::Float, Device::Cpu));

    let method = Method::TramX(TramX::default());
    let base = Base::Adam(Adam {
        lr: 3e-3,
        ..Default::default()
    });
    let parameters = weights.variables().into_iter().collect();
    let mut optimizer = Optimizer::new(method, base, Default::default(), parameters)?;

    for update in 1..=300 {
        let x = Tensor::randn([64, 16], (Kind::Float, Device::Cpu));
        let labels = x.matmul(&teacher).argmax(-1, false);
        let step = optimizer.step(&|pass: &Pass| {
            let logits = network.forward(&pass.noise.apply(&x));
            let loss = logits.cross_entropy_for_logits(&labels);
            Output { loss, logits }
        })?;
        if update % 50 == 0 {
            let now = step.read();
            println!(
                "update {update}: loss {:.3}, d {:.1e}",
                now.loss, now.distance
            );
        }
    }
    Ok(())
}
