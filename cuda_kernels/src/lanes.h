// The lane language: what lets one kernel source run as CUDA blocks and as CPU vectors.
//
// A kernel works on a tile of 16 x 16 pixels, cut into 16 cells of 4 x 4. On CUDA one thread is one pixel
// (cell = thread / 16, lane = thread % 16) and Lanes<real> is a scalar. On the CPU one call is one tile, the
// cells are visited in a loop, and Lanes<real> is a vector: a cell in one step (AVX-512) or in several.
//
//   CELLS(cell, mask)     the body runs for the cells whose bit is set in mask; CUDA: other threads skip it
//   LANES(lane)           the body runs for the lanes of that cell; lane is the first lane of the vector
//   PerLane<real>         a value per pixel that lives through the kernel; at(state, cell, lane) reaches it
//   COOPERATE(k, n)       the body runs once for each k < n, in any thread
//   SYNC()                barrier of the block: only in block-uniform control flow, never inside CELLS or LANES
//   live_cells(state, l)  mask of the cells in which some lane of state is >= l; CUDA: only this thread's own
//   ANY_IN_BLOCK(x)       whether x is non-zero in any thread of the block; a barrier on CUDA
//   add_over_lanes(p, v)  *p += sum of v over all lanes; CUDA: the whole warp must arrive, and p is shared by blocks
#pragma once

#define CELL_LANES 16
#define TILE_LANES 256
#define ALL_CELLS 0xFFFFu

#ifdef __CUDACC__

  #define DEVICE static __device__ __forceinline__
  #define SHARED __shared__
  #define BATCH 128
  #define SYNC() __syncthreads()
  #define ANY_IN_BLOCK(x) __syncthreads_or(x)
  #define CELLS(cell, mask) if (unsigned cell = threadIdx.x / CELL_LANES; ((mask) >> cell) & 1u)
  #define LANES(lane) for (unsigned lane = threadIdx.x % CELL_LANES, once_ = 1; once_; once_ = 0)
  #define COOPERATE(k, n) for (int k = threadIdx.x; k < (n); k += TILE_LANES)

template <typename real>
struct LanesOf {
  typedef real type;
};

template <typename real>
struct PerLane {
  real value;
};

template <typename real>
DEVICE real& at(PerLane<real>& state, unsigned, unsigned) {
  return state.value;
}

template <typename real>
DEVICE real lane_x(unsigned lane) {
  return real(lane & 3);
}

template <typename real>
DEVICE real lane_y(unsigned lane) {
  return real(lane >> 2);
}

template <typename real>
DEVICE unsigned live_cells(const PerLane<real>& state, real limit) {
  return state.value >= limit ? ALL_CELLS : 0u;
}

template <typename real>
DEVICE void add_over_lanes(real* sum, real value) {
  for (int step = 16; step; step >>= 1) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  if (threadIdx.x % 32 == 0 && value != real(0)) atomicAdd(sum, value);
}

DEVICE float exp2_of(float x) { return exp2f(x); }
DEVICE double exp2_of(double x) { return exp2(x); }

// One pixel of a plane, or zero outside the picture.
template <typename real>
DEVICE real load_pixel(const real* plane, int x0, int y0, unsigned lane, int width, int height) {
  int x = x0 + int(lane & 3), y = y0 + int(lane >> 2);
  return x < width && y < height ? plane[size_t(y) * width + x] : real(0);
}

template <typename real>
DEVICE void store_pixel(real* plane, int x0, int y0, unsigned lane, int width, int height, real value) {
  int x = x0 + int(lane & 3), y = y0 + int(lane >> 2);
  if (x < width && y < height) plane[size_t(y) * width + x] = value;
}

#else

  #include <cmath>
  #include <cstddef>
  #include <cstdint>
  #include <cstring>

using std::ceil;
using std::floor;
using std::log2;
using std::sqrt;

  #define DEVICE static inline __attribute__((always_inline))
  #define SHARED
  #define BATCH 32
  #define SYNC()
  #define ANY_IN_BLOCK(x) (x)
  #define CELLS(cell, mask)                                                                             \
    for (unsigned rest_ = (mask), cell; rest_ && (cell = unsigned(__builtin_ctz(rest_)), true); rest_ &= rest_ - 1)
  #define LANES(lane) for (unsigned lane = 0; lane < CELL_LANES; lane += LanesOf<real>::width)
  #define COOPERATE(k, n) for (int k = 0; k < (n); ++k)

  #if defined(__AVX512F__)
    #define VECTOR_BYTES 64
  #elif defined(__AVX2__)
    #define VECTOR_BYTES 32
  #else
    #define VECTOR_BYTES 16
  #endif

