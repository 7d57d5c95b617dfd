// What kernels of pictures need beside lanes.h: rows in any layout, in packs of LANE_WIDTH(float) pixels.
//
//   counted_from(k)      k, k + 1, ...
//   integers_of(x)       towards zero
//   any_lane(x)          whether a comparison holds in some lane
//   gather(items, index) items[index], lane by lane
#pragma once
#include "lanes.h"

// Steps between the channels, rows and columns of a picture, counted in items.
struct Layout {
  long long channel, row, column;
};

DEVICE void set_item(float& item, float x) { item = x; }
DEVICE void set_item(BFloat16& item, float x) {
  union {
    float value;
    unsigned bits;
  } both = {x};
  // To the nearest, of two as near to the even one; what is not a number stays so.
  unsigned rounded = (both.bits + 0x7FFFu + ((both.bits >> 16) & 1u)) >> 16;
  item.bits = (unsigned short)(x == x ? rounded : 0x7FC0u);
}

#ifdef __CUDACC__

typedef int Integers;
DEVICE float counted_from(int first) { return float(first); }
DEVICE int integers_of(float x) { return int(x); }
DEVICE bool any_lane(bool x) { return x; }
DEVICE float gather(const float* items, int index) { return items[index]; }

#else

typedef LanesOf<float>::integers Integers;

DEVICE LanesOf<float>::type counted_from(int first) {
  LanesOf<float>::type v;
  for (int k = 0; k < LANE_WIDTH(float); ++k) v[k] = float(first + k);
  return v;
}

DEVICE Integers integers_of(LanesOf<float>::type x) { return __builtin_convertvector(x, Integers); }

// x: lanes of a comparison, 0 or -1 each.
DEVICE bool any_lane(Integers x) {
  int any = 0;
  for (int k = 0; k < LANE_WIDTH(float); ++k) any |= x[k];
  return any != 0;
}

DEVICE LanesOf<float>::type gather(const float* items, Integers index) {
  #if defined(__AVX512F__)
  return _mm512_mask_i32gather_ps(LanesOf<float>::type{}, 0xFFFF, (__m512i)index, items, 4);
  #elif defined(__AVX2__)
  return _mm256_i32gather_ps(items, (__m256i)index, 4);
  #else
  LanesOf<float>::type v;
  for (int k = 0; k < LANE_WIDTH(float); ++k) v[k] = items[index[k]];
  return v;
  #endif
}

// The lanes as items of the type that the second argument points to; see set_item.
DEVICE LanesOf<float>::type items_of(LanesOf<float>::type v, const float*) { return v; }
DEVICE LanesOf<float>::halves items_of(LanesOf<float>::type v, const BFloat16*) {
  LanesOf<float>::bits b = (LanesOf<float>::bits)v;
  b = v == v ? (b + 0x7FFFu + ((b >> 16) & 1u)) >> 16 : LanesOf<float>::bits{} + 0x7FC0u;
  return __builtin_convertvector(b, LanesOf<float>::halves);
}

#endif

// Writes the lanes that are items first .. n - 1 of an array whose items lie `stride` apart.
template <typename item>
DEVICE void store_pack(item* items, long long stride, int first, int n, Lanes<float> v) {
#ifndef __CUDACC__
  if (stride == 1 && first + LANE_WIDTH(float) <= n) {  // so that the compiler makes few steps of it
    auto lanes = items_of(v, items);
    std::memcpy(items + first, &lanes, sizeof lanes);
    return;
  }
#endif
  for (int k = 0; k < LANE_WIDTH(float) && first + k < n; ++k) set_item(items[(first + k) * stride], lane_of(v, k));
}
