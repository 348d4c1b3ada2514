#include <cmath>
#include <cstring>

#include "arch.h"
#include "dsr1/quant/dequantize.h"

namespace dsr1::model {
namespace {

std::string shape_text(std::initializer_list<int64_t> shape) {
  std::string s = "[";
  for (int64_t n : shape) s += (s.size() > 1 ? ", " : "") + std::to_string(n);
  return s + "]";
}

}  // namespace

void ConfigReader::fail(std::string message) {
  if (status_) status_ = Error(ErrorCode::kModel, std::move(message));
}

int64_t ConfigReader::check_range(std::string_view key, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return value;
  fail(name(key) + " is " + std::to_string(value) + ", expected " + std::to_string(min) + " to " + std::to_string(max));
  return min;
}

double ConfigReader::check_range(std::string_view key, double value, double min, double max) {
  if (std::isfinite(value) && value >= min && value <= max) return value;
  fail(name(key) + " is " + std::to_string(value) + ", expected " + std::to_string(min) + " to " + std::to_string(max));
  return min;
}

int64_t ConfigReader::integer(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  auto v = metadata_.get_u32(name(key));
  if (!v) {
    if (status_) status_ = v.error();
    return min;
  }
  return *v ? check_range(key, **v, min, max) : fallback;
}

int64_t ConfigReader::required(std::string_view key, int64_t min, int64_t max) {
  if (!has(key)) fail("required key " + name(key) + " is missing");
  return integer(key, min, min, max);
}

int64_t ConfigReader::uniform(std::string_view key, size_t n_layer, int64_t fallback, int64_t min, int64_t max) {
  auto v = metadata_.get_u32_per_layer(name(key), n_layer);
  if (!v) {
    if (status_) status_ = v.error();
    return min;
  }
  if (!*v) return fallback;
  for (uint32_t n : **v) {
    if (n != (**v)[0]) {
      fail(name(key) + " differs between layers (" + std::to_string((**v)[0]) + " and " + std::to_string(n) +
           "); such models are not supported");
      return min;
    }
  }
  return check_range(key, (**v)[0], min, max);
}

int64_t ConfigReader::required_uniform(std::string_view key, size_t n_layer, int64_t min, int64_t max) {
  if (!has(key)) fail("required key " + name(key) + " is missing");
  return uniform(key, n_layer, min, min, max);
}

double ConfigReader::real(std::string_view key, double fallback, double min, double max) {
  auto v = metadata_.get_f32(name(key));
  if (!v) {
    if (status_) status_ = v.error();
    return min;
  }
  return *v ? check_range(key, static_cast<double>(**v), min, max) : fallback;
}

double ConfigReader::required_real(std::string_view key, double min, double max) {
  if (!has(key)) fail("required key " + name(key) + " is missing");
  return real(key, min, min, max);
}

bool ConfigReader::flag(std::string_view key, bool fallback) {
  auto v = metadata_.get_bool(name(key));
  if (!v) {
    if (status_) status_ = v.error();
    return fallback;
  }
  return v->value_or(fallback);
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) {
  auto v = metadata_.get_string(name(key));
  if (!v) {
    if (status_) status_ = v.error();
    return std::string(fallback);
  }
  return std::string(v->value_or(fallback));
}

void TensorBinder::fail(std::string message) {
  if (status_) status_ = Error(ErrorCode::kModel, std::move(message));
}

bool TensorBinder::check(const std::string& name, const TensorView& t, Shape shape) {
  // GGUF drops trailing (our leading) ones, and ik's files store {heads, rows, cols} as {heads * rows, cols}.
  int64_t rows = 1, cols = *(shape.end() - 1);
  for (auto it = shape.begin(); it != shape.end() - 1; ++it) rows *= *it;
  if (t.cols() != cols || t.rows() != rows) {
    fail("tensor " + name + " has shape " + t.shape_text() + ", expected " + shape_text(shape));
    return false;
  }
  return true;
}

void TensorBinder::matrix(TensorView& field, const std::string& name, Shape shape, bool required) {
  const io::TensorInfo* t = file_.find(name);
  if (t == nullptr) {
    if (required) fail("tensor " + name + " is missing, expected with shape " + shape_text(shape));
    return;
  }
  if (check(name, t->view, shape)) field = t->view;
}

void TensorBinder::vector(const float*& field, const std::string& name, int64_t n, bool required) {
  const io::TensorInfo* info = file_.find(name);
  if (info == nullptr) {
    if (required) fail("tensor " + name + " is missing, expected with shape [" + std::to_string(n) + "]");
    return;
  }
  const TensorView* t = &info->view;
  if (t->elements() != n || t->cols() != n) {
    fail("tensor " + name + " has shape " + t->shape_text() + ", expected [" + std::to_string(n) + "]");
    return;
  }
  if (t->dtype != DType::kF32 && t->dtype != DType::kF16 && t->dtype != DType::kBF16) {
    fail("tensor " + name + " has type " + dtype_name(t->dtype) + ", expected F32, F16 or BF16");
    return;
  }
  if (!require_data_) return;
  auto& copy = model_.floats_.emplace_back(static_cast<size_t>(n));
  quant::dequantize_row(*t, 0, copy.data());
  field = copy.data();
}

void TensorBinder::experts(std::vector<TensorView>& field, const std::string& name, int64_t n_expert, int64_t rows,
                           int64_t cols) {
  auto found = file_.experts(name);
  if (!found) {
    if (status_) status_ = found.error();
    return;
  }
  if (found->size() != static_cast<size_t>(n_expert)) {
    return fail(found->empty()
                    ? "tensor " + name + " is missing, expected with shape " + shape_text({n_expert, rows, cols})
                    : "tensor " + name + " holds " + std::to_string(found->size()) + " experts of shape " +
                          found->front().shape_text() + ", expected " + std::to_string(n_expert) + " of shape " +
                          shape_text({rows, cols}));
  }
  for (const TensorView& t : *found)
    if (!check(name, t, {rows, cols})) return;
  field = std::move(*found);
}

}  // namespace dsr1::model
