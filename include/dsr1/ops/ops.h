// Ops: the small vocabulary a forward pass is written in, and the views it works on.
//
// Every backend implements the primitives; fused ops have a default composition of primitives (src/ops/fused.cpp) that
// a backend overrides where it can be faster, and a test holds the two equal. Activations are float32 matrices [rows,
// n], one row a token of the batch. Calls return void so that a forward pass reads as a formula; the first failure
// sticks and sync() returns it. Unless a line says otherwise, out must not overlap an input. One thread drives an Ops
// at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dsr1/base/result.h"
#include "dsr1/tensor/tensor.h"

namespace dsr1::ops {

// Float32 activations [rows, cols] in the backend's memory; row r starts at data + r * stride.
struct Mat {
  float* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;

  float* row(int64_t r) const { return data + r * stride; }
  Mat first_rows(int64_t n) const { return {data, n, cols, stride}; }
  Mat row_range(int64_t begin, int64_t n) const { return {data + begin * stride, n, cols, stride}; }
  Mat col_range(int64_t begin, int64_t n) const { return {data + begin, rows, n, stride}; }
};

// One layer of one sequence's cache. K rows [n_head_kv][n_ctx][k_dim], V rows [n_head_kv][n_ctx][v_dim], each row
// stored as its type says. MLA: one latent head, k_dim = kv_lora_rank + rope dims, and v is null: V is the first v_dim
// values of the K row (DeepSeek-V3 report 2.1.1: only the compressed latent and the decoupled key are cached).
struct KvLayerView {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  DType k_type = DType::kF16, v_type = DType::kF16;
  int n_head_kv = 0, k_dim = 0, v_dim = 0;
  int64_t n_ctx = 0;

