// The kernels of splat.h, detail.h and yuv.h as CUDA entry points, for Gaussians of CHANNELS channels; those of
// binning.h are there.
//
// project, composite_*: blockIdx.y is the view, counted through all sets of Gaussians; each `views_per_set` of them in
// a row see one set. project, project_slots, project_backward: one thread per Gaussian; composite_*: one block of 256
// threads per tile; refiner_input: one per pixel, as of blend_portrait; rgb_to_yuv: one per 2 x 2 block of pixels.
#include "binning.h"
#include "blend.h"
#include "detail.h"
#include "splat.h"
#include "yuv.h"

#ifndef CHANNELS
  #define CHANNELS 4
#endif

typedef Splat<float, CHANNELS> FloatSplat;
typedef SplatGrad<float, CHANNELS> FloatGrad;

// What the host takes the structs to be, from cuda_kernels/layout.py: where that is wrong, nothing compiles.
#ifdef SPLAT_BYTES
  // NVRTC has no <cstddef>, and has __builtin_offsetof only of late: CUDA 13.0, which torch brings along, lacks it.
  #ifdef __CUDACC_RTC__
    #define OFFSET(type, member) __INTADDR__(&((type*)0)->member)
  #else
    #define OFFSET(type, member) __builtin_offsetof(type, member)
  #endif
static_assert(sizeof(FloatSplat) == SPLAT_BYTES && alignof(FloatSplat) == 16, "Splat");
static_assert(OFFSET(FloatSplat, depth) == SPLAT_DEPTH_AT && sizeof(FloatSplat().depth) == 4, "depth");
static_assert(OFFSET(FloatSplat, box) == SPLAT_BOX_AT && sizeof(Box) == 8, "Box");
static_assert(sizeof(FloatGrad) == GRADIENT_BYTES && alignof(FloatGrad) == 16, "SplatGrad");
static_assert(sizeof(Frame) == FRAME_BYTES && alignof(Frame) == sizeof(int), "Frame");
static_assert(OFFSET(Frame, width) == 0 && OFFSET(Frame, height) == 4, "Frame");
static_assert(OFFSET(Frame, tiles_x) == 8 && OFFSET(Frame, tiles_y) == 12, "Frame");
static_assert(sizeof(Layout) == LAYOUT_BYTES && OFFSET(Layout, column) == 16, "Layout");
static_assert(sizeof(Reading) == READING_BYTES && OFFSET(Reading, doubted) == 12, "Reading");
static_assert(sizeof(Blending) == BLENDING_BYTES && OFFSET(Blending, widest) == 8, "Blending");
static_assert(sizeof(Item) == ITEM_BYTES, "Item");
#endif

extern "C" __global__ void project(int n, int views_per_set, const float* means, const float* axes,
                                   const float* opacities, const float* colors, const float* world_to_camera,
                                   const float* K, Frame frame, float eps2d, float near, FloatSplat* splats,
                                   int* tiles) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x), view = int(blockIdx.y);
  if (i >= n) return;
  Camera<float> camera = camera_of(world_to_camera + 16 * view, K + 9 * view);
  size_t set = size_t(view / views_per_set) * n, own = size_t(view) * n;
  project<float, CHANNELS>(i, n, camera, frame, eps2d, near, means + 3 * set, axes + 6 * set, opacities + set,
                           colors + CHANNELS * set, splats + own, tiles + own + i);
}

// For binning.h: view v sees the first `counts_of_slots` of the `most` Gaussians of its slot, and of a slot that is not
// there it sees none. items: what is to be sorted by depth, counts: how many of them.
extern "C" __global__ void project_slots(int slots, int most, const int* counts_of_slots, const int* slot_of_view,
                                         const float* means, const float* axes, const float* opacities,
                                         const float* colors, const float* world_to_camera, const float* K,
                                         Frame frame, float eps2d, float near, FloatSplat* splats, Box* boxes,
                                         int room, Item* items, int* counts) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x), view = int(blockIdx.y), slot = slot_of_view[view];
  bool there = slot >= 0 && slot < slots;
  int count = there ? smaller(larger(counts_of_slots[slot], 0), most) : 0;
  if (i == 0) counts[view] = count;
  if (i >= count) return;
  Camera<float> camera = camera_of(world_to_camera + 16 * view, K + 9 * view);
  size_t set = size_t(slot) * most, own = size_t(view) * most;
  int tiles;
  project<float, CHANNELS>(i, count, camera, frame, eps2d, near, means + 3 * set, axes + 6 * set, opacities + set,
                           colors + CHANNELS * set, splats + own, &tiles);
  boxes[own + i] = splats[own + i].box;
  items[size_t(view) * room + i] = Item{tiles ? depth_key(splats[own + i].depth, near) : ~0u, i};
}

extern "C" __global__ void __launch_bounds__(TILE_LANES)
    composite_forward(int n, Frame frame, int capacity, const int* starts, const int* lists, const FloatSplat* splats,
                      float* out) {
  size_t view = blockIdx.y, pixels = size_t(frame.width) * frame.height * (CHANNELS + 2);
  composite_forward<float, CHANNELS>(int(blockIdx.x), frame, starts + view * (gridDim.x + 1), lists + view * capacity,
                                     splats + view * n, out + view * pixels);
}

