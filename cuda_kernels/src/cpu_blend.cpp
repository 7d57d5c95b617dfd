// The CPU's driver of blend.h.
#include "blend.h"
#include "parallel.h"

namespace {

template <typename item>
void blend(int views, int slots, const int* slot_of_view, int width, int height, const float* splatted, const float* K,
           const float* moves, const float* distances, const float* pictures, Blending blending, item* rgba,
           long long view_step, Layout layout, int threads) {
  const size_t area = size_t(blending.size) * size_t(blending.size), pixels = size_t(width) * size_t(height);
  parallel_for(views * height, threads, [&](int k) {
    const int view = k / height, slot = slot_of_view[view];
    if (slot < 0 || slot >= slots) return;
    const float near = nearness(moves + 16 * view, distances[view], blending.widest);
    if (near <= 0.f) return;
    const float* far = splatted + (size_t(view) * 6 + 4) * pixels;
    for (int first = 0; first < width; first += LANE_WIDTH(float))
      blend_portrait(near, first, k % height, width, far, far + pixels, K + 9 * view, moves + 16 * view,
                     pictures + size_t(slot) * 4 * area, blending, rgba + view * view_step, layout);
  });
}

}  // namespace

extern "C" void visavis_blend_portrait(int bfloat16, int views, int slots, const int* slot_of_view, int width,
                                       int height, const float* splatted, const float* K,
                                       const float* portrait_from_camera, const float* distances,
                                       const float* pictures, int size, float tangent, float widest, void* rgba,
                                       long long view_step, long long channel_step, long long row_step,
                                       long long column_step, int threads) {
  Blending blending = {size, tangent, widest};
  Layout layout = {channel_step, row_step, column_step};
  if (bfloat16)
    blend(views, slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances, pictures, blending,
          static_cast<BFloat16*>(rgba), view_step, layout, threads);
  else
    blend(views, slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances, pictures, blending,
          static_cast<float*>(rgba), view_step, layout, threads);
}
