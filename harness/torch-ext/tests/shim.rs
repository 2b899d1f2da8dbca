//! What the shim adds, beside ordinary operations that give the same.

use tch::{Device, Kind, Tensor};
use torch_ext::{Autocast, Generator, Watch, set_grad, sweep};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn wave(n: i64, kind: Kind, phase: f64) -> Tensor {
    ((Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.7 + phase).sin() * 2.0).to_kind(kind)
}

fn close(a: &Tensor, b: &Tensor, relative: f64) {
    let gap = (a - b).abs().max().double_value(&[]);
    let size = b.abs().max().double_value(&[]);
    assert!(gap <= relative * size, "{gap:e} for {size:e}");
}

#[test]
fn sweeps_give_what_operations_give() {
    for (kind, relative) in [(Kind::Float, 2e-6), (Kind::Double, 1e-14)] {
        let n = 100_003;
        let (theta, grad) = (wave(n, kind, 0.1), wave(n, kind, 0.2));
        let t = theta.abs() + 0.01;
        let square_sum = |x: &Tensor| x.to_kind(Kind::Double).square().sum(Kind::Double);
        let sums = sweep::norms(&theta, &grad, 0.01).expect("it fits");
        close(&sums.get(0), &square_sum(&grad), relative);
        close(&sums.get(1), &square_sum(&(&grad * &t)), relative);
        close(&sums.get(2), &square_sum(&(&grad * &t * &t)), relative);
        close(
            &sweep::squares(&grad).expect("it fits"),
            &square_sum(&grad),
            relative,
        );

        let mut out = theta.empty_like();
        let scale = Tensor::from(0.3);
        sweep::perturb(&mut out, &theta, &grad, &scale, Some(0.01)).expect("it fits");
        close(&out, &(&theta + &grad * &t * &t * 0.3), relative);
        sweep::perturb(&mut out, &theta, &grad, &scale, None).expect("it fits");
        close(&out, &(&theta + &grad * 0.3), relative);

        let mut direction = grad.copy();
        let sum = sweep::fisher(&mut direction, None, 10.0, 1.0).expect("it fits");
        let expected = &grad / (grad.square() * 10.0 + 1.0);
        close(&direction, &expected, relative);
        close(
            &sum,
            &(&grad * &expected).to_kind(Kind::Double).sum(Kind::Double),
            relative,
        );
    }
}

#[test]
fn the_kl_sweep_and_its_gradient_are_those_of_softmax() {
    for (kind, absolute) in [(Kind::Float, 3e-6), (Kind::Double, 1e-12)] {
        for (rows, classes, scale) in [(7, 3, 1.0), (5, 1031, 4.0), (3, 600, 300.0)] {
            let p = wave(rows * classes, kind, 0.3).view([rows, classes]) * scale;
            let q = wave(rows * classes, kind, 0.9).view([rows, classes]) * scale;
            let [double_p, double_q] =
                [&p, &q].map(|x| x.to_kind(Kind::Double).log_softmax(-1, Kind::Double));
            let expected = double_q.kl_div(&double_p, tch::Reduction::Sum, true);
            let (sum, slope) = sweep::kl_with_slope(&p, &q, 0.5).expect("it fits");
            let (a, b) = (sum.double_value(&[]), expected.double_value(&[]));
            assert!((a - b).abs() <= absolute * b.abs().max(1.0), "{a} for {b}");
            let gap = slope.to_kind(Kind::Double) - (double_q.exp() - double_p.exp()) * 0.5;
            assert!(gap.abs().max().double_value(&[]) <= absolute);
            assert_eq!(sweep::kl(&p, &p).expect("it fits").double_value(&[]), 0.0);
        }
    }
    let nan = Tensor::from_slice(&[0.0_f32, f32::NAN, 1.0]).view([1, 3]);
    let zero = nan.zeros_like();
    assert!(
        sweep::kl(&zero, &nan)
            .expect("it fits")
            .double_value(&[])
            .is_nan()
    );
}

