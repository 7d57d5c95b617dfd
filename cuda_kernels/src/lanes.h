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
//   column_of(m, n, cell) of n <= BATCH masks of cells, which have the bit of `cell`: one bit each
//   BITS(k, column)       the body runs for each k whose bit is set, in rising order
//   SYNC()                barrier of the block: only in block-uniform control flow, never inside CELLS or LANES
//   live_cells(state, l)  mask of the cells in which some lane of state is >= l; CUDA: only this thread's own
//   ANY_IN_BLOCK(x)       whether x is non-zero in any thread of the block; a barrier on CUDA
//   add_over_lanes(p, v)  *p += sum of v over all lanes; CUDA: the whole warp must arrive, and p is shared by blocks
//
// Kernels without tiles work on packs of LANE_WIDTH(real) items: one on CUDA, a vector of them on the CPU; see packs.h.
#pragma once

#define CELL_LANES 16
#define TILE_LANES 256
#define ALL_CELLS 0xFFFFu

#ifdef __CUDACC__
  #define DEVICE static __device__ __forceinline__
#else
  #define DEVICE static inline __attribute__((always_inline))
#endif

// The upper half of a float, as torch stores it.
struct BFloat16 {
  unsigned short bits;
};

DEVICE float real_of(float x) { return x; }
DEVICE double real_of(double x) { return x; }
DEVICE float real_of(BFloat16 x) {
  union {
    unsigned bits;
    float value;
  } both = {unsigned(x.bits) << 16};
  return both.value;
}

#ifdef __CUDACC__

  #define SHARED __shared__
  #define LANE_WIDTH(real) 1
  #define BATCH 32
  #define BITS(k, column) \
    for (unsigned rest_ = (column), k; rest_ && (k = unsigned(__ffs(int(rest_)) - 1), true); rest_ &= rest_ - 1)
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

typedef unsigned Column;

