// A piece of a network that keeps its input alone and is run again in the backward pass.

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <cstring>
#include <mutex>

namespace {

namespace autograd = torch::autograd;

// The closure: returns a new tensor that the caller owns, or null after writing what went wrong.
using Call = at::Tensor *(*)(void *body, const at::Tensor *x, char *message, size_t room);
using Drop = void (*)(void *body);

struct Body {
  void *body;
  Call call;
  Drop drop;

  Body(void *body, Call call, Drop drop) : body(body), call(call), drop(drop) {}
  Body(const Body &) = delete;
  ~Body() { drop(body); }

  at::Tensor operator()(const at::Tensor &x) const {
    char message[1024] = {};
    std::unique_ptr<at::Tensor> y(call(body, &x, message, sizeof message - 1));
    TORCH_CHECK(y, message);
    return *y;
  }
};

// Autocast as one thread has it, for both kinds of device.
struct AutocastState {
  static constexpr at::DeviceType types[2] = {at::kCPU, at::kCUDA};
  bool enabled[2];
  at::ScalarType kind[2];
  bool cache = at::autocast::is_autocast_cache_enabled();

  AutocastState() {
    for (int i = 0; i < 2; i++) {
      enabled[i] = at::autocast::is_autocast_enabled(types[i]);
      kind[i] = at::autocast::get_autocast_dtype(types[i]);
    }
  }

  void restore(bool with_cache) const {
    for (int i = 0; i < 2; i++) {
      at::autocast::set_autocast_enabled(types[i], enabled[i]);
      at::autocast::set_autocast_dtype(types[i], kind[i]);
    }
    at::autocast::set_autocast_cache_enabled(with_cache);
  }
};

// Runs with a state of autocast that is not this thread's. Casts are not kept: one made without gradients must not
// serve a pass with gradients.
struct WithAutocast {
  AutocastState before;
  explicit WithAutocast(const AutocastState &state) { state.restore(false); }
  ~WithAutocast() { before.restore(before.cache); }
};

// States of the generators that operations on a device may draw from.
struct Generators {
  std::vector<std::pair<at::Generator, at::Tensor>> states;

  explicit Generators(at::Device device) {
    add(at::Device(at::kCPU));
    if (!device.is_cpu())
      add(device);
  }

  void add(at::Device device) {
    auto generator = at::globalContext().defaultGenerator(device);
    std::lock_guard<std::mutex> lock(generator.mutex());
    states.emplace_back(generator, generator.get_state());
  }

  void restore() const {
    for (auto [generator, state] : states) {
      std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
  }
};

// Draws from earlier states, then continues with those of now.
struct WithGenerators {
  std::optional<Generators> before;
  WithGenerators(const std::optional<Generators> &then, at::Device device) {
    if (then) {
      before.emplace(device);
      then->restore();
    }
  }
  ~WithGenerators() {
    if (before)
      before->restore();
  }
};

struct Checkpoint : autograd::Node {
  std::unique_ptr<Body> body;
  autograd::SavedVariable input;
  AutocastState autocast;
  std::optional<Generators> generators;

  autograd::variable_list apply(autograd::variable_list &&grads) override {
    std::lock_guard<std::mutex> lock(mutex_);
    TORCH_CHECK(autograd::Engine::get_default_engine().is_checkpoint_valid(),
                "gradients of chosen inputs cannot pass a recomputed block");
    if (!grads[0].defined())
      return {at::Tensor()};
    auto x = input.unpack();
    auto again = x.detach();
    again.set_requires_grad(x.requires_grad());
    at::Tensor y;
    {
      at::AutoGradMode with_gradients(true);
      WithAutocast with_autocast(autocast);
      WithGenerators with_generators(generators, x.device());
      y = (*body)(again);
    }
    if (y.requires_grad())
      autograd::backward({y}, {grads[0]});
    return {again.grad()};
  }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    input.reset_data();
    body.reset();
  }
};

} // namespace

extern "C" char *tx_checkpoint(at::Tensor *x, bool draws, void *body, Call call, Drop drop, at::Tensor **out) {
  try {
    auto owned = std::make_unique<Body>(body, call, drop);
    if (!at::GradMode::is_enabled()) {
      *out = new at::Tensor((*owned)(*x));
      return nullptr;
    }
    auto node = c10::make_intrusive<Checkpoint>();
    node->set_next_edges(autograd::collect_next_edges(*x));
    node->input = autograd::SavedVariable(*x, /*is_output=*/false);
    if (draws)
      node->generators.emplace(x->device());
    at::Tensor y;
    {
      at::AutoGradMode without_gradients(false);
      WithAutocast with_autocast(node->autocast);
      y = (*owned)(*x);
    }
    // A node can own a tensor of its own only.
    if (y.is_view() || y.is_leaf() == false || y.unsafeGetTensorImpl() == x->unsafeGetTensorImpl() || y.requires_grad())
      y = y.detach().clone();
    node->body = std::move(owned);
    autograd::set_history(y, node);
    *out = new at::Tensor(std::move(y));
    return nullptr;
  } catch (const c10::Error &e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
