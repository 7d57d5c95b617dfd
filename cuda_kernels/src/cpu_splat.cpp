// The CPU's driver of splat.h: loops over views and tiles, and its own depth sort and binning.
#include <algorithm>

#include "parallel.h"
#include "splat.h"

namespace {

struct Visible {
  uint64_t key;  // bits of the depth: positive floating point numbers sort like their bits
  int id, tiles;
};

struct Scratch {
  std::vector<Visible> visible, spare;
  std::vector<Box> boxes;
  std::vector<int> digits, cursor;
  std::vector<float> grads;
};

uint64_t depth_bits(float z) {
  uint32_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits;
}

uint64_t depth_bits(double z) {
  uint64_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits;
}

// Stable radix sort. Depths of one scene share their leading bits, so that two passes do for single precision.
void sort_by_depth(Scratch& s) {
  size_t n = s.visible.size();
  s.spare.resize(n);
  uint64_t low = ~uint64_t(0), high = 0;
  for (const Visible& v : s.visible) low = std::min(low, v.key), high = std::max(high, v.key);
  int bits = n && high > low ? 64 - __builtin_clzll(high - low) : 0;
  int passes = (bits + 11) / 12, width = passes ? (bits + passes - 1) / passes : 0;
  for (int pass = 0, shift = 0; pass < passes; ++pass, shift += width) {
    uint64_t mask = (uint64_t(1) << width) - 1;
    s.digits.assign(size_t(mask) + 1, 0);
    for (const Visible& v : s.visible) ++s.digits[((v.key - low) >> shift) & mask];
    int sum = 0;
    for (int& digit : s.digits) {
      int count = digit;
      digit = sum;
      sum += count;
    }
    for (const Visible& v : s.visible) s.spare[size_t(s.digits[((v.key - low) >> shift) & mask]++)] = v;
    s.visible.swap(s.spare);
  }
}

template <typename Body>
inline void for_tiles(Box box, int tiles_x, const Body& body) {
  int x0 = box.x0 >> 2, x1 = (box.x1 + 3) >> 2, y1 = (box.y1 + 3) >> 2;
  for (int y = box.y0 >> 2; y < y1; ++y)
    for (int x = x0; x < x1; ++x) body(y * tiles_x + x);
}

// Lists, per tile, the Gaussians that touch it, front to back. Where they are more than `capacity`, the farthest
// Gaussians are left out. Returns how many (Gaussian, tile) pairs there would be without a limit.
int64_t bin(Scratch& s, Frame frame, int64_t capacity, int* starts, int* list) {
  int64_t pairs = 0, kept = 0;
  for (const Visible& v : s.visible) pairs += v.tiles;
  if (pairs > capacity) {
    size_t n = 0;
    while (n < s.visible.size() && kept + s.visible[n].tiles <= capacity) kept += s.visible[n++].tiles;
    s.visible.resize(n);
  }
  int tiles = frame.tiles_x * frame.tiles_y;
  std::fill(starts, starts + tiles + 1, 0);
  for (const Visible& v : s.visible) for_tiles(s.boxes[size_t(v.id)], frame.tiles_x, [&](int t) { ++starts[t + 1]; });
  for (int t = 0; t < tiles; ++t) starts[t + 1] += starts[t];
  s.cursor.assign(starts, starts + tiles);
  for (const Visible& v : s.visible)
    for_tiles(s.boxes[size_t(v.id)], frame.tiles_x, [&](int t) { list[s.cursor[size_t(t)]++] = v.id; });
  return pairs;
}

Frame frame_of(int width, int height) { return Frame{width, height, (width + 15) / 16, (height + 15) / 16}; }

// The tensors of a batch: sets of Gaussians [sets, n, ...], and views_per_set cameras for each set.
template <typename real>
struct Batch {
  int sets, views_per_set, n, width, height;
  const real *means, *axes, *opacities, *colors, *world_to_camera, *K;
  real eps2d, near;
  int views() const { return sets * views_per_set; }
  Camera<real> camera(int view) const { return camera_of(world_to_camera + 16 * view, K + 9 * view); }
};

template <typename real, int C>
void forward(const Batch<real>& b, int threads, int64_t capacity, Splat<real, C>* splats, int* starts, int* list,
             int64_t* pairs, real* out) {
  Frame frame = frame_of(b.width, b.height);
  int tiles = frame.tiles_x * frame.tiles_y;
  size_t n = size_t(b.n);
  int tile_threads = b.views() == 1 ? threads : 1;
  parallel_for(b.views(), threads, [&](int view) {
    Camera<real> camera = b.camera(view);
    size_t first = n * size_t(view / b.views_per_set);
    Splat<real, C>* own = splats + n * size_t(view);
    Borrowed<Scratch> s;
    s->visible.clear();
    s->visible.reserve(n);
    s->boxes.resize(n);
    for (size_t i = 0; i < n; ++i) {
      size_t j = first + i;
      int count = project<real, C>(camera, frame, b.eps2d, b.near, b.means + 3 * j, b.axes + 6 * j, b.opacities[j],
                                   b.colors + C * j, own + i);
      if (!count) continue;
      s->boxes[i] = own[i].box;
      s->visible.push_back(Visible{depth_bits(own[i].depth), int(i), count});
    }
    sort_by_depth(*s.operator->());
    int* own_starts = starts + size_t(view) * size_t(tiles + 1);
    int* own_list = list + size_t(view) * size_t(capacity);
    pairs[view] = bin(*s.operator->(), frame, capacity, own_starts, own_list);
    real* picture = out + size_t(view) * (C + 2) * size_t(b.width) * size_t(b.height);
    parallel_for(tiles, tile_threads,
                 [&](int tile) { composite_forward<real, C>(tile, frame, own_starts, own_list, own, picture); });
  });
}

template <typename real, int C>
void backward(const Batch<real>& b, int threads, int64_t capacity, const Splat<real, C>* splats, const int* starts,
              const int* list, const real* out, const real* dout, real* dmeans, real* daxes, real* dopacities,
              real* dcolors) {
  Frame frame = frame_of(b.width, b.height);
  int tiles = frame.tiles_x * frame.tiles_y;
  size_t n = size_t(b.n), pixels = size_t(b.width) * size_t(b.height) * (C + 2);
  typedef SplatGrad<real, C> Grad;
  auto add_view = [&](int view, real* dmean, real* daxis, real* dopacity, real* dcolor) {
    Borrowed<Scratch> s;
    s->grads.assign(n * sizeof(Grad) / sizeof(float) + 16, 0.f);
    Grad* grads = reinterpret_cast<Grad*>((reinterpret_cast<uintptr_t>(s->grads.data()) + 63) / 64 * 64);
    const Splat<real, C>* own = splats + n * size_t(view);
    for (int tile = 0; tile < tiles; ++tile)
      composite_backward<real, C>(tile, frame, starts + size_t(view) * size_t(tiles + 1),
                                  list + size_t(view) * size_t(capacity), own, out + size_t(view) * pixels,
                                  dout + size_t(view) * pixels, grads);
    Camera<real> camera = b.camera(view);
    size_t first = n * size_t(view / b.views_per_set);
    for (size_t i = 0; i < n; ++i) {
      size_t j = first + i;
      project_backward<real, C>(camera, b.eps2d, b.means + 3 * j, b.axes + 6 * j, b.opacities[j], own[i].box, grads[i],
                                dmean + 3 * i, daxis + 6 * i, dopacity + i, dcolor + C * i);
    }
  };
  // The views of a set add to the same gradients. One thread takes a set where there are sets enough; else one takes a
  // view, with gradients of its own, summed afterwards in the order of the views.
  if (b.sets >= threads || b.views_per_set == 1) {
    parallel_for(b.sets, threads, [&](int set) {
      size_t at = n * size_t(set);
      for (int v = 0; v < b.views_per_set; ++v)
        add_view(set * b.views_per_set + v, dmeans + 3 * at, daxes + 6 * at, dopacities + at, dcolors + C * at);
    });
    return;
  }
  const size_t row = 10 + C;
  std::vector<real> parts(row * n * size_t(b.views()), real(0));
  parallel_for(b.views(), threads, [&](int view) {
    real* part = parts.data() + row * n * size_t(view);
    add_view(view, part, part + 3 * n, part + 9 * n, part + 10 * n);
  });
  for (int view = 0; view < b.views(); ++view) {
    const real* part = parts.data() + row * n * size_t(view);
    size_t at = n * size_t(view / b.views_per_set);
    for (size_t k = 0; k < 3 * n; ++k) dmeans[3 * at + k] += part[k];
    for (size_t k = 0; k < 6 * n; ++k) daxes[6 * at + k] += part[3 * n + k];
    for (size_t k = 0; k < n; ++k) dopacities[at + k] += part[9 * n + k];
    for (size_t k = 0; k < C * n; ++k) dcolors[C * at + k] += part[10 * n + k];
  }
}

}  // namespace

