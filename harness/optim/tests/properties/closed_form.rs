//! On L(theta) = sum a_i theta_i^2 / 2 the gradient is a theta, and everything can be worked out
//! on paper.

use optim::{
    Adam, Asam, Base, Fsam, Mesa, Method, NoKnobs, Optimizer, Options, Output, Pass, Record, Sam,
    Sgd, Step, TramX, Trpo,
};
use tch::Tensor;

const A: [f64; 2] = [1.0, 2.0];

struct Quadratic {
    theta: Tensor,
}

impl Quadratic {
    fn new(theta: [f64; 2]) -> Self {
        Self {
            theta: Tensor::from_slice(&theta).set_requires_grad(true),
        }
    }

    fn step(&self, optimizer: &mut Optimizer) -> Step {
        // Logits [1, 2] are the parameters themselves, so that distances are simple too.
        let task = |pass: &Pass| {
            let loss = (Tensor::from_slice(&A) * self.theta.square()).sum(None) * 0.5;
            Output {
                loss,
                logits: pass.noise.apply(&self.theta.view([1, 2])),
            }
        };
        optimizer.step(&task).expect("an update")
    }

    fn after(theta: [f64; 2], method: Method, base: Base, updates: usize) -> [f64; 2] {
        let quadratic = Self::new(theta);
        let parameters = vec![("theta.weight".to_owned(), quadratic.theta.shallow_clone())];
        let mut optimizer =
            Optimizer::new(method, base, Options::default(), parameters).expect("an optimizer");
        for _ in 0..updates {
            quadratic.step(&mut optimizer);
        }
        let theta = &quadratic.theta;
        [theta.double_value(&[0]), theta.double_value(&[1])]
    }
}

fn sgd(lr: f64, momentum: f64, weight_decay: f64) -> Base {
    Base::Sgd(Sgd {
        lr,
        momentum,
        weight_decay,
    })
}

fn close(a: [f64; 2], b: [f64; 2]) {
    assert!(
        (a[0] - b[0]).abs() < 1e-12 && (a[1] - b[1]).abs() < 1e-12,
        "{a:?} is not {b:?}"
    );
}

#[test]
fn sgd_is_theta_minus_lr_times_the_velocity() {
    let base = |updates, momentum, decay| {
        Quadratic::after(
            [3.0, 2.0],
            Method::Base(NoKnobs {}),
            sgd(0.1, momentum, decay),
            updates,
        )
    };
    // g = (3, 4)
    close(base(1, 0.0, 0.0), [2.7, 1.6]);
    close(base(1, 0.9, 0.0), [2.7, 1.6]);
    // v = 0.9 (3, 4) + (2.7, 3.2) = (5.4, 6.8)
    close(base(2, 0.9, 0.0), [2.16, 0.92]);
    // g + 0.5 theta = (4.5, 5)
    close(base(1, 0.0, 0.5), [2.55, 1.5]);
}

#[test]
fn adam_moves_by_lr_at_first_and_adamw_decays_before() {
    let adam = |weight_decay| Adam {
        lr: 0.1,
        betas: (0.9, 0.99),
        eps: 0.0,
        weight_decay,
    };
    let base = Method::Base(NoKnobs {});
    // mhat / sqrt(vhat) = g / |g|
    close(
        Quadratic::after([3.0, -2.0], base.clone(), Base::Adam(adam(0.0)), 1),
        [2.9, -1.9],
    );
    // Decay in the gradient does not change its sign.
    close(
        Quadratic::after([3.0, -2.0], base.clone(), Base::Adam(adam(0.5)), 1),
        [2.9, -1.9],
    );
    // (3, -2) (1 - 0.1 0.5) first
    close(
        Quadratic::after([3.0, -2.0], base, Base::Adamw(adam(0.5)), 1),
        [2.75, -1.8],
    );
}

#[test]
fn sam_takes_the_gradient_at_rho_along_the_gradient() {
    // g = (3, 4), ||g|| = 5, eps = 0.5 (0.6, 0.8) = (0.3, 0.4); h = (3.3, 4.8)
    let sam = Method::Sam(Sam {
        rho: 0.5,
        norm_eps: 0.0,
        ..Default::default()
    });
    close(
        Quadratic::after([3.0, 2.0], sam, sgd(0.1, 0.0, 0.0), 1),
        [2.67, 1.52],
    );
}

#[test]
fn asam_scales_the_step_with_the_weights() {
    // g = (3, 2), theta = (3, 1): T g = (9, 2), T^2 g = (27, 2), ||T g|| = sqrt(85)
    let mut asam = Asam {
        rho: 0.5,
        ..Default::default()
    };
    asam.adaptive.norm_eps = 0.0;
    let eps = [0.5 * 27.0 / 85_f64.sqrt(), 0.5 * 2.0 / 85_f64.sqrt()];
    let expected = [3.0 - 0.1 * (3.0 + eps[0]), 1.0 - 0.1 * 2.0 * (1.0 + eps[1])];
    close(
        Quadratic::after([3.0, 1.0], Method::Asam(asam), sgd(0.1, 0.0, 0.0), 1),
        expected,
    );
}