// A warp holds two cells; its 32 threads look at one mask each. The whole warp must arrive.
DEVICE Column column_of(const unsigned short* masks, int n, unsigned cell) {
  unsigned k = threadIdx.x % 32, mask = int(k) < n ? masks[k] : 0u;
  unsigned even = __ballot_sync(0xFFFFFFFFu, (mask >> (cell & ~1u)) & 1u);
  unsigned odd = __ballot_sync(0xFFFFFFFFu, (mask >> (cell | 1u)) & 1u);
  return cell & 1u ? odd : even;
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
DEVICE float log2_of(float x) { return log2f(x); }
DEVICE double log2_of(double x) { return log2(x); }
DEVICE float sqrt_of(float x) { return sqrtf(x); }
DEVICE double sqrt_of(double x) { return sqrt(x); }
DEVICE float floor_of(float x) { return floorf(x); }
DEVICE double floor_of(double x) { return floor(x); }

template <typename T>
DEVICE T lane_of(T v, int) {
  return v;
}

// Item `first` of an array whose items lie `stride` apart.
template <typename item>
DEVICE auto load_pack(const item* items, int stride, int first, int) {
  return real_of(items[size_t(first) * stride]);
}

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

  #ifdef __AVX2__
    #include <immintrin.h>
  #endif
  #include <cmath>
  #include <cstddef>
  #include <cstdint>
  #include <cstring>

  #define SHARED
  #define LANE_WIDTH(real) int(LanesOf<real>::width)
  #define BATCH 64
  #define BITS(k, column)                                                                                     \
    for (uint64_t rest_ = (column), k; rest_ && (k = uint64_t(__builtin_ctzll(rest_)), true); rest_ &= rest_ - 1)
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
  typedef int32_t integers __attribute__((vector_size(VECTOR_BYTES)));
  typedef uint16_t halves __attribute__((vector_size(VECTOR_BYTES / 2)));
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

typedef uint64_t Column;

DEVICE Column column_of(const unsigned short* masks, int n, unsigned cell) {
  Column column = 0;
  #ifdef __AVX512BW__
  const __m512i bit = _mm512_set1_epi16(short(1u << cell));
  column = _mm512_test_epi16_mask(_mm512_loadu_si512(masks), bit) |
           uint64_t(_mm512_test_epi16_mask(_mm512_loadu_si512(masks + 32), bit)) << 32;
  #else
  for (int k = 0; k < BATCH; ++k) column |= uint64_t((masks[k] >> cell) & 1u) << k;
  #endif
  return n < BATCH ? column & ((Column(1) << n) - 1) : column;
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

// log2 of a positive normal number, relative error 2e-7: the mantissa through the series of the inverse tanh.
DEVICE LanesOf<float>::type log2_of(LanesOf<float>::type x) {
  typedef LanesOf<float>::bits bits;
  bits b = (bits)x - 0x3F3504F3u;  // splits at sqrt(1/2), so that the mantissa lies around one
  LanesOf<float>::type e = __builtin_convertvector((LanesOf<float>::integers)b >> 23, LanesOf<float>::type);
  LanesOf<float>::type m = (LanesOf<float>::type)((b & 0x7FFFFFu) + 0x3F3504F3u);
  LanesOf<float>::type s = (m - 1) / (m + 1), t = s * s;
  LanesOf<float>::type p = 0.320598898f * t + 0.412198583f;
  p = p * t + 0.577078016f;
  p = p * t + 0.961796694f;
  p = p * t + 2.88539008f;
  return p * s + e;
}

// Functions of the standard library, lane by lane; the compiler makes one instruction of those that have one.
  #define DEFINE_PER_LANE(name, function, real)                                       \
    DEVICE LanesOf<real>::type name(LanesOf<real>::type x) {                          \
      real lanes[LanesOf<real>::width];                                               \
      std::memcpy(lanes, &x, sizeof x);                                               \
      _Pragma("omp simd") for (unsigned k = 0; k < LanesOf<real>::width; ++k) lanes[k] = function(lanes[k]); \
      std::memcpy(&x, lanes, sizeof x);                                               \
      return x;                                                                       \
    }
DEFINE_PER_LANE(exp2_of, std::exp2, double)
DEFINE_PER_LANE(log2_of, std::log2, double)
DEFINE_PER_LANE(sqrt_of, std::sqrt, float)
DEFINE_PER_LANE(sqrt_of, std::sqrt, double)
DEFINE_PER_LANE(floor_of, std::floor, float)
DEFINE_PER_LANE(floor_of, std::floor, double)
DEVICE float sqrt_of(float x) { return std::sqrt(x); }
DEVICE double sqrt_of(double x) { return std::sqrt(x); }

template <typename V>
DEVICE auto lane_of(const V& v, int k) {
  return v[k];
}

// Items first .. first + width - 1 of an array whose items lie `stride` apart; from n on the last one is repeated.
template <typename item>
DEVICE auto load_pack(const item* items, int stride, int first, int n) {
  typedef decltype(real_of(item())) real;
  typename LanesOf<real>::type v;
  if (first + LANE_WIDTH(real) <= n)
    for (int k = 0; k < LANE_WIDTH(real); ++k) v[k] = real_of(items[size_t(first + k) * size_t(stride)]);
  else
    for (int k = 0; k < LANE_WIDTH(real); ++k)
      v[k] = real_of(items[size_t(first + k < n ? first + k : n - 1) * size_t(stride)]);
  return v;
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

#if !defined(__CUDACC__) && defined(__AVX2__)
// g++ makes a comparison and a blend of `a < b ? a : b` on vectors; these are one instruction with the same result.
// (The masked forms, since the plain ones of g++ 12 warn of an uninitialised value.)
DEVICE LanesOf<float>::type smaller(LanesOf<float>::type a, LanesOf<float>::type b) {
  #ifdef __AVX512F__
  return _mm512_maskz_min_ps(0xFFFF, a, b);
  #else
  return _mm256_min_ps(a, b);
  #endif
}

DEVICE LanesOf<float>::type larger(LanesOf<float>::type a, LanesOf<float>::type b) {
  #ifdef __AVX512F__
  return _mm512_maskz_max_ps(0xFFFF, a, b);
  #else
  return _mm256_max_ps(a, b);
  #endif
}
#endif