extern "C" __global__ void __launch_bounds__(TILE_LANES)
    composite_backward(int n, Frame frame, int capacity, const int* starts, const int* lists, const FloatSplat* splats,
                       const float* out, const float* dout, FloatGrad* grads) {
  size_t view = blockIdx.y, pixels = size_t(frame.width) * frame.height * (CHANNELS + 2);
  composite_backward<float, CHANNELS>(int(blockIdx.x), frame, starts + view * (gridDim.x + 1), lists + view * capacity,
                                      splats + view * n, out + view * pixels, dout + view * pixels, grads + view * n);
}

// blockIdx.y is the set. A thread adds up all views of its Gaussian, in their order: no atomics here.
extern "C" __global__ void project_backward(int n, int views_per_set, const float* means, const float* axes,
                                            const float* opacities, const float* world_to_camera, const float* K,
                                            float eps2d, const FloatSplat* splats, const FloatGrad* grads,
                                            float* dmeans, float* daxes, float* dopacities, float* dcolors) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x), set = int(blockIdx.y);
  if (i >= n) return;
  size_t j = size_t(set) * n + i;
  for (int view = set * views_per_set; view < (set + 1) * views_per_set; ++view) {
    Camera<float> camera = camera_of(world_to_camera + 16 * view, K + 9 * view);
    size_t at = size_t(view) * n + i;
    project_backward<float, CHANNELS>(camera, eps2d, means + 3 * j, axes + 6 * j, opacities[j], splats[at].box,
                                      grads[at], dmeans + 3 * j, daxes + 6 * j, dopacities + j, dcolors + CHANNELS * j);
  }
}

// Slot and view as in project_slots.
template <typename item>
DEVICE void refiner_input_of_pixel(int slots, const int* slot_of_view, int width, int height, const float* splatted,
                                   const float* K, const float* portrait_from_camera, const float* distances,
                                   const float* pictures, const float* depths, Reading reading, item* out,
                                   long long view_step, Layout layout) {
  int pixel = int(blockIdx.x * blockDim.x + threadIdx.x), view = int(blockIdx.y), slot = slot_of_view[view];
  if (pixel >= width * height) return;
  size_t area = size_t(reading.size) * reading.size;
  bool there = slot >= 0 && slot < slots;
  refiner_input(pixel % width, pixel / width, width, height, splatted + size_t(view) * 6 * width * height, K + 9 * view,
                portrait_from_camera + 16 * view, distances[view], there ? pictures + slot * 4 * area : nullptr,
                there ? depths + slot * area : nullptr, reading, out + view * view_step, layout);
}

#define REFINER_INPUT(name, item)                                                                                    \
  extern "C" __global__ void name(int slots, const int* slot_of_view, int width, int height, const float* splatted,  \
                                  const float* K, const float* portrait_from_camera, const float* distances,         \
                                  const float* pictures, const float* depths, Reading reading, item* out,            \
                                  long long view_step, Layout layout) {                                              \
    refiner_input_of_pixel(slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances,         \
                           pictures, depths, reading, out, view_step, layout);                                       \
  }
REFINER_INPUT(refiner_input_float32, float)
REFINER_INPUT(refiner_input_bfloat16, BFloat16)

// Slot and view as in project_slots.
template <typename item>
DEVICE void blend_pixel(int slots, const int* slot_of_view, int width, int height, const float* splatted,
                        const float* K, const float* portrait_from_camera, const float* distances,
                        const float* pictures, Blending blending, item* rgba, long long view_step, Layout layout) {
  int pixel = int(blockIdx.x * blockDim.x + threadIdx.x), view = int(blockIdx.y), slot = slot_of_view[view];
  if (pixel >= width * height || slot < 0 || slot >= slots) return;
  const float* move = portrait_from_camera + 16 * view;
  const float near = nearness(move, distances[view], blending.widest);
  if (near <= 0.f) return;
  size_t area = size_t(blending.size) * blending.size, pixels = size_t(width) * height;
  const float* far = splatted + (size_t(view) * 6 + 4) * pixels;
  blend_portrait(near, pixel % width, pixel / width, width, far, far + pixels, K + 9 * view, move,
                 pictures + slot * 4 * area, blending, rgba + view * view_step, layout);
}

#define BLEND_PORTRAIT(name, item)                                                                                  \
  extern "C" __global__ void name(int slots, const int* slot_of_view, int width, int height, const float* splatted, \
                                  const float* K, const float* portrait_from_camera, const float* distances,        \
                                  const float* pictures, Blending blending, item* rgba, long long view_step,        \
                                  Layout layout) {                                                                  \
    blend_pixel(slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances, pictures,         \
                blending, rgba, view_step, layout);                                                                 \
  }
BLEND_PORTRAIT(blend_portrait_float32, float)
BLEND_PORTRAIT(blend_portrait_bfloat16, BFloat16)

template <typename item>
DEVICE void convert_block(int nv12, int width, int height, const item* rgb, long long picture_step, Layout layout,
                          unsigned char* frames) {
  int block = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (block >= width / 2 * (height / 2)) return;
  rgb_to_yuv(nv12, block % (width / 2), block / (width / 2), width, height, rgb + blockIdx.y * picture_step, layout,
             frames + blockIdx.y * ((long long)width * height * 3 / 2));
}

extern "C" __global__ void rgb_to_yuv_float32(int nv12, int width, int height, const float* rgb,
                                              long long picture_step, Layout layout, unsigned char* frames) {
  convert_block(nv12, width, height, rgb, picture_step, layout, frames);
}

extern "C" __global__ void rgb_to_yuv_bfloat16(int nv12, int width, int height, const BFloat16* rgb,
                                               long long picture_step, Layout layout, unsigned char* frames) {
  convert_block(nv12, width, height, rgb, picture_step, layout, frames);
}
