//! The parts of a step that are not passes, each beside the operations it replaces.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tch::{Device, Kind, Tensor, no_grad_guard};
use torch_ext::{Adam, fused_adam, sweep};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn perturbation(c: &mut Criterion) {
    let _no_grad = no_grad_guard();
    let n = 16_000_000;
    let (theta, grad) = (Tensor::randn([n], CPU), Tensor::randn([n], CPU));
    let mut out = theta.empty_like();
    let mut group = c.benchmark_group("perturb and restore, 16M parameters");
    group
        .throughput(Throughput::Elements(n as u64))
        .sample_size(10);
    group.bench_function("sweeps", |b| {
        b.iter(|| {
            let norm = sweep::norms(&theta, &grad, 0.0)
                .expect("it fits")
                .get(1)
                .sqrt();
            let scale = 0.05 / (norm + 1e-12);
            sweep::perturb(&mut out, &theta, &grad, &scale, Some(0.0)).expect("it fits");
        });
    });
    group.bench_function("flat operations", |b| {
        let (mut theta, mut saved) = (theta.copy(), theta.copy());
        b.iter(|| {
            let scaled = &grad * &theta;
            let scale = 0.05 / (scaled.norm() + 1e-12);
            let direction = scaled * &theta;
            saved.copy_(&theta);
            let _ = theta.addcmul_(&direction, &scale);
            theta.copy_(&saved);
        });
    });
}

fn base_update(c: &mut Criterion) {
    let n = 16_000_000;
    let flat = || [Tensor::zeros([n], CPU)];
    let (theta, grad, m, v) = (flat(), [Tensor::randn([n], CPU)], flat(), flat());
    let mut group = c.benchmark_group("base update, 16M parameters");
    group
        .throughput(Throughput::Elements(n as u64))
        .sample_size(10);
    group.bench_function("fused Adam", |b| {
        let adam = Adam {
            lr: 1e-3,
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
        };
        let step = [Tensor::from(1.0_f32)];
        b.iter(|| fused_adam(&theta, &grad, &m, &v, &step, adam).expect("it fits"));
    });
}

fn divergence(c: &mut Criterion) {
    let _no_grad = no_grad_guard();
    let (p, q) = (
        Tensor::randn([64, 50257], CPU),
        Tensor::randn([64, 50257], CPU),
    );
    let mut group = c.benchmark_group("KL of 64 rows of 50257");
    group
        .throughput(Throughput::Elements(p.numel() as u64))
        .sample_size(10);
    group.bench_function("sweep", |b| {
        b.iter(|| black_box(sweep::kl(&p, &q).expect("it fits")))
    });
    group.bench_function("sweep with gradient", |b| {
        b.iter(|| black_box(sweep::kl_with_slope(&p, &q, 0.1).expect("it fits")));
    });
    group.bench_function("operations", |b| {
        b.iter(|| {
            let (p, q) = (
                p.log_softmax(-1, Kind::Float),
                q.log_softmax(-1, Kind::Float),
            );
            black_box(q.kl_div(&p, tch::Reduction::Sum, true))
        });
    });
}

criterion_group!(parts, perturbation, base_update, divergence);
criterion_main!(parts);