  size_t k_row_bytes() const { return row_bytes(k_type, k_dim); }
  size_t v_row_bytes() const { return v ? row_bytes(v_type, v_dim) : k_row_bytes(); }
  std::byte* k_row(int head, int64_t pos) const { return k + static_cast<size_t>(head * n_ctx + pos) * k_row_bytes(); }
  std::byte* v_row(int head, int64_t pos) const {
    return (v ? v : k) + static_cast<size_t>(head * n_ctx + pos) * v_row_bytes();
  }
};

// A run of consecutive tokens of one sequence inside a batch.
struct Segment {
  const KvLayerView* kv = nullptr;  // [n_layer] views of this sequence's cache
  int32_t pos = 0;                  // position of the first token
  int32_t n_rows = 0;
  bool expanded = false;  // MLA: use the expanded form. Set by the request alone (its prompt or its answer).
};

// What one forward pass works on: the rows of `segments`, in order.
struct Batch {
  std::span<const int32_t> tokens;            // [n_rows]
  std::span<const int32_t> positions;         // [n_rows]
  std::span<const Segment> segments;          // their n_rows add up to n_rows; expanded ones come first
  const std::atomic<bool>* cancel = nullptr;  // may become true at any time: the pass then ends between two layers
  int64_t n_rows() const { return static_cast<int64_t>(tokens.size()); }
};

struct MlaDims {
  int n_head = 0, kv_lora_rank = 0, nope = 0, rope = 0, v_head = 0;
};

// The largest sizes a model will ask for: what a backend plans its own workspace from.
struct Limits {
  int64_t max_rows = 0;                                     // rows of a batch
  int64_t n_layer = 1;                                      // layers of a cache
  int64_t n_vocab = 0, max_logit_rows = 0;                  // logits looked at together
  int64_t max_in = 0;                                       // columns of any weight matrix
  int64_t n_head = 0, n_head_kv = 0, k_dim = 0, v_dim = 0;  // attention; MLA: of the latent
  int64_t n_ctx = 0;
  int64_t n_expert = 0, n_expert_used = 0, n_embd = 0, n_ff_exp = 0;
  MlaDims mla;  // zeros without MLA
};

enum class RopePairing { kNorm, kNeox };  // (2i, 2i+1) or (i, i + n/2)

// Rotary embedding of one model: freq[i] rad a token for pair i; magnitude multiplies cos and sin (YaRN).
struct RopeTable {
  std::vector<float> freq;  // [n_rot / 2]
  float magnitude = 1.0f;
  RopePairing pairing = RopePairing::kNorm;
  int n_rot() const { return static_cast<int>(freq.size()) * 2; }
};

enum class Gating { kSoftmax = 1, kSigmoid = 2 };  // numbers of GGUF's expert_gating_func

// How experts are chosen (DeepSeek-V3 inference/model.py Gate; DeepSeek-V2 modelling code).
struct RouterParams {
  Gating gating = Gating::kSoftmax;
  int n_expert = 0, n_expert_used = 0;
  int n_group = 1, n_group_used = 1;  // 1 / 1: no groups
  bool normalize = false;             // divide the chosen weights by their sum
  float scale = 1.0f;                 // routed_scaling_factor
};

// Expert matrices, one view an expert: gate and up [n_ff_exp, n_embd], down [n_embd, n_ff_exp].
struct ExpertWeights {
  std::span<const TensorView> gate, up, down;
  bool on_host = false;  // left in host memory by a backend that places weights: HostExperts computes them
};

// Scratch of moe_ffn for a batch of R rows: R * n_expert_used rows each.
struct MoeScratch {
  Mat x;                       // [R * used, n_embd]    rows gathered by expert
  Mat gate, up;                // [R * used, n_ff_exp]
  Mat down;                    // [R * used, n_embd]
  int32_t* slot = nullptr;     // [R * used] where (row, k) went
  int32_t* offsets = nullptr;  // [n_expert + 1]
};

// One of several matrices applied to the same input.
struct Linear {
  const TensorView* weight;  // [out, in]
  const float* bias;         // [out] or null
  Mat out;                   // [rows, out]
};

// A gated feed-forward network: gate and up [n_ff, n_embd], down [n_embd, n_ff].
struct FfnWeights {
  const TensorView &gate, &up, &down;
};

// A matrix for each head inside one tensor seen as [all rows, cols]: head h owns rows
// first_row + h * head_rows ... + n_rows. This is how attn_kv_b holds K_h and V_h, and attn_k_b / attn_v_b one each.
struct HeadedWeight {
  const TensorView* weight = nullptr;
  int n_head = 0;
  int64_t first_row = 0, head_rows = 0, n_rows = 0;
  int64_t cols() const { return weight->cols(); }
};

// The up-projections of MLA's latent. k: [nope, kv_lora_rank] a head, or stored transposed [kv_lora_rank, nope].
struct MlaWeights {
  HeadedWeight k, v;  // v: [v_head_dim, kv_lora_rank] a head
  bool k_transposed = false;
};

// Keys of one block, expanded: mla_attention_expanded walks the cache in blocks of kMlaBlock positions.
inline constexpr int kMlaBlock = 256;
struct MlaScratch {
  Mat latent;  // [kMlaBlock, kv_lora_rank + rope]
  Mat k;       // [n_head * kMlaBlock, nope + rope]
  Mat v;       // [n_head * kMlaBlock, v_head]
  Mat state;   // [R, n_head * 2]: running maximum and sum of each row and head
};

// Bytes in a backend's memory, freed with their owner, which must go before the backend does.
class Memory {
 public:
  virtual ~Memory() = default;
  std::byte* data() const { return data_; }