#define BATCH_ARGUMENTS(real)                                                                                        \
  int channels, int sets, int views_per_set, int n, const real *means, const real *axes, const real *opacities,      \
      const real *colors, const real *world_to_camera, const real *K, int width, int height, double eps2d,           \
      double near, int threads, int64_t capacity
#define BATCH_OF(real)                                                                                               \
  Batch<real> {                                                                                                      \
    sets, views_per_set, n, width, height, means, axes, opacities, colors, world_to_camera, K, real(eps2d), real(near) \
  }
#define EACH_CHANNEL_COUNT(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)

#define DEFINE_SPLAT(real, suffix)                                                                                   \
  extern "C" void visavis_splat_forward_##suffix(BATCH_ARGUMENTS(real), void* splats, int* starts, int* list,        \
                                                 int64_t* pairs, real* out) {                                        \
    Batch<real> batch = BATCH_OF(real);                                                                              \
    switch (channels) { EACH_CHANNEL_COUNT(FORWARD_CASE_##suffix) }                                                  \
  }                                                                                                                  \
  extern "C" void visavis_splat_backward_##suffix(BATCH_ARGUMENTS(real), const void* splats, const int* starts,      \
                                                  const int* list, const real* out, const real* dout, real* dmeans,  \
                                                  real* daxes, real* dopacities, real* dcolors) {                    \
    Batch<real> batch = BATCH_OF(real);                                                                              \
    switch (channels) { EACH_CHANNEL_COUNT(BACKWARD_CASE_##suffix) }                                                 \
  }

#define FORWARD_CASE(real, C)                                                                                        \
  case C:                                                                                                            \
    return forward<real, C>(batch, threads, capacity, static_cast<Splat<real, C>*>(splats), starts, list, pairs, out);
#define BACKWARD_CASE(real, C)                                                                                       \
  case C:                                                                                                            \
    return backward<real, C>(batch, threads, capacity, static_cast<const Splat<real, C>*>(splats), starts, list, out, \
                             dout, dmeans, daxes, dopacities, dcolors);
#define FORWARD_CASE_f32(C) FORWARD_CASE(float, C)
#define FORWARD_CASE_f64(C) FORWARD_CASE(double, C)
#define BACKWARD_CASE_f32(C) BACKWARD_CASE(float, C)
#define BACKWARD_CASE_f64(C) BACKWARD_CASE(double, C)

DEFINE_SPLAT(float, f32)
DEFINE_SPLAT(double, f64)

// Bytes of one projected Gaussian, for the caller to size its buffers.
extern "C" int visavis_splat_bytes(int channels, int doubles) {
#define SIZE_CASE(C) \
  case C:            \
    return doubles ? int(sizeof(Splat<double, C>)) : int(sizeof(Splat<float, C>));
  switch (channels) { EACH_CHANNEL_COUNT(SIZE_CASE) }
  return 0;
}
