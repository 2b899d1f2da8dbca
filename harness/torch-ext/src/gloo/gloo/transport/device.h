// Gloo's devices and buffers, which pass through our hands unopened. Only libtorch makes them.
#pragma once

namespace gloo::transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};
} // namespace gloo::transport
