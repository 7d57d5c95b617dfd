// Runs the CUDA build of kernels.cu without a GPU. The threads of a block take turns on one core and change places only
// at barriers, in an order that the caller chooses: a barrier that is missing shows in one order or the other, one that
// not all threads reach is reported. It proves indices, arguments and barriers; not speed, nor races between blocks.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define __CUDACC__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static

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
std::vector<float> told_floats[2];
std::vector<int> told_ints[2];

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

static int __syncthreads_or(int x) {
  using namespace emulation;
  told_ints[threads[current].block_turn & 1][current] = x;
  const std::vector<int>& told = told_ints[block_barrier()];
  return std::any_of(told.begin(), told.end(), [](int other) { return other != 0; });
}

static unsigned __ballot_sync(unsigned, int x) {
  using namespace emulation;
  told_floats[threads[current].warp_turn & 1][current] = x ? 1.f : 0.f;
  const std::vector<float>& told = told_floats[warp_barrier()];
  unsigned votes = 0, first = current / WARP * WARP;
  for (unsigned k = 0; k < WARP; ++k) votes |= unsigned(told[first + k] != 0) << k;
  return votes;
}

static float __shfl_xor_sync(unsigned, float x, int step) {
  using namespace emulation;
  told_floats[threads[current].warp_turn & 1][current] = x;
  return told_floats[warp_barrier()][current ^ unsigned(step)];
}

static void atomicAdd(float* sum, float x) { *sum += x; }
static int __ffs(int x) { return __builtin_ffs(x); }

// In a namespace, so that ::project is the entry point alone and not the template of the same name.
namespace device_code {
#include "i420.h"
#include "splat.h"
}  // namespace device_code
using namespace device_code;
#include "kernels.cu"

namespace emulation {

enum Outcome { DONE, NO_SUCH_KERNEL, WRONG_NUMBER, WRONG_SIZE, STUCK };

void (*body)(void**);
void** body_arguments;

void run_thread() {
  body(body_arguments);
  threads[current].done = true;
  _longjmp(scheduler, 1);
}

__attribute__((noipa)) void resume(unsigned k) {
  current = k;
  if (_setjmp(scheduler)) return;
  Thread& thread = threads[k];
  threadIdx = Index{k, 0};
  if (thread.started) _longjmp(thread.place, 1);
  thread.started = true;
  setcontext(&thread.start);
}

bool run_block(const std::vector<unsigned>& order) {
  for (Thread& thread : threads) {
    getcontext(&thread.start);
    thread.stack.resize(STACK);
    thread.start.uc_stack.ss_sp = thread.stack.data();
    thread.start.uc_stack.ss_size = STACK;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, run_thread, 0);
    thread.started = thread.done = false;
    thread.warp_turn = thread.block_turn = 0;
  }
  warp_arrived.assign(threads.size() / WARP, 0);
  warp_turn.assign(threads.size() / WARP, 0);
  block_arrived = block_turn = 0;
  for (;;) {
    bool all_done = true, moved = false;
    for (unsigned k : order) {
      Thread& thread = threads[k];
      if (thread.done) continue;
      all_done = false;
      bool waits = thread.started && (thread.warp_turn > warp_turn[k / WARP] || thread.block_turn > block_turn);
      if (waits) continue;
      moved = true;
      resume(k);
    }
    if (all_done) return true;
    if (!moved) return false;
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
    told_floats[half].assign(block_threads, 0);
    told_ints[half].assign(block_threads, 0);
  }
  std::vector<unsigned> order(block_threads);
  for (unsigned k = 0; k < block_threads; ++k) order[k] = order_seed == 1 ? block_threads - 1 - k : k;
  if (order_seed > 1) std::shuffle(order.begin(), order.end(), std::mt19937(unsigned(order_seed)));
  blockDim = Index{block_threads, 1};
  gridDim = Index{blocks_x, blocks_y};
  for (unsigned y = 0; y < blocks_y; ++y)
    for (unsigned x = 0; x < blocks_x; ++x) {
      blockIdx = Index{x, y};
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
  return emulation::NO_SUCH_KERNEL;
}
