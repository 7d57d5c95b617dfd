// RGB pictures to I420 and NV12 frames, BT.601 in the limited range of video (Y 16 .. 235, U and V 16 .. 240).
#pragma once
#include "packs.h"

// Converts the pack of 2 x 2 blocks that starts at block `first` of block row `row`. frame holds Y [H, W], then U and V
// [H / 2, W / 2]: one after the other, or for NV12 in turns.
template <typename item>
DEVICE void rgb_to_yuv(int nv12, int first, int row, int width, int height, const item* picture, Layout layout,
                       unsigned char* frame) {
  typedef Lanes<float> V;
  const V zero = V{}, one = zero + 1.f;
  const int blocks = width / 2;
  V sum[3] = {zero, zero, zero};
  for (int k = 0; k < 4; ++k) {
    const int y = 2 * row + k / 2, x = k % 2;
    V rgb[3];
    for (int c = 0; c < 3; ++c) {
      const item* at = picture + c * layout.channel + y * layout.row + x * layout.column;
      rgb[c] = smaller(larger(load_pack(at, int(2 * layout.column), first, blocks), zero), one);
      sum[c] += 0.25f * rgb[c];
    }
    // The half that rounds to nearest is in the offset.
    V luma = 65.481f * rgb[0] + 128.553f * rgb[1] + 24.966f * rgb[2] + 16.5f;
    for (int lane = 0; lane < LANE_WIDTH(float) && first + lane < blocks; ++lane)
      frame[(long long)y * width + 2 * (first + lane) + x] = (unsigned char)int(lane_of(luma, lane));
  }
  V u = -37.797f * sum[0] - 74.203f * sum[1] + 112.f * sum[2] + 128.5f;
  V v = 112.f * sum[0] - 93.786f * sum[1] - 18.214f * sum[2] + 128.5f;
  const long long step = nv12 ? 2 : 1, to_v = nv12 ? 1 : (long long)blocks * (height / 2);
  unsigned char* chroma = frame + (long long)width * height + step * row * blocks;
  for (int lane = 0; lane < LANE_WIDTH(float) && first + lane < blocks; ++lane) {
    chroma[step * (first + lane)] = (unsigned char)int(lane_of(u, lane));
    chroma[step * (first + lane) + to_v] = (unsigned char)int(lane_of(v, lane));
  }
}