#[test]
fn fisher_sam_weighs_the_gradient_with_the_inverse_information() {
    // g = (3, 4), f = (9, 16), w = 1 / (1 + f / 4) = (4/13, 1/5)
    let mut fsam = Fsam::default();
    (fsam.fisher.gamma, fsam.fisher.eta, fsam.fisher.norm_eps) = (0.5, 0.25, 0.0);
    let (wg, root) = ([12.0 / 13.0, 0.8], (36.0 / 13.0 + 3.2_f64).sqrt());
    let h = |i: usize, theta: f64| A[i] * (theta + 0.5 * wg[i] / root);
    let expected = [3.0 - 0.1 * h(0, 3.0), 2.0 - 0.1 * h(1, 2.0)];
    close(
        Quadratic::after([3.0, 2.0], Method::Fsam(fsam), sgd(0.1, 0.0, 0.0), 1),
        expected,
    );
}

/// KL(softmax(p) || softmax(q)) of two logits each.
fn kl(p: [f64; 2], q: [f64; 2]) -> f64 {
    let soft = |x: [f64; 2]| {
        let sum = x[0].exp() + x[1].exp();
        [x[0].exp() / sum, x[1].exp() / sum]
    };
    let (p, q) = (soft(p), soft(q));
    p[0] * (p[0] / q[0]).ln() + p[1] * (p[1] / q[1]).ln()
}

#[test]
fn tram_x_uses_the_distance_as_radius() {
    struct Fixed;
    impl optim::NoiseSource for Fixed {
        fn draw(&mut self, draw: &optim::Draw) -> Tensor {
            Tensor::from_slice(&[1.0, -1.0]).view(draw.shape.as_slice())
        }
    }
    let quadratic = Quadratic::new([3.0, 1.0]);
    let parameters = vec![("theta.weight".to_owned(), quadratic.theta.shallow_clone())];
    let tram = Method::TramX(TramX::default());
    let options = Options {
        record: Record::Norms,
        ..Default::default()
    };
    let mut optimizer =
        Optimizer::new(tram, sgd(0.1, 0.0, 0.0), options, parameters).expect("an optimizer");
    optimizer.set_noise_source(Fixed);
    let step = quadratic.step(&mut optimizer).read();
    let d = kl([3.1, 0.9], [3.0, 1.0]);
    assert!((step.distance - d).abs() < 1e-12 && step.radius == step.distance);
    // As for ASAM above, with d for rho.
    let eps = [d * 27.0 / 85_f64.sqrt(), d * 2.0 / 85_f64.sqrt()];
    assert!((step.eps_norm.expect("recorded") - eps[0].hypot(eps[1])).abs() < 1e-12);
    let expected = [3.0 - 0.1 * (3.0 + eps[0]), 1.0 - 0.1 * 2.0 * (1.0 + eps[1])];
    let theta = &quadratic.theta;
    close(
        [theta.double_value(&[0]), theta.double_value(&[1])],
        expected,
    );
}

/// The gradient of KL(p || softmax(q)) in q is softmax(q) - p.
fn pull(target: [f64; 2], current: [f64; 2]) -> [f64; 2] {
    let share = |x: [f64; 2]| 1.0 / (1.0 + (x[1] - x[0]).exp());
    let first = share(current) - share(target);
    [first, -first]
}

#[test]
fn trpo_and_mesa_pull_back_to_their_targets_from_the_second_update() {
    let (start, lambda, lr) = ([0.3, -0.2], 0.5, 0.1);
    // Update 1 has no pull: theta = start (1 - lr a).
    let one = [start[0] * 0.9, start[1] * 0.8];
    let two = |target: [f64; 2]| {
        let pull = pull(target, one);
        let g = [one[0] + lambda * pull[0], 2.0 * one[1] + lambda * pull[1]];
        [one[0] - lr * g[0], one[1] - lr * g[1]]
    };
    let trpo = Method::Trpo(Trpo {
        lambda,
        ..Default::default()
    });
    close(
        Quadratic::after(start, trpo, sgd(lr, 0.0, 0.0), 2),
        two(start),
    );
    let mesa = Method::Mesa(Mesa {
        lambda,
        ema_decay: 0.75,
        ..Default::default()
    });
    let average = [
        0.75 * start[0] + 0.25 * one[0],
        0.75 * start[1] + 0.25 * one[1],
    ];
    close(
        Quadratic::after(start, mesa, sgd(lr, 0.0, 0.0), 2),
        two(average),
    );
}
