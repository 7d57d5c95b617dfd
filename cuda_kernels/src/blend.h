// Gives a view the portrait's own pixels, the more the nearer it is to the portrait's. models/portrait_blend.py says the
// same in torch, and why.
#pragma once
#include "taps.h"

struct Blending {
  int size;       // of the portrait, pixels a side
  float tangent;  // of half its field of view
  float widest;   // radians between the two cameras, seen from the head, from which on nothing of it counts
};

// How much of the portrait counts, 0..1; by the angle between the directions in which the two cameras see the head.
//   move: from the view's camera to the portrait's. [4, 4]
//   distance: of the head's middle along the view's axis, metres; along the portrait's it is move[10] times that.
DEVICE float nearness(const float* move, float distance, float widest) {
  const float angle = atan2f(sqrt_of(move[3] * move[3] + move[7] * move[7]), move[10] * distance);
  return angle < widest ? 1.f - angle / widest : 0.f;  // and 0 of what is not a number
}

// Changes the pack of pixels that starts at column `first` of row `row`.
//   near: from `nearness`, above 0.
//   far, alpha: of the splat: depth times alpha in metres, alpha. [H, W]
//   K, move: as for refiner_input.
//   picture: the portrait: colours, and how surely they are the person's, 0..1. [4, S, S]
//   rgba: colours (premultiplied) and alpha.
template <typename item>
DEVICE void blend_portrait(float near, int first, int row, int width, const float* far, const float* alpha,
                           const float* K, const float* move, const float* picture, Blending blending, item* rgba,
                           Layout layout) {
  typedef Lanes<float> V;
  const V zero = V{}, one = zero + 1.f;
  const V cover = load_pack(alpha + (size_t)row * width, 1, first, width);
  const V ahead = load_pack(far + (size_t)row * width, 1, first, width);
  const Place place = place_of(first, row, K, move, ahead / larger(cover, zero + 0.3f), blending.size,
                               blending.tangent);
  // Over its outermost pixels the portrait fades; what is not a number is outside.
  const V last = zero + float(blending.size - 1);
  V inside = smaller(smaller(place.x, last - place.x), smaller(place.y, last - place.y)) * 0.25f;
  inside = place.far > zero + 0.01f ? smaller(inside, one) : zero;
  const V weight = inside > zero ? inside * near : zero;
  if (!any_lane(weight * cover > zero)) return;
  const Taps across = taps_of(place.x, blending.size), down = taps_of(place.y, blending.size);
  V shown[4] = {zero, zero, zero, zero};
  for (int k = 0; k < 4; ++k) {
    const Integers index = down.index[k / 2] * blending.size + across.index[k % 2];
    const V tap = down.weight[k / 2] * across.weight[k % 2];
    for (int c = 0; c < 4; ++c) shown[c] += tap * gather(picture + size_t(c) * blending.size * blending.size, index);
  }
  item* at = rgba + row * layout.row;
  const V own = load_pack(at + 3 * layout.channel, int(layout.column), first, width);
  // The outline stays the view's, and what has no splat beneath it has no place in the portrait.
  const V solid = smaller(larger((smaller(own, cover) - 0.8f) * 5.f, zero), one);
  const V part = weight * solid * shown[3];
  for (int c = 0; c < 3; ++c) {
    const V now = load_pack(at + c * layout.channel, int(layout.column), first, width);
    store_pack(at + c * layout.channel, layout.column, first, width, now + (shown[c] * own - now) * part);
  }
}
