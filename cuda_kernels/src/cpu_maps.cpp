// The lifter's raw maps of a caller who is followed on a CPU: their mean over time, and the surfaces that they stand
// for. `map_weight` of models/live_lift.py and `to_gaussians` of models/lifter.py say the same in torch.
//
// front: layer 1, pixels in cells of 2 x 2, cell after cell. [size * size, 10]
// back: layer 2, whose pixels are these cells, in cells of 2 x 2 again. [size / 2 * size / 2, 10]
#include <cmath>

#include "packs.h"

namespace {

const int NUMBERS = 10, DEPTH = 0, OPACITY = 5;

struct Ramp {
  float still, moved;  // up to the first nothing has changed, from the second on all is new
};

float changed(float old, float now, Ramp ramp) {
  const float part = (std::fabs(now - old) - ramp.still) / (ramp.moved - ramp.still);
  return part < 0.f ? 0.f : part < 1.f ? part : 1.f;  // of what is not a number all is new
}

void mix(float* old, const float* now, float weight) {
  if (weight >= 1.f)  // also where the old one is not a number
    for (int n = 0; n < NUMBERS; ++n) old[n] = now[n];
  else
    for (int n = 0; n < NUMBERS; ++n) old[n] += weight * (now[n] - old[n]);
}

// Which row of `back` is the pixel in row `y` and column `x` of a grid of `half` x `half`.
int row_of(int y, int x, int half) { return 4 * ((y / 2) * (half / 2) + x / 2) + 2 * (y % 2) + x % 2; }

}  // namespace

// change: where the portrait changed, 0..1. [size, size]
// least: how much of new maps counts where nothing has changed.
extern "C" void visavis_mix_maps(int size, const float* new_front, const float* new_back, const float* change,
                                 float least, float still_depth, float moved_depth, float still_opacity,
                                 float moved_opacity, float* front, float* back) {
  const Ramp depth = {still_depth, moved_depth}, opacity = {still_opacity, moved_opacity};
  const int half = size / 2;
  for (int y = 0; y < half; ++y)
    for (int x = 0; x < half; ++x) {
      float most = 0.f;
      for (int k = 0; k < 4; ++k) {
        const size_t at = (size_t(y * half + x) * 4 + k) * NUMBERS;
        float weight = change[(2 * y + k / 2) * size + 2 * x + k % 2];
        weight = larger(weight, changed(front[at + DEPTH], new_front[at + DEPTH], depth));
        weight = larger(weight, changed(front[at + OPACITY], new_front[at + OPACITY], opacity));
        weight = least + (1.f - least) * weight;
        most = larger(most, weight);
        mix(front + at, new_front + at, weight);
      }
      const size_t at = size_t(row_of(y, x, half)) * NUMBERS;
      mix(back + at, new_back + at, most);
    }
}

// distance: of the head's middle, metres.
// depth: of layer 1, metres. [size, size]
// behind: of layer 2. [size / 2, size / 2]
extern "C" void visavis_surfaces(int size, const float* front, const float* back, float distance, float* depth,
                                 float* behind) {
  const int half = size / 2;
  for (int y = 0; y < half; ++y)
    for (int x = 0; x < half; ++x) {
      const float* cell = front + size_t(y * half + x) * 4 * NUMBERS;
      float mean = 0.f;
      for (int k = 0; k < 4; ++k) {
        const float z = distance + 0.08f * cell[k * NUMBERS];
        depth[(2 * y + k / 2) * size + 2 * x + k % 2] = z;
        mean += 0.25f * z;
      }
      const float raw = back[size_t(row_of(y, x, half)) * NUMBERS];
      const float soft = raw > 20.f ? raw : std::log1p(std::exp(raw));
      behind[y * half + x] = mean + 0.01f + 0.05f * soft;
    }
}
