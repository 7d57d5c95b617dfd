// Binning on a GPU: which Gaussians each tile composites, front to back. The lists are those of cpu_splat.cpp and
// binning.py, but buffers have a fixed size and counts stay on the device, so that a CUDA graph can hold all of it.
//
// A view's Gaussians are sorted by depth, then their pairs (tile, Gaussian) are emitted in that order and sorted by
// tile, which keeps the order within a tile. Sorting pairs by both at once would take 5 passes over the pairs instead
// of 3 over the Gaussians and 1 or 2 over the pairs, of which there are two to four times as many.
//
// blockIdx.y is the view. The gridDim.x blocks of a view share its items evenly (chunk_of), however many there are.
// What blocks must tell each other is told from one kernel to the next, and each adds up what all have told: with 16 to
// 32 blocks a view 1 to 4 MB a pass, from the L2 cache, beside 2.6 MB of items (82k, read three times and written
// once). Decoupled look-back would read the items once and nothing else, and so save about half of a pass: by
// arithmetic 10 us at 32 views, where compositing takes hundreds. But it has blocks wait for blocks, and no test
// without a GPU can show that to be right.
#pragma once
#include "splat.h"

#define BLOCK 256
#define WARP_LANES 32
#define WARPS 8
#define MOST_DIGITS 1024  // a pass sorts by up to 10 bits: the counters of 8 warps take 32 KiB of shared memory
#define DEPTH_BITS 30

struct alignas(8) Item {
  unsigned key;
  int value;
};

struct alignas(16) Four {
  int n[4];
};

struct Chunk {
  int first, last;
};

// The items of this block; a multiple of BLOCK, so that warps can share them evenly.
DEVICE Chunk chunk_of(int count) {
  int each = (count + int(gridDim.x) - 1) / int(gridDim.x);
  each = (each + BLOCK - 1) / BLOCK * BLOCK;
  int first = smaller(int(blockIdx.x) * each, count);
  return Chunk{first, smaller(first + each, count)};
}

// Depths of at least `near` sort as their bits do. 30 bits reach from `near` to 2^128 times as far.
DEVICE unsigned depth_key(float depth, float near) {
  unsigned key = unsigned(__float_as_int(depth)) - unsigned(__float_as_int(near));
  return smaller(key, (1u << DEPTH_BITS) - 1u);
}

DEVICE int tiles_of(Box box) {
  return (((box.x1 + 3) >> 2) - (box.x0 >> 2)) * (((box.y1 + 3) >> 2) - (box.y0 >> 2));
}

// The sum of x over the threads up to this one, and over all. Every thread of the block must arrive.
DEVICE int block_scan(int x, int& all) {
  __shared__ int sums[WARPS];
  const int lane = int(threadIdx.x % WARP_LANES), warp = int(threadIdx.x / WARP_LANES);
  for (int step = 1; step < WARP_LANES; step *= 2) {
    int other = __shfl_up_sync(0xFFFFFFFFu, x, step);
    if (lane >= step) x += other;
  }
  if (lane == WARP_LANES - 1) sums[warp] = x;
  __syncthreads();
  all = 0;
  for (int k = 0; k < WARPS; ++k) {
    if (k == warp) x += all;
    all += sums[k];
  }
  __syncthreads();  // before sums is written again
  return x;
}

DEVICE unsigned digit_of(Item item, int bits, int shift) { return (item.key >> shift) & ((1u << bits) - 1u); }

// Rows of a histogram are read four digits at once.
DEVICE int row_of_digits(int bits) { return larger(1 << bits, 4); }

