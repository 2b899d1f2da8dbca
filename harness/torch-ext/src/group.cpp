// Processes that compute one thing together: libtorch's own c10d over Gloo for tensors of the CPU, NCCL for those of a
// CUDA device. The Python wheel has Gloo inside libtorch but not its headers (see gloo/); NCCL is opened when it is
// first needed, so that this compiles and runs without CUDA.

#define USE_C10D_GLOO

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

// NCCL's C interface, as its documentation has it: status codes, an opaque communicator, an id of 128 bytes.
struct NcclId {
  char bytes[128];
};
using NcclComm = void *;

enum { ncclSuccess = 0, ncclInProgress = 7 };
enum { ncclSum = 0 };

class Nccl {
public:
  Nccl(c10d::Store &store, int rank, int size, Milliseconds timeout) : timeout_(timeout) {
    const char *named = std::getenv("HARNESS_NCCL");
    const char *names[] = {named ? named : "libnccl.so.2", "libnccl.so"};
    for (const char *name : names)
      if ((library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL)) || named)
        break;
    TORCH_CHECK(library_, "NCCL cannot be opened: ", dlerror());
    find(get_id_, "ncclGetUniqueId");
    find(init_, "ncclCommInitRank");
    find(all_reduce_, "ncclAllReduce");
    find(broadcast_, "ncclBroadcast");
    find(abort_, "ncclCommAbort");
    find(error_, "ncclCommGetAsyncError");
    find(text_, "ncclGetErrorString");
    NcclId id{};
    if (rank == 0) {
      check(get_id_(&id), "ncclGetUniqueId");
      store.set("nccl", std::vector<uint8_t>(id.bytes, id.bytes + sizeof id.bytes));
    } else {
      store.wait({"nccl"}, timeout);
      auto bytes = store.get("nccl");
      TORCH_CHECK(bytes.size() == sizeof id.bytes, "the first process gave an NCCL id of ", bytes.size(), " bytes");
      std::memcpy(id.bytes, bytes.data(), bytes.size());
    }
    check(init_(&comm_, size, id, rank), "ncclCommInitRank");
  }
  Nccl(const Nccl &) = delete;
  // Aborting needs no other process, and one of them may be gone.
  ~Nccl() {
    if (comm_)
      abort_(comm_);
  }

  void sum(const at::Tensor &x) {
    check(all_reduce_(x.data_ptr(), x.data_ptr(), x.numel(), kind(x), ncclSum, comm_, stream(x)), "ncclAllReduce");
    finish(x);
  }

  void broadcast(const at::Tensor &x, int root) {
    check(broadcast_(x.data_ptr(), x.data_ptr(), x.numel(), kind(x), root, comm_, stream(x)), "ncclBroadcast");
    finish(x);
  }

private:
  template <class F> void find(F &function, const char *name) {
    function = reinterpret_cast<F>(dlsym(library_, name));
    TORCH_CHECK(function, "NCCL has no ", name);
  }

  void check(int status, const char *what) {
    TORCH_CHECK(status == ncclSuccess || status == ncclInProgress, what, ": ", text_(status));
  }

  static int kind(const at::Tensor &x) {
    switch (x.scalar_type()) {
    case at::kLong: return 4;
    case at::kHalf: return 6;
    case at::kFloat: return 7;
    case at::kDouble: return 8;
    case at::kBFloat16: return 9;
    default: TORCH_CHECK(false, "NCCL has no sum of ", x.scalar_type());
    }
  }

  static void *stream(const at::Tensor &x) {
    return x.is_cpu() ? nullptr : c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()).native_handle();
  }

  // A kernel of NCCL that waits for a process that is gone never ends, so the host looks from time to time.
  void finish(const at::Tensor &x) {
    auto end = Clock::now() + timeout_;
    auto pause = Milliseconds(0);
    for (;;) {
      int status = ncclSuccess;
      check(error_(comm_, &status), "ncclCommGetAsyncError");
      check(status, "NCCL");
      if (x.is_cpu())
        return;
      c10::impl::VirtualGuardImpl guard(x.device().type());
      if (status == ncclSuccess && guard.queryStream(guard.getStream(x.device())))
        return;
      TORCH_CHECK(Clock::now() < end, "NCCL: no answer from the other processes for ", timeout_.count() / 1000, " s");
      std::this_thread::sleep_for(pause);
      pause = Milliseconds(1);
    }
  }

  Milliseconds timeout_;
  void *library_ = nullptr;
  NcclComm comm_ = nullptr;
  int (*get_id_)(NcclId *);
  int (*init_)(NcclComm *, int size, NcclId, int rank);
  int (*all_reduce_)(const void *, void *, size_t, int kind, int op, NcclComm, void *stream);
  int (*broadcast_)(const void *, void *, size_t, int kind, int root, NcclComm, void *stream);
  int (*abort_)(NcclComm);
  int (*error_)(NcclComm, int *);
  const char *(*text_)(int);
};

class Group {
public:
  Group(c10::intrusive_ptr<c10d::Store> store, const std::string &host, int rank, int size, Milliseconds timeout)
      : store_(std::move(store)), rank_(rank), size_(size), timeout_(timeout) {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(host.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                                            : c10d::ProcessGroupGloo::createDeviceForHostname(host));
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>("gloo", store_);
    gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed, rank, size, options);
  }

  void sum(at::Tensor x) {
    if (uses_nccl(x))
      return nccl().sum(x);
    std::vector<at::Tensor> tensors{x};
    gloo_->allreduce(tensors)->wait();
  }

  void broadcast(at::Tensor x, int root) {
    if (uses_nccl(x))
      return nccl().broadcast(x, root);
    std::vector<at::Tensor> tensors{x};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    gloo_->broadcast(tensors, options)->wait();
  }

private:
  // Naming a library asks for it on the CPU as well, which is how it is tried without a device.
  static bool uses_nccl(const at::Tensor &x) {
    TORCH_CHECK(x.is_contiguous(), "only a contiguous tensor can be exchanged");
    return !x.is_cpu() || std::getenv("HARNESS_NCCL");
  }

  Nccl &nccl() {
    if (!nccl_)
      nccl_ = std::make_unique<Nccl>(*store_, rank_, size_, timeout_);
    return *nccl_;
  }

  c10::intrusive_ptr<c10d::Store> store_;
  int rank_, size_;
  Milliseconds timeout_;
  c10::intrusive_ptr<c10d::Backend> gloo_;
  std::unique_ptr<Nccl> nccl_;
};

template <class F> char *guarded(F &&body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

} // namespace

extern "C" {

// Meets at a file where port is negative, else at host:port, which the first process then serves.
char *tx_group(const char *meet, int port, const char *host, int rank, int size, int64_t milliseconds, Group **out) {
  return guarded([&] {
    Milliseconds timeout(milliseconds);
    c10::intrusive_ptr<c10d::Store> store;
    if (port < 0) {
      store = c10::make_intrusive<c10d::FileStore>(meet, size);
    } else {
      c10d::TCPStoreOptions options;
      options.port = port;
      options.isServer = rank == 0;
      options.numWorkers = size;
      options.timeout = timeout;
      store = c10::make_intrusive<c10d::TCPStore>(meet, options);
    }
    store->setTimeout(timeout);
    *out = new Group(store, host, rank, size, timeout);
  });
}

void tx_group_drop(Group *group) { delete group; }

char *tx_group_sum(Group *group, const at::Tensor *x) {
  return guarded([&] { group->sum(*x); });
}

char *tx_group_broadcast(Group *group, const at::Tensor *x, int root) {
  return guarded([&] { group->broadcast(*x, root); });
}

} // extern "C"
