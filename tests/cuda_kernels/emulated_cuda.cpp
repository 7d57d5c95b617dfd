// Runs the CUDA build of kernels.cu without a GPU. The threads of a block take turns on one core and change places only
// at barriers, in an order that the caller chooses: a barrier that is missing shows in one order or the other, one that
// not all threads reach is reported. It proves indices, arguments and barriers; not speed, nor races between blocks.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define __CUDACC__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static __attribute__((section("shared_memory")))

struct Index {
  unsigned x, y;
};
Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

const unsigned WARP = 32, STACK = 1 << 16;

struct Thread {
  ucontext_t start;
  jmp_buf place;
  std::vector<char> stack;
  bool started, done;
  int warp_turn, block_turn;  // how many barriers it has passed
};

std::vector<Thread> threads;
std::vector<int> warp_arrived, warp_turn;
int block_arrived, block_turn;
unsigned current;
jmp_buf scheduler;
// What threads tell each other, of this barrier and of the one before: whoever is past one may not be past the next.
std::vector<int> told_warp[2], told_block[2];

__attribute__((noipa)) void pause() {
  if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
  threadIdx = Index{current, 0};
}

// Both return which half of the boxes was used.
int warp_barrier() {
  int warp = int(current / WARP), turn = threads[current].warp_turn++;
  if (++warp_arrived[warp] == int(WARP)) warp_arrived[warp] = 0, ++warp_turn[warp];
  while (warp_turn[warp] == turn) pause();
  return turn & 1;
}

int block_barrier() {
  int turn = threads[current].block_turn++;
  if (++block_arrived == int(threads.size())) block_arrived = 0, ++block_turn;
  while (block_turn == turn) pause();
  return turn & 1;
}

}  // namespace emulation

static void __syncthreads() { emulation::block_barrier(); }

static void __syncwarp() { emulation::warp_barrier(); }

static int __syncthreads_or(int x) {
  using namespace emulation;
  told_block[threads[current].block_turn & 1][current] = x;
  const std::vector<int>& all = told_block[block_barrier()];
  return std::any_of(all.begin(), all.end(), [](int other) { return other != 0; });
}

// What the threads of this warp say.
static const int* told_in_warp(int x) {
  using namespace emulation;
  told_warp[threads[current].warp_turn & 1][current] = x;
  return told_warp[warp_barrier()].data() + current / WARP * WARP;
}

static unsigned __ballot_sync(unsigned, int x) {
  const int* all = told_in_warp(x);
  unsigned votes = 0;
  for (unsigned k = 0; k < emulation::WARP; ++k) votes |= unsigned(all[k] != 0) << k;
  return votes;
}

static int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

static float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

static float __shfl_xor_sync(unsigned, float x, int step) {
  const int* all = told_in_warp(__float_as_int(x));
  return __int_as_float(all[emulation::current % emulation::WARP ^ unsigned(step)]);
}

// As on a GPU, who has nobody so far before it gets its own.
static int __shfl_up_sync(unsigned, int x, int step) {
  const int* all = told_in_warp(x);
  int lane = int(emulation::current % emulation::WARP);
  return all[lane >= step ? lane - step : lane];
}

static void atomicAdd(float* sum, float x) { *sum += x; }
static void atomicAdd(int* sum, int x) { *sum += x; }
static int __ffs(int x) { return __builtin_ffs(x); }
static int __popc(unsigned x) { return __builtin_popcount(x); }

// In a namespace, so that ::project is the entry point alone and not the template of the same name.
namespace device_code {
#include "binning.h"
#include "blend.h"
#include "detail.h"
#include "splat.h"
#include "yuv.h"
}  // namespace device_code
using namespace device_code;
#include "kernels.cu"