 protected:
  std::byte* data_ = nullptr;
};

// A logit that bias or penalties change: l + bias; where penalized then l / repeat, or l * repeat below 0, less minus.
struct SampleAdjust {
  int32_t id = 0;
  float bias = 0, minus = 0;
  bool penalized = false;
};

// What a backend that samples is asked for one row of logits: the chain of runtime/sampler.h, as far as it is top-k,
// top-p, min-p, temperature and a draw.
struct SampleRequest {
  double uniform = 0;                          // the draw, in [0, 1)
  float temperature = 0;                       // <= 0: the largest logit
  float top_p = 1, min_p_log = 0, repeat = 1;  // min_p_log: natural logarithm; -infinity: off
  int32_t top_k = 0;                           // 0: off
  int32_t n_tokens = 0;                        // logits from here on are padding
  int32_t watched = -1;                        // another token whose logit is wanted
  std::span<const SampleAdjust> adjust;        // each id once
};

struct Sampled {
  int32_t id = 0;
  bool covered = false;                // false: nothing was chosen, the logits must be looked at
  double log_sum = 0;                  // of exp(raw logit)
  float logit = 0, watched_logit = 0;  // raw
};

// How a pass ends whose every row is looked at: logits [rows, n_vocab], and where requests are given (one a row) a
// token chosen from each. No logits: the pass leaves hidden states.
struct Ending {
  Mat logits;
  std::span<const SampleRequest> requests;
};

class Ops;

// The other half of a hybrid: who computes experts that stay in host memory while a device computes the rest.
struct HostExperts {
  Ops* ops = nullptr;         // a backend on host memory; outlives the device's
  uint64_t matrix_bytes = 0;  // the largest matrix of one expert that stays; 0: none does
  double ops_per_second = 0;  // that `ops` reaches with many rows, roughly
  int64_t stream_rows = 0;    // passes of so many rows send the weights to the device instead; 0: what is faster
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual const char* name() const = 0;  // "cpu (avx512_vnni, 2 threads)"
  // Held beside the model's scratch, where the backend computes; `host`: with experts left in host memory.
  virtual size_t workspace_bytes(const HostExperts& /*host*/ = {}) const { return 0; }
  // Allocates the workspace. Once, before the first op and after a plan said that it fits.
  virtual Status reserve(const HostExperts& /*host*/ = {}) { return {}; }
  // Experts are read from a mapped file that memory cannot hold: ask the system for chosen ones ahead of their use.
  virtual void expect_paging() {}
  // Finishes queued work; the first error since the last sync.
  virtual Status sync() { return {}; }
  // f(context, i) for i in 0..n-1, in any order: the host's own work on what a pass gave, on the backend's threads
  // where it has them. f may then run on several of them at once. Allocates nothing.
  virtual void on_threads(int64_t n, void (*f)(void* context, int64_t i), void* context) {
    for (int64_t i = 0; i < n; ++i) f(context, i);
  }

