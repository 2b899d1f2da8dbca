//! Blocks that are run again in the backward pass.

use optim::{Adam, Base, Method, Optimizer, Options, Output, Pass, Sam, TramX};
use tch::{Kind, Tensor};
use torch_ext::Autocast;
use training::models::{Activations, Gpt2, Network};

use crate::files::{Tensors, cross_entropy, folders, generator, network, pass, root};

/// Every network that has training batches, with one, both ways.
fn each_network(check: impl Fn(&str, &Tensors, [Network; 2])) {
    for folder in folders(&root().join("training")) {
        let name = folder.file_name().expect("a name").to_string_lossy();
        let batch = Tensors::read(folder.join("batches.safetensors")).under("step0.");
        let make = |activations| {
            let mut model = network(&root().join("models").join(&*name));
            model.set_activations(activations);
            model
        };
        check(
            &name,
            &batch,
            [Activations::Kept, Activations::Recomputed].map(make),
        );
    }
}

fn gradients(model: &Network, batch: &Tensors) -> (Tensor, Vec<(String, Tensor)>) {
    tch::manual_seed(5);
    let loss = pass(model, batch, true).loss;
    loss.backward();
    let named = model.weights().named();
    (
        loss.detach(),
        named
            .into_iter()
            .map(|(name, leaf)| (name, leaf.grad()))
            .collect(),
    )
}

#[test]
fn recomputed_blocks_give_the_same_bits_with_dropout_and_under_autocast() {
    let _generator = generator();
    each_network(|name, batch, models| {
        let [kept, recomputed] = models.each_ref().map(|model| gradients(model, batch));
        assert!(kept == recomputed, "{name}");
        for (_, leaf) in models.iter().flat_map(|model| model.weights().named()) {
            torch_ext::set_grad(&leaf, None).expect("a leaf");
        }
        let [kept, recomputed] = models.each_ref().map(|model| {
            tch::manual_seed(5);
            let loss = {
                let _bfloat16 =
                    Autocast::enter(tch::Device::Cpu, Kind::BFloat16).expect("autocast");
                pass(model, batch, true).loss.to_kind(Kind::Float)
            };
            loss.backward();
            let named = model.weights().named();
            named
                .iter()
                .map(|(_, leaf)| leaf.grad())
                .collect::<Vec<_>>()
        });
        assert!(kept == recomputed, "{name} in bfloat16");
    });
}

/// Three updates: the final weights and the losses.
fn updates(method: Method, model: &Network, batch: &Tensors) -> (Vec<f64>, Vec<Tensor>) {
    tch::manual_seed(5);
    let base = Base::Adam(Adam {
        lr: 1e-3,
        ..Adam::default()
    });
    let named = model.weights().named();
    let mut optimizer =
        Optimizer::new(method, base, Options::default(), named).expect("an optimizer");
    let task = |pass: &Pass| {
        let labels = batch.get("labels");
        let (loss, logits) = match model {
            Network::Vit(vit) => {
                let patches = pass.noise.apply(&vit.patches(&batch.get("pixel_values")));
                let logits = vit.classify(&patches, pass.train);
                (cross_entropy(&logits, &labels), logits)
            }
            Network::Gpt2(gpt) => {
                let embedded = pass.noise.apply(&gpt.embed(&batch.get("input_ids")));
                let mask = batch.find("attention_mask");
                let logits = gpt.forward(&embedded, mask.as_ref(), pass.train);
                (
                    Gpt2::loss(&logits, &Gpt2::next_token_labels(&labels)),
                    logits,
                )
            }
            Network::XlmRoberta(xlmr) => {
                let ids = batch.get("input_ids");
                let embedded = pass.noise.apply(&xlmr.embed(&ids));
                let mask = batch.find("attention_mask");
                let positions = xlmr.positions(&ids);
                let logits = xlmr.forward(&embedded, &positions, mask.as_ref(), pass.train);
                (cross_entropy(&logits, &labels), logits)
            }
        };
        Output { loss, logits }
    };
    let losses = (0..3)
        .map(|_| optimizer.step(&task).expect("a step").read().loss)
        .collect();
    (losses, model.weights().snapshot())
}

#[test]
fn recomputed_blocks_change_no_bit_of_sam_or_tram() {
    let _generator = generator();
    for method in [Method::Sam(Sam::default()), Method::TramX(TramX::default())] {
        each_network(|name, batch, models| {
            let [kept, recomputed] = models
                .each_ref()
                .map(|model| updates(method.clone(), model, batch));
            assert!(kept == recomputed, "{name} {}", method.name());
        });
    }
}
