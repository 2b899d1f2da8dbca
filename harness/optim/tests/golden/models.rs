//! The four networks of the golden vectors.

use std::collections::BTreeMap;

use optim::{Noise, Output, Pass};
use tch::{Kind, Reduction, Tensor};

pub type Named = BTreeMap<String, Tensor>;

pub fn forward(model: &str, w: &Named, batch: &Named, pass: &Pass) -> Output {
    let one = |x: &Tensor| {
        pass.example
            .map_or(x.shallow_clone(), |i| x.narrow(0, i, 1))
    };
    match model {
        "mlp" | "mlp_frozen" => {
            let x = pass.noise.apply(&one(&batch["x"]));
            let mut h = linear(&x, w, "fc1").tanh();
            if let Some(gate) = w.get("gate.weight") {
                h = h.g_mul(gate);
            }
            classified(linear(&h, w, "fc2"), &one(&batch["y"]))
        }
        "embed" => {
            let e = embedded(w, &one(&batch["ids"]), &pass.noise);
            let h = (e + &w["pos.weight"])
                .tanh()
                .mean_dim(1, false, None::<Kind>);
            let size = [*h.size().last().expect("two dimensions")];
            let h = h.layer_norm(
                size,
                Some(&w["ln.weight"]),
                Some(&w["ln.bias"]),
                1e-5,
                false,
            );
            let logits = linear(&linear(&h, w, "fc1").tanh(), w, "fc2");
            classified(logits, &one(&batch["y"]))
        }
        "lm" => {
            let ids = one(&batch["ids"]);
            let e = embedded(w, &ids, &pass.noise);
            let length = ids.size()[1];
            let counts = Tensor::arange(length, (e.kind(), e.device())).view([1, length, 1]) + 1.0;
            let h = linear(&(e.cumsum(1, None::<Kind>) / counts), w, "mix").tanh() + e;
            let logits = h.matmul(&w["emb.weight"].tr());
            let (predicted, next) = (
                logits.narrow(1, 0, length - 1),
                ids.narrow(1, 1, length - 1),
            );
            let classes = logits.size()[2];
            let loss = cross_entropy(&predicted.reshape([-1, classes]), &next.reshape([-1]));
            Output { loss, logits }
        }
        other => panic!("no model `{other}`"),
    }
}

fn embedded(w: &Named, ids: &Tensor, noise: &Noise) -> Tensor {
    noise.apply(&Tensor::embedding(&w["emb.weight"], ids, -1, false, false))
}

fn linear(x: &Tensor, w: &Named, name: &str) -> Tensor {
    x.matmul(&w[&format!("{name}.weight")].tr()) + &w[&format!("{name}.bias")]
}

fn classified(logits: Tensor, labels: &Tensor) -> Output {
    Output {
        loss: cross_entropy(&logits, labels),
        logits,
    }
}

/// tch's own `cross_entropy_for_logits` rounds to single precision.
fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0)
}
