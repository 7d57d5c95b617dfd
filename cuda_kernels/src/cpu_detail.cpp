// The CPU's driver of detail.h.
#include "detail.h"
#include "parallel.h"

namespace {

template <typename item>
void fill(int views, int slots, const int* slot_of_view, int width, int height, const float* splatted, const float* K,
          const float* moves, const float* distances, const float* pictures, const float* depths, Reading reading,
          item* out, long long view_step, Layout layout, int threads) {
  const size_t area = size_t(reading.size) * size_t(reading.size), pixels = size_t(width) * size_t(height);
  parallel_for(views * height, threads, [&](int k) {
    const int view = k / height, slot = slot_of_view[view];
    const bool there = slot >= 0 && slot < slots;
    for (int first = 0; first < width; first += LANE_WIDTH(float))
      refiner_input(first, k % height, width, height, splatted + size_t(view) * 6 * pixels, K + 9 * view,
                    moves + 16 * view, distances[view], there ? pictures + size_t(slot) * 4 * area : nullptr,
                    there ? depths + size_t(slot) * area : nullptr, reading, out + view * view_step, layout);
  });
}

}  // namespace

extern "C" void visavis_refiner_input(int bfloat16, int views, int slots, const int* slot_of_view, int width,
                                      int height, const float* splatted, const float* K,
                                      const float* portrait_from_camera, const float* distances, const float* pictures,
                                      const float* depths, int size, float tangent, float trusted, float doubted,
                                      void* out, long long view_step, long long channel_step, long long row_step,
                                      long long column_step, int threads) {
  Reading reading = {size, tangent, trusted, doubted};
  Layout layout = {channel_step, row_step, column_step};
  if (bfloat16)
    fill(views, slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances, pictures, depths,
         reading, static_cast<BFloat16*>(out), view_step, layout, threads);
  else
    fill(views, slots, slot_of_view, width, height, splatted, K, portrait_from_camera, distances, pictures, depths,
         reading, static_cast<float*>(out), view_step, layout, threads);
}