template <typename real>
struct LanesOf;

template <>
struct LanesOf<float> {
  typedef float type __attribute__((vector_size(VECTOR_BYTES)));
  typedef uint32_t bits __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr unsigned width = VECTOR_BYTES / sizeof(float);
};

template <>
struct LanesOf<double> {
  typedef double type __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr unsigned width = VECTOR_BYTES / sizeof(double);
};

template <typename real>
struct PerLane {
  typename LanesOf<real>::type value[TILE_LANES / LanesOf<real>::width];
};

template <typename real>
DEVICE typename LanesOf<real>::type& at(PerLane<real>& state, unsigned cell, unsigned lane) {
  return state.value[(cell * CELL_LANES + lane) / LanesOf<real>::width];
}

template <typename real>
struct LaneOffsets {
  alignas(64) static constexpr real x[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  alignas(64) static constexpr real y[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
};

template <typename real>
DEVICE typename LanesOf<real>::type lane_x(unsigned lane) {
  typename LanesOf<real>::type v;
  std::memcpy(&v, LaneOffsets<real>::x + lane, sizeof v);
  return v;
}

template <typename real>
DEVICE typename LanesOf<real>::type lane_y(unsigned lane) {
  typename LanesOf<real>::type v;
  std::memcpy(&v, LaneOffsets<real>::y + lane, sizeof v);
  return v;
}

template <typename real>
DEVICE unsigned live_cells(const PerLane<real>& state, real limit) {
  const real* values = reinterpret_cast<const real*>(state.value);
  unsigned live = 0;
  for (unsigned cell = 0; cell < TILE_LANES / CELL_LANES; ++cell) {
    unsigned any = 0;
    for (unsigned lane = 0; lane < CELL_LANES; ++lane) any |= values[cell * CELL_LANES + lane] >= limit;
    live |= any << cell;
  }
  return live;
}

template <typename real, typename V>
DEVICE void add_over_lanes(real* sum, V value) {
  real total = 0;
  #pragma omp simd reduction(+ : total)
  for (unsigned k = 0; k < LanesOf<real>::width; ++k) total += value[k];
  *sum += total;
}

// 2^x for x in -126 .. 127, relative error 1e-7; below that the bits are meaningless and the caller masks them.
// Adding 1.5 * 2^23 leaves round(x) in the low bits of the mantissa, ready to be shifted into the exponent.
DEVICE LanesOf<float>::type exp2_of(LanesOf<float>::type x) {
  typedef LanesOf<float>::bits bits;
  const float magic = 12582912.f;
  LanesOf<float>::type shifted = x + magic, f = x - (shifted - magic);
  LanesOf<float>::type p = 0.00132764701f * f + 0.00967554132f;
  p = p * f + 0.0555071328f;
  p = p * f + 0.240221197f;
  p = p * f + 0.693146967f;
  p = p * f + 1.00000007f;
  return (LanesOf<float>::type)((bits)p + ((bits)shifted << 23));
}

DEVICE LanesOf<double>::type exp2_of(LanesOf<double>::type x) {
  for (unsigned k = 0; k < LanesOf<double>::width; ++k) x[k] = std::exp2(x[k]);
  return x;
}

template <typename real>
DEVICE typename LanesOf<real>::type load_pixel(const real* plane, int x0, int y0, unsigned lane, int width,
                                               int height) {
  typename LanesOf<real>::type v = {};
  for (unsigned k = 0; k < LanesOf<real>::width; ++k) {
    int x = x0 + int((lane + k) & 3), y = y0 + int((lane + k) >> 2);
    if (x < width && y < height) v[k] = plane[size_t(y) * width + x];
  }
  return v;
}

template <typename real>
DEVICE void store_pixel(real* plane, int x0, int y0, unsigned lane, int width, int height,
                        typename LanesOf<real>::type v) {
  for (unsigned k = 0; k < LanesOf<real>::width; ++k) {
    int x = x0 + int((lane + k) & 3), y = y0 + int((lane + k) >> 2);
    if (x < width && y < height) plane[size_t(y) * width + x] = v[k];
  }
}

#endif

template <typename real>
using Lanes = typename LanesOf<real>::type;

template <typename T>
DEVICE T smaller(T a, T b) {
  return a < b ? a : b;
}

template <typename T>
DEVICE T larger(T a, T b) {
  return a > b ? a : b;
}
