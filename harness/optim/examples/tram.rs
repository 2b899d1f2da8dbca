//! Trains a small classifier with TRAM: `cargo run -p optim --example tram`.

use optim::{Base, Method, Optimizer, Output, Pass, Sgd, TramX};
use tch::{Device, Kind, Tensor, nn, nn::Module};

fn main() -> Result<(), optim::Error> {
    let weights = nn::VarStore::new(Device::Cpu);
    let root = weights.root();
    let fc1 = nn::linear(&root / "fc1", 16, 64, Default::default());
    let fc2 = nn::linear(&root / "fc2", 64, 4, Default::default());
    let teacher = Tensor::randn([16, 4], (Kind::Float, Device::Cpu));

    let method = Method::TramX(TramX::default());
    let base = Base::Sgd(Sgd {
        lr: 0.1,
        ..Sgd::default()
    });
    let parameters = weights.variables().into_iter().collect();
    let mut optimizer = Optimizer::new(method, base, Default::default(), parameters)?;

    for update in 1..=300 {
        let x = Tensor::randn([64, 16], (Kind::Float, Device::Cpu));
        let labels = x.matmul(&teacher).argmax(-1, false);
        let step = optimizer.step(&|pass: &Pass| {
            let logits = fc2.forward(&fc1.forward(&pass.noise.apply(&x)).tanh());
            let loss = logits.cross_entropy_for_logits(&labels);
            Output { loss, logits }
        })?;
        if update % 50 == 0 {
            let now = step.read();
            println!("{update}: loss {}, d {}", now.loss, now.distance);
        }
    }
    Ok(())
}
