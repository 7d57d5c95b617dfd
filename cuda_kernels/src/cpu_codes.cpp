// What the refiner sees, in eight bits and pixel by pixel, as oneDNN's convolutions take it: noise_map and refine of
// models/refiner.py and the first step of models/int8.py in one pass.
#include <cstdint>

#include "packs.h"
#include "parallel.h"

namespace {

typedef Lanes<float> V;

const int SEEN = 12;  // noised colours and alpha; uncertainty, depth, alpha; noise level; detail and certainty

V bounded(V x, float low, float high) { return smaller(larger(x, V{} + low), V{} + high); }

template <typename item>
void row(int first, int count, long long plane, const item* render, const float* noise, float level,
         const float* enlarged, uint8_t* out) {
  for (int at = first; at < first + count; at += LANE_WIDTH(float)) {
    const auto load = [&](auto* planes, int c) { return load_pack(planes + c * plane, 1, at, first + count); };
    V seen[SEEN];
    for (int c = 3; c < 6; ++c) seen[c + 1] = load(render, c);
    for (int c = 6; c < 10; ++c) seen[c + 2] = load(render, c);
    const V alpha = bounded(seen[6], 0.f, 1.f);
    const V sigma = level * bounded(1.5f * seen[4] + 2.f * alpha * (1.f - alpha), 0.f, 1.f);
    for (int c = 0; c < 4; ++c) seen[c] = (c < 3 ? load(render, c) : seen[6]) + sigma * load(noise, c);
    seen[7] = 3.f * sigma;
    // Four codes to a word.
    Integers words[SEEN / 4];
    for (int c = 0; c < SEEN; ++c) {
      const Integers code = integers_of(bounded(seen[c] * enlarged[c] + 128.5f, 0.f, 255.f));
      words[c / 4] = c % 4 ? words[c / 4] | code << (8 * (c % 4)) : code;
    }
    const int lanes = first + count - at < LANE_WIDTH(float) ? first + count - at : LANE_WIDTH(float);
    for (int k = 0; k < lanes; ++k) {
      const int32_t pixel[SEEN / 4] = {words[0][k], words[1][k], words[2][k]};
      std::memcpy(out + (long long)(at + k) * SEEN, pixel, SEEN);
    }
  }
}

}  // namespace

// render: colours times alpha, uncertainty, depth, alpha; detail, certainty. [10, pixels]
// noise: [4, pixels]
// level: the largest sigma.
// enlarged: codes per unit of each channel. [12]
// out: [pixels, 12]
extern "C" void visavis_refiner_codes(int bfloat16, int pixels, const void* render, const float* noise, float level,
                                      const float* enlarged, uint8_t* out, int threads) {
  const int part = 4096;
  parallel_for((pixels + part - 1) / part, threads, [&](int k) {
    const int first = k * part, count = pixels - first < part ? pixels - first : part;
    if (bfloat16)
      row(first, count, pixels, static_cast<const BFloat16*>(render), noise, level, enlarged, out);
    else
      row(first, count, pixels, static_cast<const float*>(render), noise, level, enlarged, out);
  });
}
