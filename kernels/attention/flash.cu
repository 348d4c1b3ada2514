#include "kernels/attention/flash.cuh"
#include "kernels/attention/mla.h"

namespace dsr1::kernels {
namespace {

constexpr int kPromptWarps = 8;

// Joins the splits of a row and head (block_x: head, block_y: row): each weighs 2^(its log-sum), in order.
__global__ void __launch_bounds__(128) flash_join_kernel(const FlashParams p) {
  const AttentionParams& a = p.a;
  const int64_t pairs = int64_t{a.batch.rows} * a.n_head, pair = int64_t{simt::block_y()} * a.n_head + simt::block_x();
  const int width = a.cache.v_dim + 1;
  float largest = -INFINITY;
  for (int s = 0; s < p.plan.n_splits; ++s) {
    const float l = p.plan.partial[(s * pairs + pair) * width + a.cache.v_dim];
    largest = l > largest ? l : largest;
  }
  for (int c = simt::thread(); c < a.cache.v_dim; c += 128) {
    float sum = 0, out = 0;
    for (int s = 0; s < p.plan.n_splits; ++s) {
      const float* part = p.plan.partial + (s * pairs + pair) * width;
      const float weight = simt::exp2(part[a.cache.v_dim] - largest);
      sum += weight;
      out = simt::fma(weight, part[c], out);
    }
    a.out.data[simt::block_y() * a.out.stride + int64_t{simt::block_x()} * a.cache.v_dim + c] = out / sum;
  }
}

int group_of(const AttentionParams& p) { return p.n_head / p.cache.n_head_kv; }

}  // namespace

const char* flash_declines(const AttentionParams& p) {
  if (p.cache.v_row_bytes == 0) return "keys and values are one latent";
  if (p.cache.k_type != p.cache.v_type) return "keys and values are of different types";
  if (p.cache.k_type != KvF16::kType && p.cache.k_type != KvQ8::kType) return "the cache is neither F16 nor Q8_0";
  if (p.cache.k_dim > 128 || p.cache.v_dim > 128) return "heads are wider than 128";
  if (p.cache.k_dim % 8 != 0 || p.cache.v_dim % 8 != 0) return "heads are not multiples of 8 wide";
  if (group_of(p) > 16) return "more than 16 heads share a KV head";
  return nullptr;
}

int32_t flash_prompt_tokens(const AttentionParams& p) { return 16 * kPromptWarps / group_of(p); }

Status launch_flash(const AttentionParams& p, const FlashPlan& plan, simt::Stream stream) {
  if (const char* why = flash_declines(p)) return Error(ErrorCode::kRuntime, std::string("flash attention: ") + why);
  const FlashParams params{p, plan, group_of(p)};
  const simt::Grid grid{p.cache.n_head_kv, (p.batch.rows + plan.tokens_per_tile - 1) / plan.tokens_per_tile,
                        plan.n_splits};
  auto go = [&]<class Kv, class Tr>(Kv, Tr) {
    return simt::launch("flash", flash_kernel<Kv, Tr>, grid, Tr::kThreads, sizeof(typename Tr::SharedStorage), stream,
                        params);
  };
  auto of_type = [&]<class Tr>(Tr tr) { return p.cache.k_type == KvF16::kType ? go(KvF16{}, tr) : go(KvQ8{}, tr); };
  auto of_dim = [&]<int kWarps>() {
    return p.cache.k_dim <= 64 && p.cache.v_dim <= 64 ? of_type(FlashTraits<kWarps, 64>{})
                                                      : of_type(FlashTraits<kWarps, 128>{});
  };
  DSR1_TRY_STATUS(plan.tokens_per_tile == 1 ? of_dim.template operator()<1>()
                                            : of_dim.template operator()<kPromptWarps>());
  return plan.n_splits == 1 ? Status() : launch_flash_join(p, plan, stream);
}

Status launch_flash_join(const AttentionParams& p, const FlashPlan& plan, simt::Stream stream) {
  return simt::launch("flash_join", flash_join_kernel, {p.n_head, p.batch.rows}, 128, 0, stream,
                      FlashParams{p, plan, 1});
}

}  // namespace dsr1::kernels
