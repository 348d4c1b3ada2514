// Device memory for tests of kernels, over whichever runtime the program is linked with.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "backend/cuda/runtime.h"

namespace dsr1::test {

struct Device {
  Device() { stream = *backend::cuda::make_stream(); }
  ~Device() { backend::cuda::destroy_stream(stream); }
  template <class T>
  T* put(const std::vector<T>& v) {
    T* p = make<T>(v.size());
    EXPECT_TRUE(backend::cuda::copy_to_device(p, v.data(), v.size() * sizeof(T), stream));
    EXPECT_TRUE(backend::cuda::synchronize(stream));
    return p;
  }
  template <class T>
  T* make(size_t n) {
    using backend::cuda::Memory;
    memory.push_back(std::move(*Memory::allocate(Memory::Where::kDevice, n * sizeof(T), "a test")));
    return memory.back().as<T>();
  }
  template <class T>
  std::vector<T> get(const T* p, size_t n) {
    std::vector<T> v(n);
    EXPECT_TRUE(backend::cuda::copy_to_host(v.data(), p, n * sizeof(T), stream));
    const Status s = backend::cuda::synchronize(stream);
    EXPECT_TRUE(s) << (s ? "" : s.error().text());
    return v;
  }
  simt::Stream stream;
  std::vector<backend::cuda::Memory> memory;
};

}  // namespace dsr1::test
