//! Groups of processes; threads stand for processes where nothing dies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use torch_ext::{Group, Meet};

const PATIENCE: Duration = Duration::from_secs(60);

fn place(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("group-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// What each of `size` members answers.
fn together<T: Send>(meet: &Meet, size: usize, body: impl Fn(Group) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let member = |rank| {
            scope.spawn({
                let body = &body;
                move || body(Group::join(meet, rank, size, PATIENCE).unwrap())
            })
        };
        let members: Vec<_> = (0..size).map(member).collect();
        members
            .into_iter()
            .map(|member| member.join().unwrap())
            .collect()
    })
}

fn values(x: &Tensor) -> Vec<f64> {
    Vec::try_from(&x.to_kind(Kind::Double)).unwrap()
}

#[test]
fn a_sum_is_everybodys_sum_with_the_same_bits_everywhere() {
    let meet = Meet::File(place("sum"));
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        let meet = Meet::File(place(&format!("sum-{kind:?}")));
        let sums = together(&meet, 3, |group| {
            let mut x = Tensor::arange(1000, (kind, Device::Cpu)) * (group.rank() as f64 + 0.25);
            group.sum(&mut x).unwrap();
            values(&x)
        });
        assert!(sums.iter().all(|sum| sum == &sums[0]));
        // (0.25 + 1.25 + 2.25) i, to the rounding of the kind
        let tolerance = if kind == Kind::BFloat16 { 0.02 } else { 1e-6 };
        for (i, sum) in sums[0].iter().enumerate() {
            assert!(
                (sum - 3.75 * i as f64).abs() <= tolerance * 3.75 * i as f64,
                "{kind:?} {i}: {sum}"
            );
        }
    }
    // Calls in a row, and one member alone.
    let sums = together(&meet, 1, |group| {
        let mut x = Tensor::from(2.0);
        for _ in 0..3 {
            group.sum(&mut x).unwrap();
        }
        x.double_value(&[])
    });
    assert_eq!(sums, [2.0]);
}

#[test]
fn a_broadcast_gives_everybody_the_roots_tensor() {
    let found = together(&Meet::File(place("broadcast")), 3, |group| {
        let mut x = Tensor::full([5], group.rank() as f64, (Kind::Double, Device::Cpu));
        group.broadcast(&mut x, 2).unwrap();
        values(&x)
    });
    assert_eq!(found, vec![vec![2.0; 5]; 3]);
}

#[test]
fn a_group_meets_at_a_port_too() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let meet = Meet::Port {
        host: "127.0.0.1".into(),
        port,
    };
    let sums = together(&meet, 2, |group| {
        let mut x = Tensor::from(group.rank() as f64 + 1.0);
        group.sum(&mut x).unwrap();
        x.double_value(&[])
    });
    assert_eq!(sums, [3.0, 3.0]);
}

#[test]
fn a_view_that_is_not_contiguous_is_refused() {
    let refused = together(&Meet::File(place("view")), 1, |group| {
        let mut x = Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)).tr();
        group.sum(&mut x).unwrap_err().to_string()
    });
    assert!(refused[0].contains("contiguous"), "{}", refused[0]);
}

#[test]
fn who_waits_in_vain_for_the_others_is_told() {
    let meet = Meet::File(place("alone"));
    let begun = Instant::now();
    let error = Group::join(&meet, 0, 2, Duration::from_secs(1)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    assert!(
        Group::join(&meet, 2, 2, PATIENCE)
            .unwrap_err()
            .to_string()
            .contains("no rank 2")
    );
}

/// Not a test of its own: a member in a process that [`a_dead_member_is_an_error_at_once`] starts and kills.
#[test]
fn member_in_a_process() {
    let Ok(path) = std::env::var("GROUP_TEST_PLACE") else {
        return;
    };
    let group = Group::join(&Meet::File(path.into()), 1, 2, PATIENCE).unwrap();
    let mut x = Tensor::from(1.0);
    group.sum(&mut x).unwrap();
    println!("met");
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn a_dead_member_is_an_error_at_once() {
    let path = place("dead");
    let mut member = start_member(&path);
    let group = Group::join(&Meet::File(path), 0, 2, PATIENCE).unwrap();
    let mut x = Tensor::from(1.0);
    group.sum(&mut x).unwrap();
    let begun = Instant::now();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        member.kill().unwrap();
        member.wait().unwrap();
    });
    let error = group.sum(&mut x).unwrap_err();
    killer.join().unwrap();
    assert!(begun.elapsed() < PATIENCE / 2, "{error}");
}