// First half of a pass of the sort: how often each digit occurs in each block's chunk. A digit is `bits` bits of the
// key, from `shift` on. Views lie `room` items apart. histograms: [views, blocks, row_of_digits].
extern "C" __global__ void __launch_bounds__(BLOCK)
    count_digits(int bits, int shift, int room, const int* counts, const Item* items, int* histograms) {
  __shared__ int bins[MOST_DIGITS];
  const int digits = row_of_digits(bits);
  for (int d = int(threadIdx.x); d < digits; d += BLOCK) bins[d] = 0;
  __syncthreads();
  const Chunk chunk = chunk_of(counts[blockIdx.y]);
  const Item* own = items + size_t(blockIdx.y) * room;
  for (int i = chunk.first + int(threadIdx.x); i < chunk.last; i += BLOCK)
    atomicAdd(&bins[digit_of(own[i], bits, shift)], 1);
  __syncthreads();
  int* histogram = histograms + (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * digits;
  for (int d = int(threadIdx.x); d < digits; d += BLOCK) histogram[d] = bins[d];
}

// Second half: puts every item in its place. Stable: of one digit, what came first stays first.
extern "C" __global__ void __launch_bounds__(BLOCK)
    scatter_by_digit(int bits, int shift, int room, const int* counts, const Item* items, const int* histograms,
                     Item* sorted) {
  // First how often a digit occurs in a warp's part, then where its next item goes.
  __shared__ int places[WARPS][MOST_DIGITS];
  const int digits = row_of_digits(bits);
  const int lane = int(threadIdx.x % WARP_LANES), warp = int(threadIdx.x / WARP_LANES);
  const Chunk chunk = chunk_of(counts[blockIdx.y]);
  if (chunk.first >= chunk.last) return;  // the whole block
  const Item* own = items + size_t(blockIdx.y) * room;
  Item* target = sorted + size_t(blockIdx.y) * room;
  const int part = (chunk.last - chunk.first + BLOCK - 1) / BLOCK * WARP_LANES;  // of a warp
  const int first = smaller(chunk.first + warp * part, chunk.last), last = smaller(first + part, chunk.last);

  for (int w = 0; w < WARPS; ++w)
    for (int d = int(threadIdx.x); d < digits; d += BLOCK) places[w][d] = 0;
  __syncthreads();
  for (int i = first + lane; i < last; i += WARP_LANES)
    atomicAdd(&places[warp][digit_of(own[i], bits, shift)], 1);
  __syncthreads();

  const Four* histogram = reinterpret_cast<const Four*>(histograms) + size_t(blockIdx.y) * gridDim.x * (digits / 4);
  const bool has_digits = 4 * int(threadIdx.x) < digits;
  Four all = {}, before = {};  // items of this thread's digits, in all blocks and in those before
  if (has_digits) {
  #pragma unroll 8
    for (int b = 0; b < int(gridDim.x); ++b) {
      const Four there = histogram[b * (digits / 4) + int(threadIdx.x)];
      for (int k = 0; k < 4; ++k) all.n[k] += there.n[k], before.n[k] += b < int(blockIdx.x) ? there.n[k] : 0;
    }
  }
  const int own_sum = all.n[0] + all.n[1] + all.n[2] + all.n[3];
  int sum, place = block_scan(own_sum, sum) - own_sum;
  if (has_digits)
    for (int k = 0; k < 4; ++k) {
      int next = place + before.n[k];
      place += all.n[k];
      for (int w = 0; w < WARPS; ++w) {
        int here = places[w][4 * threadIdx.x + k];
        places[w][4 * threadIdx.x + k] = next;
        next += here;
      }
    }
  __syncthreads();

  for (int base = first; base < last; base += WARP_LANES) {  // the same rounds for all threads of the warp
    const int i = base + lane;
    const bool there = i < last;
    const Item item = there ? own[i] : Item{0u, 0};
    const unsigned digit = digit_of(item, bits, shift);
    unsigned equal = __ballot_sync(0xFFFFFFFFu, there);  // lanes of the same digit
    for (int bit = 0; bit < bits; ++bit) {
      unsigned set = __ballot_sync(0xFFFFFFFFu, int((digit >> bit) & 1u));
      equal &= (digit >> bit) & 1u ? set : ~set;
    }
    const int earlier = __popc(equal & ((1u << lane) - 1u));
    int* place = &places[warp][digit];
    const int at = there ? *place + earlier : 0;
    __syncwarp();
    if (there && !earlier) *place += __popc(equal);
    __syncwarp();
    if (there) target[at] = item;
  }
}

// How many pairs the Gaussians of each block's chunk have, in the order of their depths. sums: [views, blocks].
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_pairs(int most, int room, const int* counts, const Item* order, const Box* boxes, long long* sums) {
  const Chunk chunk = chunk_of(counts[blockIdx.y]);
  const Item* own = order + size_t(blockIdx.y) * room;
  const Box* own_boxes = boxes + size_t(blockIdx.y) * most;
  long long total = 0;
  for (int base = chunk.first; base < chunk.last; base += BLOCK) {
    const int rank = base + int(threadIdx.x);
    int sum;
    block_scan(rank < chunk.last ? tiles_of(own_boxes[own[rank].value]) : 0, sum);
    total += sum;
  }
  if (threadIdx.x == 0) sums[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = total;
}

// Writes the pairs, front to back: (tile, Gaussian). From the first Gaussian on whose pairs would be more than
// `capacity` none is written; how many are is in kept, how many are not in left_out.
extern "C" __global__ void __launch_bounds__(BLOCK)
    emit_pairs(int most, int room, Frame frame, int capacity, const int* counts, const Item* order, const Box* boxes,
               const long long* sums, Item* pairs, int* kept, long long* left_out) {
  __shared__ int ends[BLOCK];  // of each Gaussian's pairs, among those of this round
  __shared__ int ids[BLOCK];
  __shared__ Box round_boxes[BLOCK];
  __shared__ int fit;
  const Chunk chunk = chunk_of(counts[blockIdx.y]);
  const Item* own = order + size_t(blockIdx.y) * room;
  const Box* own_boxes = boxes + size_t(blockIdx.y) * most;
  Item* target = pairs + size_t(blockIdx.y) * room;
  long long before = 0, total = 0;
  for (int b = 0; b < int(gridDim.x); ++b) {
    if (b == int(blockIdx.x)) before = total;
    total += sums[size_t(blockIdx.y) * gridDim.x + b];
  }
  if (blockIdx.x == 0 && threadIdx.x == 0 && total <= capacity) kept[blockIdx.y] = int(total), left_out[blockIdx.y] = 0;

  for (int base = chunk.first; base < chunk.last && before <= capacity; base += BLOCK) {
    const int rank = base + int(threadIdx.x);
    int mine = 0, sum;
    if (rank < chunk.last) {
      const int id = own[rank].value;
      ids[threadIdx.x] = id;
      round_boxes[threadIdx.x] = own_boxes[id];
      mine = tiles_of(own_boxes[id]);
    }
    const int end = block_scan(mine, sum);
    ends[threadIdx.x] = end;
    if (before + sum <= capacity) {
      if (threadIdx.x == 0) fit = sum;
    } else if (before + end > capacity && before + end - mine <= capacity) {  // one thread of the view
      fit = end - mine;
      kept[blockIdx.y] = int(before) + fit;
      left_out[blockIdx.y] = total - before - fit;
    }
    __syncthreads();
    // A thread writes every 256th pair, whosever it is: a Gaussian before the whole picture keeps no thread waiting.
    for (int p = int(threadIdx.x); p < fit; p += BLOCK) {
      int k = 0;
      for (int step = BLOCK / 2; step; step /= 2)
        if (ends[k + step - 1] <= p) k += step;
      const Box box = round_boxes[k];
      const int left = box.x0 >> 2, wide = ((box.x1 + 3) >> 2) - left, nth = p - (k ? ends[k - 1] : 0);
      const int tile = ((box.y0 >> 2) + nth / wide) * frame.tiles_x + left + nth % wide;
      target[before + p] = Item{unsigned(tile), ids[k]};
    }
    __syncthreads();
    before += sum;
  }
}

// From sorted pairs to the lists that are composited, and where each tile's begins.
extern "C" __global__ void __launch_bounds__(BLOCK)
    list_tiles(int room, Frame frame, int capacity, const int* kept, const Item* pairs, int* starts, int* lists) {
  const int count = kept[blockIdx.y], tiles = frame.tiles_x * frame.tiles_y;
  const int thread = int(blockIdx.x * BLOCK + threadIdx.x), threads = int(gridDim.x) * BLOCK;
  const Item* own = pairs + size_t(blockIdx.y) * room;
  for (int i = thread; i < count; i += threads) lists[size_t(blockIdx.y) * capacity + i] = own[i].value;
  for (int tile = thread; tile <= tiles; tile += threads) {
    int low = 0, high = count;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if (own[middle].key < unsigned(tile))
        low = middle + 1;
      else
        high = middle;
    }
    starts[size_t(blockIdx.y) * (tiles + 1) + tile] = low;
  }
}