  // --- memory: activations, caches and weights live where the backend computes; by default in host memory ------------
  // Bytes for activations or a cache, to be written before they are read. kDoesNotFit with the size asked for.
  virtual Result<std::unique_ptr<Memory>> allocate(size_t bytes, std::string_view what);
  // Whether weights must be placed before they are used.
  virtual bool places_weights() const { return false; }
  // Puts weights, or floats (norms, biases), into the backend's memory and turns the views to them: from then on only
  // this backend can read them, in whatever order it keeps them. Returns their owner; null, views unchanged, by
  // default. The experts of one matrix come in one call. What is copied from must stay until the next sync.
  virtual Result<std::unique_ptr<Memory>> place(std::span<TensorView> /*views*/) { return std::unique_ptr<Memory>(); }
  virtual Result<std::unique_ptr<Memory>> place(const float*& /*values*/, int64_t /*n*/) {
    return std::unique_ptr<Memory>();
  }
  // Bytes the backend may still allocate where that is not host memory; 0: host memory.
  virtual uint64_t memory_available() const { return 0; }
  // Rows from host memory; they may change when this returns.
  virtual void upload(Mat host, Mat out) {
    for (int64_t r = 0; r < host.rows; ++r)
      std::memcpy(out.row(r), host.row(r), static_cast<size_t>(host.cols) * sizeof(float));
  }
  // Both in the backend's memory.
  virtual void copy_bytes(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  // The values of x in host memory, after everything queued; valid until the next fetch of its kind. A failure is also
  // what sync() returns next.
  virtual Result<Mat> fetch(Mat x) { return x; }
  // Ids that route() wrote: the same, for n of them.
  virtual Result<const int32_t*> fetch(const int32_t* ids, int64_t /*n*/) { return ids; }

  // Chooses a token for each row of logits. Requests may ask for top_k up to longest_sample_list() (0: this backend
  // does not sample) and hold at most kMostAdjusts. Valid until the next call.
  static constexpr size_t kMostAdjusts = 2048;
  virtual int64_t longest_sample_list() const { return 0; }
  virtual Result<std::span<const Sampled>> sample(Mat /*logits*/, std::span<const SampleRequest> /*requests*/) {
    return std::span<const Sampled>();
  }

  // Brackets of one pass over `batch`. begin_pass may say that the whole pass is queued already (replayed from an
  // earlier one of the same shape): the caller then skips to end_pass. What is in the batch may change after end_pass.
  // repeats: passes of this many rows and this ending always call the same ops with the same memory.
  // ending: what the caller computes last inside the brackets (the logits), and what the backend may then do on its own
  // (choose, or bring the logits to the host): the fetch() or sample() of these logits that follows has only to wait.
  virtual bool begin_pass(const Batch& /*batch*/, bool /*repeats*/, const Ending& /*ending*/ = {}) { return false; }
  virtual void end_pass(bool /*complete*/) {}

  // --- primitives ---------------------------------------------------------------------------------------------
  // out[r] = table[tokens[r]]; table [n_vocab, n_embd] of any type. Tokens are in range (checked by the caller).
  virtual void embed(const TensorView& table, std::span<const int32_t> tokens, Mat out) = 0;
  // Over each of cols/n groups of n: out = x / sqrt(mean(x^2) + eps) * weight, weight f32 [n]; out may be x.
  virtual void rms_norm(Mat x, const float* weight, int64_t n, float eps, Mat out) = 0;
  // out = x W^T + bias for each job; all share x [rows, in].
  virtual void linear(Mat x, std::span<const Linear> jobs) = 0;
  // out_h = W_h x_h for each head; head h of a row starts at h * stride in x and in out.
  virtual void linear_heads(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) = 0;
  // out_h = W_h^T x_h.
  virtual void linear_heads_transposed(const HeadedWeight& w, Mat x, int64_t x_stride, Mat out, int64_t out_stride) = 0;
  // cos_sin [rows, n_rot]: cos * magnitude at i, sin * magnitude at n_rot / 2 + i for pair i at each row's position.
  virtual void rope_angles(const RopeTable& table, std::span<const int32_t> positions, Mat cos_sin) = 0;
  // Rotates in place n_rot values of each head; head h of row r starts at x.row(r) + h * head_stride.
  virtual void rope(Mat x, int n_head, int64_t head_stride, RopePairing pairing, Mat cos_sin) = 0;
  // Stores k [rows, n_head_kv * k_dim] and v [rows, n_head_kv * v_dim] in the sequences' caches; v.data null for MLA.
  virtual void kv_append(const Batch& batch, int layer, Mat k, Mat v) = 0;
  // Causal attention: row r at position p sees positions 0..p of its own sequence.
  // q [rows, n_head * k_dim], out [rows, n_head * v_dim]; query head h reads KV head h / (n_head / n_head_kv).
  virtual void attention(const Batch& batch, int layer, Mat q, int n_head, float scale, Mat out) = 0;
  // The same result as absorbing (k^T q, attention over latents, v), by way of expanded keys and values.
  // q [rows, n_head * (nope + rope)], out [rows, n_head * v_head].
  virtual void mla_attention_expanded(const Batch& batch, int layer, const MlaWeights& w, const MlaDims& dims, Mat q,
                                      float scale, const MlaScratch& scratch, Mat out) = 0;
  // Expert choice: logits [rows, n_expert] are raw router outputs, bias f32 [n_expert] or null (for selection only).
  // ids and weights [rows, n_expert_used] in descending selection score, lower index first on ties.
  virtual void route(Mat logits, const float* bias, const RouterParams& params, int32_t* ids, Mat weights) = 0;
  // out = silu(gate) * up; out may be gate.
  virtual void swiglu(Mat gate, Mat up, Mat out) = 0;
  // out[i] = x[rows[i]].
  virtual void copy_rows(Mat x, std::span<const int32_t> rows, Mat out) = 0;
  // n values of each head: from x at h * x_stride to out at h * out_stride.
  virtual void copy_heads(Mat x, int64_t x_stride, Mat out, int64_t out_stride, int n_head, int64_t n) = 0;
  // out = a + b; out may be a.
  virtual void add(Mat a, Mat b, Mat out) = 0;

  // --- fused, with default compositions -------------------------------------------------------------------------
  // out = Down(silu(Gate x) * Up x); out may be x. gate, up [rows, n_ff] are scratch, and written or not. Where *cut
  // (may be null) becomes true it ends early, with out unfinished.
  virtual void ffn(Mat x, const FfnWeights& w, Mat gate, Mat up, Mat out, const std::atomic<bool>* cut);
  // out[r] = sum over the row's experts of weight * Down(silu(Gate x) * Up x). Only chosen experts are read; rows are
  // grouped by expert; each row's sum runs in the order of its ids, so a row never depends on its neighbours.
  virtual void moe_ffn(Mat x, const ExpertWeights& experts, const int32_t* ids, Mat weights, const MoeScratch& scratch,
                       Mat out);
};

}  // namespace dsr1::ops