#[test]
fn small_divergences_keep_their_digits_in_single_precision() {
    let p = wave(50_257, Kind::Double, 0.3).view([1, -1]) * 3.0;
    let q = &p + wave(50_257, Kind::Double, 2.1).view([1, -1]) * 1e-2;
    let exact = sweep::kl(&p, &q).expect("it fits").double_value(&[]);
    let [p, q] = [p, q].map(|x| x.to_kind(Kind::Float));
    let single = sweep::kl(&p, &q).expect("it fits").double_value(&[]);
    assert!(
        (single - exact).abs() < 2e-2 * exact,
        "{single:e} for {exact:e}"
    );
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let (theta, grad) = (
        wave(1_000_003, Kind::Float, 0.1),
        wave(1_000_003, Kind::Float, 0.2),
    );
    let threads = tch::get_num_threads();
    let sums = |n| {
        tch::set_num_threads(n);
        Vec::<f64>::try_from(sweep::norms(&theta, &grad, 0.0).expect("it fits")).expect("a vector")
    };
    let (one, three) = (sums(1), sums(3));
    tch::set_num_threads(threads);
    assert_eq!(one, three);
}

#[test]
fn a_tensor_that_does_not_fit_is_an_error_of_one_line() {
    let (a, b) = (wave(4, Kind::Float, 0.0), wave(5, Kind::Float, 0.0));
    let error = sweep::norms(&a, &b, 0.0)
        .expect_err("two sizes")
        .to_string();
    assert_eq!(
        error,
        "libtorch: a flat CPU tensor of one kind and size is needed"
    );
    assert!(!sweep::fits(&a.to_kind(Kind::BFloat16)));
}

#[test]
fn a_generator_of_ones_own_is_disturbed_by_nobody() {
    let draw = |seed| {
        let mut generator = Generator::new(Device::Cpu, 0).expect("a generator");
        generator.seed(seed).expect("seeded");
        let mut out = Tensor::zeros([1000], CPU);
        generator.normal(&mut out, 0.0, 1.0).expect("filled");
        let _ = Tensor::randn([3], CPU);
        out
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    assert!(draw(7).mean(Kind::Float).double_value(&[]).abs() < 0.1);
}

#[test]
fn a_restored_global_generator_draws_the_same() {
    let state = torch_ext::rng_state(Device::Cpu).expect("a state");
    let first = Tensor::rand([5], CPU);
    torch_ext::set_rng_state(Device::Cpu, &state).expect("its own state");
    assert_eq!(Tensor::rand([5], CPU), first);
}

#[test]
fn autocast_works_on_the_cpu_and_ends_with_its_scope() {
    let (a, b) = (Tensor::ones([2, 2], CPU), Tensor::ones([2, 2], CPU));
    {
        let _on = Autocast::enter(Device::Cpu, Kind::BFloat16).expect("autocast");
        assert_eq!(a.matmul(&b).kind(), Kind::BFloat16);
        let _off = Autocast::leave(Device::Cpu).expect("autocast");
        assert_eq!(a.matmul(&b).kind(), Kind::Float);
    }
    assert_eq!(a.matmul(&b).kind(), Kind::Float);
}

#[test]
fn a_gradient_is_stored_where_it_is_told_and_seen_when_it_arrives() {
    let [a, b] = [1.0, 2.0].map(|x| Tensor::from(x).set_requires_grad(true));
    let store = Tensor::from(0.0);
    set_grad(&a, Some(&store)).expect("same shape");
    let watches = [&a, &b].map(|leaf| Watch::new(leaf).expect("a leaf"));
    (&a * 3.0).backward();
    assert_eq!(store.double_value(&[]), 3.0);
    assert_eq!([watches[0].take(), watches[1].take()], [true, false]);
    assert!(!watches[0].take());
    torch_ext::backward(
        &[&a * 1.0, &b * &a],
        &[Tensor::from(5.0), Tensor::from(1.0)],
    )
    .expect("two roots");
    assert_eq!(store.double_value(&[]), 3.0 + 5.0 + 2.0);
    assert!(watches[1].take());
}

#[test]
fn determinism_is_a_switch() {
    torch_ext::set_deterministic(true, true).expect("a switch");
    assert!(torch_ext::is_deterministic());
    torch_ext::set_deterministic(false, false).expect("a switch");
    assert!(!torch_ext::is_deterministic());
    assert_eq!(torch_ext::memory(Device::Cpu), Ok(None));
}
