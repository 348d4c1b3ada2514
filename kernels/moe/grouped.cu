#include "kernels/matmul/gemm.cuh"
#include "kernels/moe/grouped.h"
#include "kernels/moe/moe_dots.cuh"

namespace dsr1::kernels {
namespace {

static_assert(GemmTile::kM == kMoeTile && SmallGemmTile::kM == kSmallMoeTile);

struct SortParams {
  const int32_t* ids;
  int32_t pairs, n_expert, most_tiles, tile_rows;
  MoeOrder order;
};

constexpr int kSortThreads = 256;

struct SortStorage {
  int32_t count[kMaxExperts], first[kMaxExperts], tile[kMaxExperts];
  int32_t n_tiles;
};

// One block. Each thread keeps whole experts and walks all pairs for them: reading 4,096 ids 4 times costs less than a
// stable parallel sort would, and the order is fixed.
__global__ void __launch_bounds__(kSortThreads) moe_sort_kernel(const SortParams p) {
  auto& s = simt::shared<SortStorage>();
  for (int e = simt::thread(); e < p.n_expert; e += kSortThreads) {
    int n = 0;
    for (int i = 0; i < p.pairs; ++i) n += p.ids[i] == e ? 1 : 0;
    s.count[e] = n;
  }
  simt::sync_block();
  if (simt::thread() == 0) {
    int first = 0, tile = 0;
    for (int e = 0; e < p.n_expert; ++e) {
      s.first[e] = first;
      s.tile[e] = tile;
      first += s.count[e];
      tile += (s.count[e] + p.tile_rows - 1) / p.tile_rows;
    }
    s.n_tiles = tile;
  }
  simt::sync_block();
  for (int e = simt::thread(); e < p.n_expert; e += kSortThreads) {
    int slot = s.first[e];
    for (int i = 0; i < p.pairs; ++i)
      if (p.ids[i] == e) p.order.order[slot++] = i;
    for (int i = 0; i * p.tile_rows < s.count[e]; ++i) {
      const int left = s.count[e] - i * p.tile_rows;
      p.order.tiles[s.tile[e] + i] = {e, s.first[e] + i * p.tile_rows, left < p.tile_rows ? left : p.tile_rows};
    }
  }
  for (int t = s.n_tiles + simt::thread(); t < p.most_tiles; t += kSortThreads) p.order.tiles[t] = {0, 0, 0};
}

struct GatheredRows {
  const int32_t* order;
  int divide, count;
  DSR1_DEVICE int from(int r) const { return order[r] / divide; }
  DSR1_DEVICE int to(int r) const { return order[r]; }
};

// block_x: kN columns, block_y: tile.
template <class T, class Tr>
__global__ void __launch_bounds__(Tr::kThreads, kGemmBlocks<T>) grouped_kernel(const GroupedParams p) {
  const MoeTile tile = p.order.tiles[simt::block_y()];
  const int e = tile.expert - p.first;
  if (tile.count == 0 || e < 0 || e >= p.n) return;  // the whole block
  const Weight w = expert(p.w, e);
  gemm_tile<T, Tr>(w, 0, w.rows, nullptr, p.x, p.out, simt::block_x() * Tr::kN,
                   GatheredRows{p.order.order + tile.first, p.divide, tile.count});
}

}  // namespace

Status launch_moe_sort(const int32_t* ids, int32_t pairs, int32_t n_expert, int32_t tile_rows, const MoeOrder& order,
                       simt::Stream stream) {
  if (n_expert > kMaxExperts)
    return Error(ErrorCode::kRuntime, "sorting takes up to " + std::to_string(kMaxExperts) + " experts");
  const auto most = static_cast<int32_t>(moe_most_tiles(pairs, n_expert, tile_rows));
  return simt::launch("moe_sort", moe_sort_kernel, {}, kSortThreads, sizeof(SortStorage), stream,
                      SortParams{ids, pairs, n_expert, most, tile_rows, order});
}

Status launch_grouped(const GroupedParams& p, simt::Stream stream) {
  Status s;
  const bool known = with_type(p.w.first.type, [&]<class T>() {
    if constexpr (T::kGgufId == quant::F32::kGgufId) {
      s = Error(ErrorCode::kRuntime, "grouped: F32 weights meet float activations");
    } else {
      auto go = [&]<class Tr>(Tr) {
        return simt::launch("grouped", grouped_kernel<T, Tr>, {(p.w.first.rows + Tr::kN - 1) / Tr::kN, p.n_tiles},
                            Tr::kThreads, sizeof(typename Tr::SharedStorage), stream, p);
      };
      s = p.tile_rows == kSmallMoeTile ? go(SmallGemmTile{}) : go(GemmTile{});
    }
  });
  if (!known) return Error(ErrorCode::kRuntime, "grouped: no kernel for tensor type " + std::to_string(p.w.first.type));
  return s;
}

}  // namespace dsr1::kernels
