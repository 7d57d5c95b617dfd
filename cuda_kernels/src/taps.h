// Where the portrait shows what a view's pixels show, and how it is read there.
#pragma once
#include "packs.h"

// One axis of a bilinear reading: the two nearest items, and how much of each counts. What is outside counts as zero.
struct Taps {
  Integers index[2];
  Lanes<float> weight[2];
};

DEVICE Taps taps_of(Lanes<float> place, int size) {
  const Lanes<float> zero = Lanes<float>{};
  // Between -1 and size nothing is lost; and NaN becomes -1.
  Lanes<float> x = smaller(larger(place, zero - 1.f), zero + float(size)), low = floor_of(x), part = x - low;
  Taps taps;
  for (int k = 0; k < 2; ++k) {
    Lanes<float> at = low + float(k);
    Lanes<float> weight = k ? part : 1.f - part;
    weight = at >= zero ? weight : zero;
    taps.weight[k] = at <= zero + float(size - 1) ? weight : zero;
    taps.index[k] = integers_of(smaller(larger(at, zero), zero + float(size - 1)));
  }
  return taps;
}

// Points in the portrait: pixels counted from the middle of the first one, and how far ahead of its camera, metres.
struct Place {
  Lanes<float> x, y, far;
};

// Of the pack of pixels that starts at column `first` of row `row`.
//   K: intrinsics of the view, pixels. [3, 3]
//   move: from the view's camera to the portrait's. [4, 4]
//   far: how far ahead of the view's camera the points are, metres.
//   size, tangent: of the portrait, pixels a side, and of half its field of view.
DEVICE Place place_of(int first, int row, const float* K, const float* move, Lanes<float> far, int size,
                      float tangent) {
  typedef Lanes<float> V;
  const V x = (counted_from(first) + 0.5f - K[2]) / K[0];
  const float y = (float(row) + 0.5f - K[5]) / K[4];
  V there[3];
  for (int axis = 0; axis < 3; ++axis) {
    const float* m = move + 4 * axis;
    there[axis] = m[3] + (m[0] * x + (m[1] * y + m[2])) * far;
  }
  const float half = 0.5f * float(size);
  const V scale = half / (tangent * larger(there[2], V{} + 0.01f));
  return {there[0] * scale + (half - 0.5f), there[1] * scale + (half - 0.5f), there[2]};
}
