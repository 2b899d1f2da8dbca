//! Recomputed activations beside kept ones.

use std::sync::Mutex;

use tch::{Device, Kind, Tensor};
use torch_ext::{Draws, checkpoint};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The memory of the process and its generator belong to one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poison| poison.into_inner())
}

fn block(x: &Tensor, weight: &Tensor) -> Tensor {
    x + x.matmul(weight).gelu("none").dropout(0.3, true).tanh()
}

/// Loss, gradients of input and weights, and the next draw.
fn run(recompute: bool, weights: &[Tensor], input: &Tensor) -> (Vec<Tensor>, i64) {
    tch::manual_seed(3);
    let x = input.detach().copy().set_requires_grad(true);
    let mut y = x.shallow_clone();
    for weight in weights {
        torch_ext::set_grad(weight, None).expect("a leaf");
        let weight = weight.shallow_clone();
        y = match recompute {
            false => block(&y, &weight),
            true => checkpoint(&y, Draws::Global, move |x| block(x, &weight)).expect("a block"),
        };
    }
    let loss = y.square().mean(Kind::Float);
    let held = held();
    loss.backward();
    let draw = Tensor::rand([1], CPU);
    let mut found = vec![loss.detach(), x.grad(), draw];
    found.extend(weights.iter().map(Tensor::grad));
    (found, held)
}

/// Bytes that the process has allocated.
fn held() -> i64 {
    // SAFETY: reads counters.
    let counts = unsafe { libc::mallinfo2() };
    (counts.uordblks + counts.hblkhd) as i64
}

fn weights(n: usize) -> Vec<Tensor> {
    tch::manual_seed(1);
    (0..n)
        .map(|_| (Tensor::randn([64, 64], CPU) * 0.1).set_requires_grad(true))
        .collect()
}

#[test]
fn gradients_and_the_generator_are_the_same_to_the_last_bit() {
    let _alone = alone();
    let (weights, input) = (weights(4), Tensor::randn([8, 64], CPU));
    let (kept, _) = run(false, &weights, &input);
    assert_eq!(run(true, &weights, &input).0, kept);
}

#[test]
fn a_recomputed_block_holds_its_input_alone() {
    let _alone = alone();
    let (weights, input) = (weights(8), Tensor::randn([4096, 64], CPU));
    let one = 4096 * 64 * 4;
    let before = held();
    let kept = run(false, &weights, &input).1 - before;
    let recomputed = run(true, &weights, &input).1 - before;
    // Per block: input, product, dropout's output and mask, tanh's output; against the input.
    assert!(kept > 8 * 3 * one, "{kept}");
    assert!(recomputed < 8 * 2 * one, "{recomputed}");
}

#[test]
fn gradients_accumulate_where_the_leaf_keeps_them() {
    let _alone = alone();
    let weight = Tensor::from(2.0).set_requires_grad(true);
    let store = Tensor::from(1.0);
    torch_ext::set_grad(&weight, Some(&store)).expect("same shape");
    let inner = weight.shallow_clone();
    // The input needs no gradient; the weight inside does.
    let y = checkpoint(&Tensor::from(3.0), Draws::Nothing, move |x| x * &inner).expect("a block");
    assert!(y.requires_grad());
    y.backward();
    assert_eq!(store.double_value(&[]), 1.0 + 3.0);
    assert_eq!(weight.grad().data_ptr(), store.data_ptr());
}

#[test]
fn without_gradients_it_is_the_block_alone() {
    let _alone = alone();
    let _no_grad = tch::no_grad_guard();
    let x = Tensor::from(3.0).set_requires_grad(true);
    let y = checkpoint(&x, Draws::Global, |x| x * 2.0).expect("a block");
    assert!(!y.requires_grad());
    assert_eq!(y.double_value(&[]), 6.0);
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let _alone = alone();
    let x = Tensor::from(3.0).set_requires_grad(true);
    let error = checkpoint(&x, Draws::Nothing, |_| panic!("no block")).expect_err("a panic");
    assert_eq!(error.to_string(), "libtorch: no block");

    let square = || checkpoint(&x, Draws::Nothing, |x| x * x).expect("a block");
    let error = Tensor::f_run_backward(&[square()], &[&x], false, false).expect_err("chosen");
    assert!(error.to_string().contains("chosen inputs"), "{error}");
    let y = square();
    y.backward();
    let one = [Tensor::from(1.0)];
    torch_ext::backward(&[y], &one).expect_err("its input is gone");
}
