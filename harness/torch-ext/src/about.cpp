// What this libtorch is and on what it runs.

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>
#include <torch/version.h>

extern "C" {

const char *tx_version() { return TORCH_VERSION; }

// "DEFAULT", "AVX2", "AVX512", ...: the instruction set the kernels chose. Lives as long as the process.
const char *tx_cpu_capability() {
  static const std::string capability = at::get_cpu_capability();
  return capability.c_str();
}

void tx_set_threads(int intra, int inter) {
  at::set_num_threads(intra);
  // Fails once work has been handed to that pool; the first call wins.
  try {
    at::set_num_interop_threads(inter);
  } catch (const std::exception &) {
  }
}

// The numbers that CUDA's runtime and cuDNN give their versions; 0 where libtorch has not loaded them.
int tx_cuda_runtime() {
  auto get = reinterpret_cast<int (*)(int *)>(dlsym(RTLD_DEFAULT, "cudaRuntimeGetVersion"));
  int version = 0;
  return get && get(&version) == 0 ? version : 0;
}

size_t tx_cudnn() {
  auto get = reinterpret_cast<size_t (*)()>(dlsym(RTLD_DEFAULT, "cudnnGetVersion"));
  return get ? get() : 0;
}

// The driver's own name of the n-th visible CUDA device. Asks the driver directly, so that no CUDA
// header is needed to compile this. False when there is no driver or no such device.
// A linker drops a library that no symbol asks for, and nothing asks for the CUDA half of libtorch by name: it
// registers itself when it is loaded.
bool tx_load_cuda() {
  return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
}

bool tx_cuda_name(int index, char *out, int len) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver)
    return false;
  auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  auto get = reinterpret_cast<int (*)(int *, int)>(dlsym(driver, "cuDeviceGet"));
  auto name = reinterpret_cast<int (*)(char *, int, int)>(dlsym(driver, "cuDeviceGetName"));
  int device = 0;
  return init && get && name && init(0) == 0 && get(&device, index) == 0 && name(out, len, device) == 0;
}
}
