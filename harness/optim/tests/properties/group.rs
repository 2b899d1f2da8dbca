//! Processes that share every batch make the updates of one process that has it whole. Threads stand for processes.

use std::rc::Rc;
use std::time::Duration;

use optim::{Accumulated, Method, Numbers, Options, Pass, Record, Rows, Share};
use tch::{Kind, Tensor};
use torch_ext::{Group, Meet};

use crate::accumulation::methods;
use crate::net::{Batch, Net, largest_gap, same_bits};

/// Every micro-batch's examples: where they start in the batch, how many they are, and how many each process takes. The
/// first process has nothing to do with the last two, and the second with all three.
const CUT: [(i64, i64, [i64; 3]); 3] = [(0, 4, [2, 1, 1]), (4, 1, [0, 1, 0]), (5, 3, [0, 1, 2])];

fn options() -> Options {
    Options {
        record: Record::Norms,
        clip_norm: Some(0.5),
        seed: 7,
        ..Default::default()
    }
}

/// Four updates, by process `rank` of a group or by one that has all.
fn train(method: &Method, member: Option<Group>, values: f64) -> (Net, Vec<Numbers>) {
    let net = Net::new(Kind::Double);
    let rank = member.as_ref().map(Group::rank);
    if rank.is_some_and(|rank| rank > 0) {
        // Those of the first process are to be taken over.
        for weight in net.weights.values() {
            let _ = tch::no_grad(|| weight.shallow_clone().fill_(values));
        }
    }
    let mut optimizer = net.optimizer(method.clone(), options());
    if let Some(group) = member {
        optimizer.join(Rc::new(group)).expect("all are here");
    }
    let mut numbers = Vec::new();
    for t in 1..=4 {
        let batch = Batch::number(t);
        let parts: Vec<(i64, i64, Option<Rows>)> = CUT
            .iter()
            .enumerate()
            .map(|(i, (start, of, takes))| match rank {
                None => (*start, *of, None),
                Some(rank) => {
                    let first: i64 = takes[..rank].iter().sum();
                    (
                        start + first,
                        takes[rank],
                        Some(Rows {
                            micro_batch: i,
                            first,
                            of: *of,
                        }),
                    )
                }
            })
            .filter(|(_, examples, _)| *examples > 0)
            .collect();
        let share = |&(_, len, rows): &(i64, i64, Option<Rows>)| Share {
            loss: len as f64 / 8.0,
            examples: len as f64 / 8.0,
            rows,
        };
        let task = Accumulated {
            shares: parts.iter().map(share).collect(),
            forward: |pass: &Pass| {
                let (start, len, _) = parts[pass.micro_batch];
                net.forward(&batch.part(start, len), pass)
            },
        };
        numbers.push(optimizer.step(&task).expect("an update").read());
    }
    (net, numbers)
}

#[test]
fn processes_that_share_a_batch_make_the_whole_batchs_update() {
    for (i, method) in methods().into_iter().enumerate() {
        let (whole, expected) = train(&method, None, 0.0);
        let expected_weights = whole.values();
        let place = std::env::temp_dir().join(format!("share-{i}-{}", std::process::id()));
        let meet = Meet::File(place.clone());
        let members: Vec<_> = std::thread::scope(|scope| {
            let member = |rank| {
                let (method, meet) = (&method, &meet);
                scope.spawn(move || {
                    let group =
                        Group::join(meet, rank, 3, Duration::from_secs(60)).expect("all come");
                    let (net, numbers) = train(method, Some(group), 0.1);
                    (net.values(), numbers)
                })
            };
            let members: Vec<_> = (0..3).map(member).collect();
            members
                .into_iter()
                .map(|member| member.join().expect("no panic"))
                .collect()
        });
        let _ = std::fs::remove_file(place);
        for (weights, numbers) in &members {
            assert!(same_bits(weights, &members[0].0), "{method:?}");
            assert_eq!(numbers, &members[0].1, "{method:?}");
        }
        let gap = largest_gap(&members[0].0, &expected_weights);
        assert!(gap < 1e-12, "{method:?}: {gap:e}");
        for (ours, theirs) in members[0].1.iter().zip(&expected) {
            for (a, b) in [
                (ours.loss, theirs.loss),
                (ours.objective, theirs.objective),
                (ours.distance, theirs.distance),
                (ours.radius, theirs.radius),
                (ours.denominator, theirs.denominator),
                (ours.loss_perturbed, theirs.loss_perturbed),
                (ours.distance_perturbed, theirs.distance_perturbed),
                (ours.clip_coef, theirs.clip_coef),
            ] {
                assert!((a - b).abs() < 1e-12, "{method:?}: {a} and {b}");
            }
        }
    }
}

#[test]
fn a_process_that_is_gone_fails_the_update() {
    let place = std::env::temp_dir().join(format!("share-gone-{}", std::process::id()));
    let meet = Meet::File(place);
    std::thread::scope(|scope| {
        let join = |rank| Group::join(&meet, rank, 2, Duration::from_secs(60)).expect("all come");
        scope.spawn(move || {
            let net = Net::new(Kind::Double);
            let mut optimizer = net.optimizer(Method::all()[0].clone(), options());
            optimizer.join(Rc::new(join(1))).expect("all are here");
        });
        let net = Net::new(Kind::Double);
        let mut optimizer = net.optimizer(Method::all()[0].clone(), options());
        optimizer.join(Rc::new(join(0))).expect("all are here");
        let batch = Batch::number(1);
        let before = net.values();
        let step = optimizer.step(&|pass: &Pass| net.forward(&batch, pass));
        assert!(step.unwrap_err().to_string().starts_with("libtorch:"));
        let after: Vec<Tensor> = net.values().into_values().collect();
        assert!(before.values().zip(&after).all(|(a, b)| a.equal(b)));
    });
}
