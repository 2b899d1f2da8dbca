// What tch does not bind. Every function returns null, or the message of a C++ exception,
// allocated with malloc; the caller frees it with tx_free.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>

namespace {

using List = at::Tensor *const *;

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

std::vector<at::Tensor> list(List tensors, int n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (int i = 0; i < n; i++)
    out.push_back(*tensors[i]);
  return out;
}

// -1 is the CPU, n >= 0 the n-th CUDA device: tch's own convention.
at::Device device_of(int index) {
  return index < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<int8_t>(index));
}

// Says whether a gradient reached a leaf since it was last asked. Shared with the hook, which
// may outlive the handle while a graph is alive.
struct Watch {
  at::Tensor leaf;
  unsigned hook;
  std::shared_ptr<std::atomic<bool>> reached;
};

} // namespace

extern "C" {

void tx_free(char *message) { free(message); }

char *tx_fused_adam(List params, List grads, List exp_avgs, List exp_avg_sqs, List steps, int n,
                    double lr, double beta1, double beta2, double weight_decay, double eps,
                    bool decoupled) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto update = [&](auto &&fused) {
      fused(list(params, n), list(grads, n), list(exp_avgs, n), list(exp_avg_sqs, n),
            std::vector<at::Tensor>{}, list(steps, n));
    };
    using L = at::TensorList;
    if (decoupled)
      update([&](L p, L g, L m, L v, L none, L t) {
        at::_fused_adamw_(p, g, m, v, none, t, lr, beta1, beta2, weight_decay, eps, false, false);
      });
    else
      update([&](L p, L g, L m, L v, L none, L t) {
        at::_fused_adam_(p, g, m, v, none, t, lr, beta1, beta2, weight_decay, eps, false, false);
      });
  });
}

char *tx_fused_sgd(List params, List grads, List buffers, int n, double lr, double momentum,
                   double weight_decay, bool first) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_fused_sgd_(list(params, n), list(grads, n),
                    buffers ? list(buffers, n) : std::vector<at::Tensor>{}, weight_decay, momentum,
                    lr, /*dampening=*/0.0, /*nesterov=*/false, /*maximize=*/false, first, {}, {});
  });
}

char *tx_set_grad(at::Tensor *leaf, at::Tensor *grad) {
  return guarded([&] { leaf->mutable_grad() = grad ? *grad : at::Tensor(); });
}

// Gradients of sum_i <root_i, grad_i>, accumulated into the leaves.
char *tx_backward(List roots, List grads, int n) {
  return guarded([&] { torch::autograd::backward(list(roots, n), list(grads, n)); });
}

char *tx_watch(at::Tensor *leaf, Watch **out) {
  return guarded([&] {
    auto reached = std::make_shared<std::atomic<bool>>(false);
    unsigned hook = leaf->register_hook([reached](const at::Tensor &grad) {
      if (grad.defined())
        reached->store(true, std::memory_order_relaxed);
    });
    *out = new Watch{*leaf, hook, reached};
  });
}

bool tx_watch_take(Watch *watch) { return watch->reached->exchange(false); }

void tx_watch_drop(Watch *watch) {
  try {
    watch->leaf.remove_hook(watch->hook);
  } catch (...) {
  }
  delete watch;
}

char *tx_generator(int device, uint64_t seed, at::Generator **out) {
  return guarded([&] {
    auto generator = at::globalContext().defaultGenerator(device_of(device)).clone();
    generator.set_current_seed(seed);
    *out = new at::Generator(std::move(generator));
  });
}

void tx_generator_drop(at::Generator *generator) { delete generator; }

char *tx_generator_seed(at::Generator *generator, uint64_t seed) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_current_seed(seed);
  });
}

char *tx_generator_fill(at::Generator *generator, at::Tensor *out, bool normal, double low,
                        double high) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    if (normal)
      out->normal_(low, high, *generator);
    else
      out->uniform_(low, high, *generator);
  });
}

char *tx_rng_state(int device, at::Tensor **out) {
  return guarded([&] {
    auto generator = at::globalContext().defaultGenerator(device_of(device));
    std::lock_guard<std::mutex> lock(generator.mutex());
    *out = new at::Tensor(generator.get_state());
  });
}

char *tx_set_rng_state(int device, at::Tensor *state) {
  return guarded([&] {
    auto generator = at::globalContext().defaultGenerator(device_of(device));
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  });
}

// Switches autocast on for one device type and reports what was there before.
char *tx_autocast_enter(bool cuda, int kind, bool enabled, bool *was_enabled, int *was_kind) {
  return guarded([&] {
    auto type = cuda ? at::kCUDA : at::kCPU;
    *was_enabled = at::autocast::is_autocast_enabled(type);
    *was_kind = static_cast<int>(at::autocast::get_autocast_dtype(type));
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(kind));
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::increment_nesting();
  });
}

char *tx_autocast_leave(bool cuda, int kind, bool enabled) {
  return guarded([&] {
    auto type = cuda ? at::kCUDA : at::kCPU;
    if (at::autocast::decrement_nesting() == 0)
      at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(kind));
  });
}

void tx_autocast_forget() { at::autocast::clear_cache(); }

char *tx_deterministic(bool on, bool warn_only) {
  return guarded([&] { at::globalContext().setDeterministicAlgorithms(on, warn_only); });
}

bool tx_is_deterministic() { return at::globalContext().deterministicAlgorithms(); }

// Bytes: allocated now, allocated at most, reserved now, reserved at most.
char *tx_memory(int device, int64_t *out) {
  return guarded([&] {
    auto stats = at::accelerator::getDeviceStats(static_cast<c10::DeviceIndex>(device));
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    out[0] = stats.allocated_bytes[all].current;
    out[1] = stats.allocated_bytes[all].peak;
    out[2] = stats.reserved_bytes[all].current;
    out[3] = stats.reserved_bytes[all].peak;
  });
}

char *tx_reset_peak_memory(int device) {
  return guarded(
      [&] { at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(device)); });
}

} // extern "C"
