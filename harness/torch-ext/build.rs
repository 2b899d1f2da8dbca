//! Compiles the C++ shim against the headers of the libtorch that `torch-sys` found.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/about.cpp");
    println!("cargo:rerun-if-changed=src/checkpoint.cpp");
    println!("cargo:rerun-if-changed=src/gloo");
    println!("cargo:rerun-if-changed=src/group.cpp");
    println!("cargo:rerun-if-changed=src/shim.cpp");
    println!("cargo:rerun-if-changed=src/kernels.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let lib = PathBuf::from(
        env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch's libraries are"),
    );
    // Headers lie beside the libraries unless the user names another place, as for torch-sys.
    let root = env::var("LIBTORCH_INCLUDE").map_or_else(|_| lib.join(".."), PathBuf::from);
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .pic(true)
        .warnings(false)
        .opt_level(3)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .include("src/gloo")
        .file("src/about.cpp")
        // libtorch's own thread pool is OpenMP's; without the flag the sweeps use one thread.
        .flag_if_supported("-fopenmp")
        // Sums are in blocks already; neither exceptions nor errno matter to arithmetic here.
        .flag_if_supported("-fno-math-errno")
        .flag_if_supported("-fno-trapping-math")
        .file("src/checkpoint.cpp")
        .file("src/group.cpp")
        .file("src/shim.cpp")
        .file("src/kernels.cpp")
        .compile("torch_ext");
    println!("cargo:rustc-link-lib=gomp");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
