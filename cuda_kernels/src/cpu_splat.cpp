// The CPU's driver of splat.h: loops over views and tiles, and its own depth sort and binning.
#include <algorithm>

#include "parallel.h"
#include "splat.h"

namespace {

// Bits of a depth: those of positive floating point numbers sort as the numbers do.
uint32_t depth_bits(float z) {
  uint32_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits;
}

uint64_t depth_bits(double z) {
  uint64_t bits;
  std::memcpy(&bits, &z, sizeof bits);
  return bits;
}

int bit_length(uint32_t x) { return x ? 32 - __builtin_clz(x) : 0; }
int bit_length(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

template <typename real>
struct Scratch {
  typedef decltype(depth_bits(real())) Key;
  struct Visible {
    Key key;
    int id;
  };
  std::vector<Visible> visible, spare;
  std::vector<Box> boxes;
  std::vector<int> digits, counts;
  std::vector<int*> cursors;
  std::vector<real> grads;
  int64_t pairs;
};

// Stable radix sort of s.visible. Depths of one scene share their leading bits, so that in single precision two passes
// usually do.
template <typename real>
void sort_by_depth(Scratch<real>& s) {
  typedef typename Scratch<real>::Key Key;
  typedef typename Scratch<real>::Visible Visible;
  s.spare.resize(s.visible.size());
  Key low = ~Key(0), high = 0;
  for (const Visible& v : s.visible) low = std::min(low, v.key), high = std::max(high, v.key);
  int bits = high > low ? bit_length(Key(high - low)) : 0;
  int passes = (bits + 11) / 12, width = passes ? (bits + passes - 1) / passes : 0;
  const Key mask = (Key(1) << width) - 1;
  for (int pass = 0, shift = 0; pass < passes; ++pass, shift += width) {
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

const int SPARE_TILES = 3;

struct TileBox {
  int x0, y0, x1, y1;  // upper ends exclusive
  explicit TileBox(Box b) : x0(b.x0 >> 2), y0(b.y0 >> 2), x1((b.x1 + 3) >> 2), y1((b.y1 + 3) >> 2) {}
  int count() const { return (x1 - x0) * (y1 - y0); }
};

// Calls body(tile, 1) for the tiles of a box. Most boxes touch 1, 2 or 4 tiles, at random: those do without a branch,
// and then body(spare + 0, 1 or 2, 0) stands for a tile that is not there; three of them, so that one does not have to
// wait for the other.
template <typename Body>
inline void for_tiles(Box box, int tiles_x, int spare, const Body& body) {
  TileBox t(box);
  int wide = t.x1 - t.x0 - 1, high = t.y1 - t.y0 - 1, corner = t.y0 * tiles_x + t.x0;
  if ((wide | high) <= 1) {
    body(corner, 1);
    body(wide ? corner + 1 : spare, wide);
    body(high ? corner + tiles_x : spare + 1, high);
    body(wide & high ? corner + tiles_x + 1 : spare + 2, wide & high);
    return;
  }
  for (int y = t.y0; y < t.y1; ++y)
    for (int x = t.x0; x < t.x1; ++x) body(y * tiles_x + x, 1);
}

// Four counters for each tile, used in turn, since an addition that waits for the one before it is slow.
template <typename real>
inline void count_tiles(Scratch<real>& s, Frame frame, Box box, int turn) {
  int tiles = frame.tiles_x * frame.tiles_y;
  int* counts = s.counts.data() + size_t(turn & 3) * size_t(tiles + SPARE_TILES);
  for_tiles(box, frame.tiles_x, tiles, [&](int t, int one) { counts[t] += one; });
}

// Lists, per tile, the Gaussians that touch it, front to back. Where there are more pairs than `capacity`, the
// farthest Gaussians are left out.
template <typename real>
void bin(Scratch<real>& s, Frame frame, int64_t capacity, int* starts, int* list) {
  typedef typename Scratch<real>::Visible Visible;
  int tiles = frame.tiles_x * frame.tiles_y;
  if (s.pairs > capacity) {
    size_t n = 0;
    for (int64_t kept = 0; n < s.visible.size(); ++n)
      if ((kept += TileBox(s.boxes[size_t(s.visible[n].id)]).count()) > capacity) break;
    s.visible.resize(n);
  }
  const size_t row = size_t(tiles) + SPARE_TILES;
  if (s.pairs > capacity) {
    std::fill(s.counts.begin(), s.counts.end(), 0);
    for (const Visible& v : s.visible) count_tiles(s, frame, s.boxes[size_t(v.id)], 0);
  }
  s.cursors.resize(row);
  int nowhere;
  std::fill(s.cursors.begin(), s.cursors.end(), &nowhere);
  starts[0] = 0;
  for (size_t t = 0; t < size_t(tiles); ++t) {
    s.cursors[t] = list + starts[t];
    starts[t + 1] = starts[t] + s.counts[t] + s.counts[row + t] + s.counts[2 * row + t] + s.counts[3 * row + t];
  }
  int** cursors = s.cursors.data();
  for (const Visible& v : s.visible)
    for_tiles(s.boxes[size_t(v.id)], frame.tiles_x, tiles, [&](int t, int one) {
      *cursors[t] = v.id;
      cursors[t] += one;
    });
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

// Projects the Gaussians of a view, and notes depths and boxes of those that are in the picture.
template <typename real, int C>
void project_view(const Batch<real>& b, int view, Frame frame, Splat<real, C>* splats, Scratch<real>& s) {
  Camera<real> camera = b.camera(view);
  size_t set = size_t(view / b.views_per_set) * size_t(b.n);
  s.visible.resize(size_t(b.n));
  s.boxes.resize(size_t(b.n));
  s.counts.assign(4 * size_t(frame.tiles_x * frame.tiles_y + SPARE_TILES), 0);
  s.pairs = 0;
  size_t visible = 0;
  int tiles[LANE_WIDTH(real)];
  for (int i = 0; i < b.n; i += LANE_WIDTH(real)) {
    project<real, C>(i, b.n, camera, frame, b.eps2d, b.near, b.means + 3 * set, b.axes + 6 * set, b.opacities + set,
                     b.colors + C * set, splats, tiles);
    for (int k = 0; k < LANE_WIDTH(real) && i + k < b.n; ++k) {
      if (!tiles[k]) continue;
      s.boxes[size_t(i + k)] = splats[i + k].box;
      s.visible[visible++] = {depth_bits(splats[i + k].depth), i + k};
      s.pairs += tiles[k];
      count_tiles(s, frame, splats[i + k].box, k);
    }
  }
  s.visible.resize(visible);
}

template <typename real, int C>
void forward(const Batch<real>& b, int threads, int64_t capacity, Splat<real, C>* splats, int* starts, int* list,
             int64_t* pairs, real* out) {
  Frame frame = frame_of(b.width, b.height);
  int tiles = frame.tiles_x * frame.tiles_y;
  size_t n = size_t(b.n);
  int tile_threads = b.views() == 1 ? threads : 1;
  parallel_for(b.views(), threads, [&](int view) {
    Splat<real, C>* own = splats + n * size_t(view);
    int* own_starts = starts + size_t(view) * size_t(tiles + 1);
    int* own_list = list + size_t(view) * size_t(capacity);
    {
      Borrowed<Scratch<real>> borrowed;
      Scratch<real>& s = *borrowed;
      project_view<real, C>(b, view, frame, own, s);
      sort_by_depth(s);
      bin(s, frame, capacity, own_starts, own_list);
      pairs[view] = s.pairs;
    }
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
    Borrowed<Scratch<real>> s;
    s->grads.assign(n * (sizeof(Grad) / sizeof(real)) + 16, real(0));
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
#ifndef EACH_CHANNEL_COUNT
  #define EACH_CHANNEL_COUNT(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#endif

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
