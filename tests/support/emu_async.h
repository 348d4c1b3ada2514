// The emulator's part for sm_90a: mbarriers, bulk copies and the products of warpgroups (simt.h, "sm_90a").
//
// A bulk copy lands when its barrier's phase completes and is poison before. A product reads its matrices when it is
// issued and again when it is waited for, which must give the same, and holds its registers (as poison) in between.
// Errors: a barrier nobody initialised, whose phase never completes (with what is missing), or with more arrivals than
// it was made for; matrices that were not written, have not landed, or were stored by a thread that has not fenced them
// from the async proxy since; a product without wgmma_fence, never waited for, by part of a warpgroup, or whose
// registers or matrices are touched while it runs. A completed phase is taken as order for the whole block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace dsr1::simt::emu {

void mbarrier_init(void* barrier, int arrivals);
void mbarrier_arrive(void* barrier, int64_t bytes);
void mbarrier_wait(void* barrier, int parity);
void fence_async_proxy();
void bulk_copy(void* to, const void* from, int64_t bytes, void* barrier);
uint64_t wgmma_matrix(const void* p);
void wgmma_fence();
uint64_t wgmma_matrix_n_major(const void* p, int panel_bytes);
// d: a thread's n values of 64 rows by 2 n columns; n_major: b is wgmma_matrix_n_major's.
void wgmma(float* d, int n, uint64_t a, uint64_t b, bool n_major, float (*to_float)(uint16_t));
void wgmma_commit();
void wgmma_wait(int pending);

// --- called by emulator.cpp ---------------------------------------------------------------------------------------

void async_begin_block();
void async_end_thread();
std::string async_end_block();           // what is wrong; empty where nothing is
std::string async_waiting(int thread);   // what a sleeping thread waits for
void async_stored(size_t at, size_t n);  // an ordinary store to shared memory

// --- lent by emulator.cpp -----------------------------------------------------------------------------------------

[[noreturn]] void fail_here(const std::string& what);
void check_access(const void* p, size_t bytes, bool is_write);
std::byte* shared_base();
bool in_shared(const void* p, size_t bytes);
bool in_device(const void* p);
void put_in_flight(void* p, size_t bytes);  // poison until land()
void land(void* p, const void* from, size_t bytes);
void next_epoch();    // what the block's threads did is ordered before what they do from now on
void sleep_thread();  // until somebody calls wake_sleepers
void wake_sleepers();

}  // namespace dsr1::simt::emu