namespace emulation {

enum Outcome { DONE, NO_SUCH_KERNEL, WRONG_NUMBER, WRONG_SIZE, STUCK };

void (*body)(void**);
void** body_arguments;

// A thread does not end with its block, since making one costs a call of the system: it waits to be used again.
__attribute__((noipa)) void run_thread() {
  for (;;) {
    body(body_arguments);
    threads[current].done = true;
    if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
  }
}

__attribute__((noipa)) void resume(unsigned k) {
  current = k;
  if (_setjmp(scheduler)) return;
  Thread& thread = threads[k];
  threadIdx = Index{k, 0};
  if (thread.started) _longjmp(thread.place, 1);
  getcontext(&thread.start);
  thread.stack.resize(STACK);
  thread.start.uc_stack.ss_sp = thread.stack.data();
  thread.start.uc_stack.ss_size = STACK;
  thread.start.uc_link = nullptr;
  makecontext(&thread.start, run_thread, 0);
  thread.started = true;
  setcontext(&thread.start);
}

extern "C" char __start_shared_memory[], __stop_shared_memory[];

// A warp runs on for as long as it can, so that what is too early for the others shows.
bool run_block(const std::vector<unsigned>& order) {
  for (Thread& thread : threads) thread.done = false, thread.warp_turn = thread.block_turn = 0;
  warp_arrived.assign(threads.size() / WARP, 0);
  warp_turn.assign(threads.size() / WARP, 0);
  block_arrived = block_turn = 0;
  std::memset(__start_shared_memory, 0x5A, size_t(__stop_shared_memory - __start_shared_memory));
  for (;;) {
    bool all_done = true, moved = false;
    for (size_t warp = 0; warp < order.size(); warp += WARP)
      for (bool moves = true; moves;) {
        moves = false;
        for (size_t lane = 0; lane < WARP; ++lane) {
          unsigned k = order[warp + lane];
          Thread& thread = threads[k];
          if (thread.done) continue;
          all_done = false;
          if (thread.warp_turn > warp_turn[k / WARP] || thread.block_turn > block_turn) continue;
          moves = moved = true;
          resume(k);
        }
      }
    if (all_done) return true;
    if (moved) continue;
    for (Thread& thread : threads) thread.started = false;  // what waits in vain is given up
    return false;
  }
}

template <typename... Types, size_t... place>
void call(void (*kernel)(Types...), void** arguments, std::index_sequence<place...>) {
  kernel(*static_cast<std::remove_const_t<Types>*>(arguments[place])...);
}

template <auto kernel, typename... Types>
Outcome launch(void (*)(Types...), unsigned blocks_x, unsigned blocks_y, unsigned block_threads, int order_seed,
               int count, void** arguments, const int* sizes) {
  const int wanted[] = {int(sizeof(Types))...};
  if (count != int(sizeof...(Types))) return WRONG_NUMBER;
  if (!std::equal(wanted, wanted + count, sizes)) return WRONG_SIZE;
  body = [](void** given) { call(kernel, given, std::index_sequence_for<Types...>()); };
  body_arguments = arguments;
  threads.resize(block_threads);
  for (int half = 0; half < 2; ++half) {
    told_warp[half].assign(block_threads, 0);
    told_block[half].assign(block_threads, 0);
  }
  std::vector<unsigned> order(block_threads);
  std::vector<unsigned> warps(block_threads / WARP), lanes(WARP);
  std::iota(warps.begin(), warps.end(), 0u);
  std::iota(lanes.begin(), lanes.end(), 0u);
  std::mt19937 random{unsigned(order_seed)};
  if (order_seed > 1) std::shuffle(warps.begin(), warps.end(), random);
  for (unsigned k = 0; k < block_threads; ++k) {
    if (order_seed > 1 && k % WARP == 0) std::shuffle(lanes.begin(), lanes.end(), random);
    order[k] = warps[k / WARP] * WARP + lanes[k % WARP];
  }
  if (order_seed == 1) std::reverse(order.begin(), order.end());
  blockDim = Index{block_threads, 1};
  gridDim = Index{blocks_x, blocks_y};
  for (unsigned k = 0, blocks = blocks_x * blocks_y; k < blocks; ++k) {
    unsigned block = order_seed == 1 ? blocks - 1 - k : k;
    blockIdx = Index{block % blocks_x, block / blocks_x};
    if (!run_block(order)) return STUCK;
  }
  return DONE;
}

}  // namespace emulation

// `arguments` and `sizes` as cuLaunchKernel takes them: where each argument lies, and its bytes.
extern "C" int emulate(const char* name, unsigned blocks_x, unsigned blocks_y, unsigned block_threads, int order_seed,
                       int count, void** arguments, const int* sizes) {
#define ENTRY(kernel)                                                                                               \
  if (!std::strcmp(name, #kernel))                                                                                  \
    return emulation::launch<&::kernel>(&::kernel, blocks_x, blocks_y, block_threads, order_seed, count, arguments, \
                                        sizes);
  ENTRY(project)
  ENTRY(composite_forward)
  ENTRY(composite_backward)
  ENTRY(project_backward)
  ENTRY(project_slots)
  ENTRY(count_digits)
  ENTRY(scatter_by_digit)
  ENTRY(sum_pairs)
  ENTRY(emit_pairs)
  ENTRY(list_tiles)
  ENTRY(refiner_input_float32)
  ENTRY(refiner_input_bfloat16)
  ENTRY(blend_portrait_float32)
  ENTRY(blend_portrait_bfloat16)
  ENTRY(rgb_to_yuv_float32)
  ENTRY(rgb_to_yuv_bfloat16)
  return emulation::NO_SUCH_KERNEL;
}