fn start_member(path: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member_in_a_process", "--nocapture"])
        .env("GROUP_TEST_PLACE", path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: uses the library that [`nccl_is_called_as_its_interface_has_it`] made.
#[test]
fn member_with_nccl() {
    if std::env::var("HARNESS_NCCL").is_err() {
        return;
    }
    let Ok(path) = std::env::var("NCCL_TEST_PLACE") else {
        return;
    };
    let group = Group::join(&Meet::File(path.into()), 0, 1, PATIENCE).unwrap();
    for kind in [
        Kind::Float,
        Kind::Double,
        Kind::BFloat16,
        Kind::Half,
        Kind::Int64,
    ] {
        let mut x = Tensor::arange(7, (kind, Device::Cpu));
        group.sum(&mut x).unwrap();
        group.broadcast(&mut x, 0).unwrap();
    }
    let mut fails = Tensor::zeros([13], (Kind::Float, Device::Cpu));
    println!("error: {}", group.sum(&mut fails).unwrap_err());
    drop(group);
}

/// A library with NCCL's interface that writes down how it is called; it fails for 13 elements.
const PRETEND: &str = r#"
#include <stdio.h>
#include <stddef.h>
typedef struct { char bytes[128]; } Id;
int ncclGetUniqueId(Id *id) { for (int i = 0; i < 128; i++) id->bytes[i] = (char)i; return 0; }
int ncclCommInitRank(void **comm, int size, Id id, int rank) {
  printf("init %d of %d, id %d\n", rank, size, id.bytes[127]); *comm = (void *)42; return 0; }
int ncclAllReduce(const void *in, void *out, size_t n, int kind, int op, void *comm, void *stream) {
  printf("sum %d x%zu of kind %d, op %d, comm %zu\n", in == out, n, kind, op, (size_t)comm); return n == 13 ? 1 : 0; }
int ncclBroadcast(const void *in, void *out, size_t n, int kind, int root, void *comm, void *stream) {
  printf("broadcast x%zu of kind %d from %d\n", n, kind, root); return 0; }
int ncclCommAbort(void *comm) { printf("abort\n"); fflush(stdout); return 0; }
int ncclCommGetAsyncError(void *comm, int *status) { *status = 0; return 0; }
const char *ncclGetErrorString(int status) { return status == 1 ? "unhandled cuda error" : "?"; }
"#;

#[test]
fn nccl_is_called_as_its_interface_has_it() {
    let (source, library) = (place("nccl.c"), place("nccl.so"));
    std::fs::write(&source, PRETEND).unwrap();
    let compiled = Command::new("cc")
        .args(["-x", "c", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(compiled.unwrap().success());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member_with_nccl", "--nocapture"])
        .env("HARNESS_NCCL", &library)
        .env("NCCL_TEST_PLACE", place("nccl"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    // The numbers of nccl.h: ncclInt64 4, ncclFloat16 6, ncclFloat32 7, ncclFloat64 8, ncclBfloat16 9; ncclSum 0.
    let calls = [7, 8, 9, 6, 4].map(|kind| {
        format!("sum 1 x7 of kind {kind}, op 0, comm 42\nbroadcast x7 of kind {kind} from 0\n")
    });
    let wanted = format!(
        "init 0 of 1, id 127\n{}sum 1 x13 of kind 7, op 0, comm 42\n",
        calls.concat()
    );
    assert!(text.contains(&wanted), "{text}");
    assert!(
        text.contains("error: libtorch: ncclAllReduce: unhandled cuda error"),
        "{text}"
    );
    assert!(text.contains("abort\n"), "{text}");
    let missing = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member_with_nccl", "--nocapture"])
        .env("HARNESS_NCCL", "no-such-library.so")
        .env("NCCL_TEST_PLACE", place("missing"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("NCCL cannot be opened"));
}
