// From the lifter's raw maps to discs, for a caller who is followed on a CPU: what `to_gaussians` of models/lifter.py
// does in some sixty steps for all discs, in one pass over those that are kept.
#include "packs.h"

namespace {

typedef Lanes<float> V;

struct Rules {
  float tangent;  // of half the field of view
  float step;     // distance of two neighbouring rays at depth 1
  float scale;    // half axes, pixels, before what the network says
  float color;    // how much of a colour the network may add
  float loose;    // slope of the offset's tanh
  float reach;    // the largest offset, metres
  float least;    // raw opacity from which a disc is kept
};

V bounded(V x, float low, float high) { return smaller(larger(x, V{} + low), V{} + high); }

// Beyond these bounds float32 has 1 + e^x = 1 or e^x anyway.
V exp_of(V x) { return exp2_of(bounded(x, -40.f, 40.f) * 1.44269504f); }
V sigmoid_of(V x) { return 1.f / (1.f + exp_of(-x)); }
V tanh_of(V x) { return 1.f - 2.f / (1.f + exp_of(2.f * x)); }

// The gentler of the slopes to the two sides, over two pixels each, from one pixel to the next.
float slope_at(const float* line, int at, int length, int stride) {
  const auto rise = [&](int k) {
    k = k < 0 ? 0 : k > length - 2 ? length - 2 : k;
    return line[(k + 1) * stride] - line[k * stride];
  };
  const float before = rise(at - 2) + rise(at - 1), after = rise(at) + rise(at + 1);
  return 0.5f * (std::fabs(before) < std::fabs(after) ? before : after);
}

}  // namespace

// maps: raw, cell of 2 x 2 pixels after cell. [size * size, 10]
// depth: metres. [size, size]
// picture: colours. [3, size, size]
// pose: cosine and sine of a turn about the optical axis, and a shift. [5]
// Writes what is kept behind each other and returns how many that are: means [n, 3], axes [n, 2, 3], opacities [n],
// colours and uncertainty [n, 4]. They must have room for size * size.
extern "C" int visavis_live_discs(int size, const float* maps, const float* depth, const float* picture, float tangent,
                                  float step, float scale, float color, float loose, float reach, float least,
                                  const float* pose, float* means, float* axes, float* opacities, float* colors) {
  const Rules rules = {tangent, step, scale, color, loose, reach, least};
  const int half = size / 2, area = size * size, width = LANE_WIDTH(float);
  const float c = pose[0], s = pose[1];
  int count = 0, waiting = 0, kept[LANE_WIDTH(float)];
  const auto write = [&] {
    V raw[10], rgb[3], x, y, z, slopes[2];
    for (int k = 0; k < width; ++k) {
      const int p = kept[k < waiting ? k : 0], cell = p / 4;
      const int row = 2 * (cell / half) + (p % 4) / 2, column = 2 * (cell % half) + p % 2, at = row * size + column;
      for (int n = 0; n < 10; ++n) raw[n][k] = maps[size_t(p) * 10 + n];
      for (int n = 0; n < 3; ++n) rgb[n][k] = picture[n * area + at];
      x[k] = (2.f * (float(column) + 0.5f) / float(size) - 1.f) * rules.tangent;
      y[k] = (2.f * (float(row) + 0.5f) / float(size) - 1.f) * rules.tangent;
      z[k] = depth[at];
      slopes[0][k] = slope_at(depth + row * size, column, size, 1);
      slopes[1][k] = slope_at(depth + column, row, size, size);
    }
    const V footprint = z * rules.step;
    V mean[3] = {tanh_of(raw[1] * rules.loose) * rules.reach + x * z, tanh_of(raw[2] * rules.loose) * rules.reach + y * z, z};
    V axis[2][3];
    for (int n = 0; n < 2; ++n) {
      const V sigma = exp_of(bounded(raw[3 + n], -2.5f, 2.5f)) * rules.scale;
      const V rise = larger(smaller(slopes[n], 5.f * footprint), -5.f * footprint) * sigma;
      axis[n][0] = x * rise;
      axis[n][1] = y * rise;
      axis[n][2] = rise;
      axis[n][n] += footprint * sigma;
    }
    const V sure = sigmoid_of(raw[9] - 2.f), opacity = sigmoid_of(2.f * raw[5]) * 0.995f;
    for (int n = 0; n < 3; ++n) rgb[n] = bounded(rgb[n] + rules.color * raw[6 + n], -0.2f, 1.2f);
    for (int k = 0; k < waiting; ++k) {
      const size_t to = size_t(count + k);
      means[3 * to] = c * mean[0][k] - s * mean[1][k] + pose[2];
      means[3 * to + 1] = s * mean[0][k] + c * mean[1][k] + pose[3];
      means[3 * to + 2] = mean[2][k] + pose[4];
      for (int n = 0; n < 2; ++n) {
        float* out = axes + 6 * to + 3 * n;
        out[0] = c * axis[n][0][k] - s * axis[n][1][k];
        out[1] = s * axis[n][0][k] + c * axis[n][1][k];
        out[2] = axis[n][2][k];
      }
      opacities[to] = opacity[k];
      for (int n = 0; n < 3; ++n) colors[4 * to + n] = rgb[n][k];
      colors[4 * to + 3] = sure[k];
    }
    count += waiting;
    waiting = 0;
  };
  for (int p = 0; p < area; ++p) {
    if (!(maps[size_t(p) * 10 + 5] >= rules.least)) continue;
    kept[waiting++] = p;
    if (waiting == width) write();
  }
  if (waiting) write();
  return count;
}
