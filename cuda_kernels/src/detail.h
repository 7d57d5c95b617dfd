// The refiner's input: a splat, and beside it what the portrait shows of the same points. models/reprojection.py and
// refiner_input of models/refiner.py say it in torch; there each of some twenty steps goes through memory.
#pragma once
#include "taps.h"

struct Reading {
  int size;       // of the portrait, pixels a side
  float tangent;  // of half its field of view
  // Metres between a point and the portrait's surface: up to the first it is what the portrait shows, from the second
  // on it is something else.
  float trusted, doubted;
};

// For the pack of pixels that starts at column `first` of row `row`.
//   splatted: colours times alpha, uncertainty, depth times alpha, alpha. [6, H, W]
//   move: from the view's camera to the portrait's. [4, 4]
//   distance: of the head's middle along the view's axis, metres.
//   picture, depth: of the portrait: colours times mask, mask [4, S, S], metres [S, S]; null: there is none.
//   out: colours, uncertainty, depth from the head's middle in 0.1 m, alpha; differences of the colours, certainty.
template <typename item>
DEVICE void refiner_input(int first, int row, int width, int height, const float* splatted, const float* K,
                          const float* move, float distance, const float* picture, const float* depth, Reading reading,
                          item* out, Layout layout) {
  typedef Lanes<float> V;
  const V zero = V{}, one = zero + 1.f;
  V splat[6], detail[4] = {zero, zero, zero, zero};
  for (int c = 0; c < 6; ++c) splat[c] = load_pack(splatted + (size_t(c) * height + row) * width, 1, first, width);
  const V alpha = splat[5];
  if (picture && any_lane(alpha > zero)) {
    const Place place = place_of(first, row, K, move, splat[4] / larger(alpha, zero + 0.3f), reading.size,
                                 reading.tangent);
    const Taps across = taps_of(place.x, reading.size), down = taps_of(place.y, reading.size);
    V shown[5] = {zero, zero, zero, zero, zero};
    for (int k = 0; k < 4; ++k) {
      const Integers index = down.index[k / 2] * reading.size + across.index[k % 2];
      const V weight = down.weight[k / 2] * across.weight[k % 2];
      for (int c = 0; c < 4; ++c) shown[c] += weight * gather(picture + size_t(c) * reading.size * reading.size, index);
      shown[4] += weight * gather(depth, index);
    }
    const V ahead = place.far - shown[4], apart = larger(ahead, -ahead), mask = shown[3];
    V sure = (reading.doubted - apart) / (reading.doubted - reading.trusted);
    sure = smaller(larger(sure, zero), one) * mask * alpha;
    // Where the mask ends or fades, colours were multiplied by it, and would seem dark.
    const V bright = alpha / larger(mask, zero + 0.05f);
    for (int c = 0; c < 3; ++c) detail[c] = (shown[c] * bright - splat[c]) * sure;
    detail[3] = sure;
  }
  splat[4] = 10.f * (splat[4] - distance * alpha);
  item* at = out + row * layout.row;
  for (int c = 0; c < 6; ++c) store_pack(at + c * layout.channel, layout.column, first, width, splat[c]);
  for (int c = 0; c < 4; ++c) store_pack(at + (6 + c) * layout.channel, layout.column, first, width, detail[c]);
}
