// The CPU's driver of yuv.h.
#include "parallel.h"
#include "yuv.h"

namespace {

template <typename item>
void convert(int nv12, int pictures, int width, int height, const item* rgb, long long picture_step, Layout layout,
             int threads, unsigned char* frames) {
  const long long frame_bytes = (long long)width * height * 3 / 2;
  parallel_for(pictures, threads, [&](int k) {
    for (int row = 0; row < height / 2; ++row)
      for (int first = 0; first < width / 2; first += LANE_WIDTH(float))
        rgb_to_yuv(nv12, first, row, width, height, rgb + k * picture_step, layout, frames + k * frame_bytes);
  });
}

}  // namespace

extern "C" void visavis_rgb_to_yuv(int nv12, int bfloat16, int pictures, int width, int height, const void* rgb,
                                    long long picture_step, long long channel_step, long long row_step,
                                    long long column_step, int threads, unsigned char* frames) {
  Layout layout = {channel_step, row_step, column_step};
  if (bfloat16)
    convert(nv12, pictures, width, height, static_cast<const BFloat16*>(rgb), picture_step, layout, threads, frames);
  else
    convert(nv12, pictures, width, height, static_cast<const float*>(rgb), picture_step, layout, threads, frames);
}
