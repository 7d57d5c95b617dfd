// Splatting of Gaussian discs: projection and compositing, forward and backward. One view per call.
//
// A disc has the covariance a0 a0^T + a1 a1^T; on screen it becomes Sigma = J (a0 a0^T + a1 a1^T) J^T + eps2d I, and
// its alpha at a pixel is min(0.99, opacity exp(-d^T Sigma^-1 d / 2)), nothing under 1/255. Pixels composite front to
// back until less than SEEN_LIMIT of what lies behind would shine through (after Kerbl et al. 2023).
#pragma once
#include "lanes.h"

#define MAX_ALPHA 0.99
#define MIN_ALPHA (1.0 / 255.0)
#define LOG2_MIN_ALPHA -7.994353436858858  // log2(1 / 255)
#define SEEN_LIMIT 1e-3
#define LOG2_E 1.4426950408889634
#define LN_2 0.6931471805599453

// Bounds in cells of 4 x 4 pixels, upper ends exclusive; all zero: not visible.
struct Box {
  unsigned short x0, y0, x1, y1;
};

// A Gaussian on the screen. log2(alpha) at offset (dx, dy) from (u, v) is peak + xx dx^2 + xy dx dy + yy dy^2.
template <typename real, int C>
struct alignas(16) Splat {
  real u, v;          // centre, pixels
  real xx, xy, yy;    // minus half the inverse covariance, times log2(e); xy holds both off-diagonal terms
  real peak;          // log2(opacity)
  real depth;         // metres
  Box box;
  real color[C];
};

// What the backward pass gathers for one Gaussian: moments of dL/d(log alpha) over the pixels, and sums of weights.
template <typename real, int C>
struct alignas(16) SplatGrad {
  real m, mx, my, mxx, mxy, myy;
  real depth;
  real color[C];
};

template <typename real>
struct Camera {
  real r[9], t[3];  // world to camera
  real fx, fy, cx, cy;
};

struct Frame {
  int width, height, tiles_x, tiles_y;
};

template <typename real>
DEVICE Camera<real> camera_of(const real* world_to_camera, const real* K) {
  Camera<real> c;
  for (int row = 0; row < 3; ++row) {
    for (int col = 0; col < 3; ++col) c.r[3 * row + col] = world_to_camera[4 * row + col];
    c.t[row] = world_to_camera[4 * row + 3];
  }
  c.fx = K[0], c.fy = K[4], c.cx = K[2], c.cy = K[5];
  return c;
}

// A disc's centre and axes in camera space, the axes projected to the screen, and the inverse screen covariance.
// T is one number, or the numbers of a pack of discs.
template <typename T>
struct Projected {
  T x, y, z, iz, u, v;
  T p[3], q[3];         // axes, camera space, metres
  T px, py, qx, qy;     // axes on screen, pixels
  T sxx, syy;           // diagonal of the screen covariance
  T ixx, ixy, iyy;      // its inverse
};

template <typename real, typename T>
DEVICE Projected<T> project_disc(const Camera<real>& c, const T* mean, const T* axes, real eps2d) {
  Projected<T> g;
  const real* r = c.r;
  g.x = r[0] * mean[0] + r[1] * mean[1] + r[2] * mean[2] + c.t[0];
  g.y = r[3] * mean[0] + r[4] * mean[1] + r[5] * mean[2] + c.t[1];
  g.z = r[6] * mean[0] + r[7] * mean[1] + r[8] * mean[2] + c.t[2];
  for (int k = 0; k < 3; ++k) {
    g.p[k] = r[3 * k] * axes[0] + r[3 * k + 1] * axes[1] + r[3 * k + 2] * axes[2];
    g.q[k] = r[3 * k] * axes[3] + r[3 * k + 1] * axes[4] + r[3 * k + 2] * axes[5];
  }
  g.iz = real(1) / g.z;
  T jx = c.fx * g.iz, jy = c.fy * g.iz, kx = g.x * g.iz, ky = g.y * g.iz;
  g.u = c.fx * kx + c.cx;
  g.v = c.fy * ky + c.cy;
  g.px = jx * (g.p[0] - kx * g.p[2]), g.py = jy * (g.p[1] - ky * g.p[2]);
  g.qx = jx * (g.q[0] - kx * g.q[2]), g.qy = jy * (g.q[1] - ky * g.q[2]);
  g.sxx = g.px * g.px + g.qx * g.qx + eps2d;
  g.syy = g.py * g.py + g.qy * g.qy + eps2d;
  // det = sxx syy - sxy^2, written so that a long thin disc does not cancel to nothing.
  T cross = g.px * g.qy - g.py * g.qx;
  T id = real(1) / (cross * cross + eps2d * (g.sxx + g.syy - eps2d));
  g.ixx = g.syy * id, g.ixy = -(g.px * g.py + g.qx * g.qy) * id, g.iyy = g.sxx * id;
  return g;
}

// Projects the pack of discs that starts at item `first` of n. Writes their boxes, the splats of those that are in the
// picture, and to tiles[] how many tiles each touches (0: not in the picture).
template <typename real, int C>
DEVICE void project(int first, int n, const Camera<real>& camera, Frame frame, real eps2d, real near, const real* means,
                    const real* axes, const real* opacities, const real* colors, Splat<real, C>* splats, int* tiles) {
  typedef Lanes<real> V;
  V mean[3], axis[6];
  for (int k = 0; k < 3; ++k) mean[k] = load_pack(means + k, 3, first, n);
  for (int k = 0; k < 6; ++k) axis[k] = load_pack(axes + k, 6, first, n);
  V opacity = load_pack(opacities, 1, first, n);
  Projected<V> g = project_disc(camera, mean, axis, eps2d);
  V peak = log2_of(opacity);
  // Where alpha falls under 1/255; a thousandth of a pixel more, since the edge itself is decided per pixel.
  V reach = real(2 * LN_2) * (peak - real(LOG2_MIN_ALPHA));
  V ex = sqrt_of(reach * g.sxx) + real(1e-3), ey = sqrt_of(reach * g.syy) + real(1e-3);
  const V zero = V{}, right = zero + real(frame.width - 1), bottom = zero + real(frame.height - 1);
  V x0 = larger(-floor_of(ex - g.u + real(0.5)), zero), x1 = smaller(floor_of(g.u + ex - real(0.5)), right);
  V y0 = larger(-floor_of(ey - g.v + real(0.5)), zero), y1 = smaller(floor_of(g.v + ey - real(0.5)), bottom);
  V xx = real(-0.5 * LOG2_E) * g.ixx, xy = real(-LOG2_E) * g.ixy, yy = real(-0.5 * LOG2_E) * g.iyy;
  for (int k = 0; k < LANE_WIDTH(real) && first + k < n; ++k) {
    Splat<real, C>& out = splats[first + k];
    tiles[k] = 0;
    out.box = Box{0, 0, 0, 0};
    // Written so that NaN fails.
    bool visible = lane_of(opacity, k) >= real(MIN_ALPHA) && lane_of(g.z, k) >= near &&
                   lane_of(ex, k) < real(1e18) && lane_of(ey, k) < real(1e18) && lane_of(x0, k) <= lane_of(x1, k) &&
                   lane_of(y0, k) <= lane_of(y1, k);
    if (!visible) continue;
    int bx0 = int(lane_of(x0, k)) >> 2, bx1 = (int(lane_of(x1, k)) >> 2) + 1;
    int by0 = int(lane_of(y0, k)) >> 2, by1 = (int(lane_of(y1, k)) >> 2) + 1;
    typedef unsigned short Cell;
    out.box = Box{Cell(bx0), Cell(by0), Cell(bx1), Cell(by1)};
    out.u = lane_of(g.u, k), out.v = lane_of(g.v, k);
    out.xx = lane_of(xx, k), out.xy = lane_of(xy, k), out.yy = lane_of(yy, k);
    out.peak = lane_of(peak, k);
    out.depth = lane_of(g.z, k);
    for (int c = 0; c < C; ++c) out.color[c] = colors[size_t(first + k) * C + c];
    tiles[k] = (((bx1 + 3) >> 2) - (bx0 >> 2)) * (((by1 + 3) >> 2) - (by0 >> 2));
  }
}

// The cells of tile (tx, ty) that a box covers, one bit each, row by row.
DEVICE unsigned short cells_of(Box box, int tx, int ty) {
  int x0 = larger(int(box.x0) - 4 * tx, 0), x1 = smaller(int(box.x1) - 4 * tx, 4);
  int y0 = larger(int(box.y0) - 4 * ty, 0), y1 = smaller(int(box.y1) - 4 * ty, 4);
  unsigned columns = (1u << x1) - (1u << x0);
  unsigned rows = ((1u << 4 * y1) - (1u << 4 * y0)) & 0x1111u;
  return (unsigned short)(columns * rows);
}

// log2(alpha) before the cap, for the lanes of a cell whose corner lies at (-u, -v) from the centre.
template <typename real, typename G>
DEVICE Lanes<real> log2_alpha(const G& g, Lanes<real> dx, Lanes<real> dy) {
  return dx * (g.xx * dx + g.xy * dy) + (g.yy * dy * dy + g.peak);
}

// Alpha from its logarithm and 2^power; power may be so low that 2^power has no meaning.
template <typename real>
DEVICE Lanes<real> alpha_of(Lanes<real> power, Lanes<real> raw) {
  const Lanes<real> zero = Lanes<real>{}, cap = zero + real(MAX_ALPHA);
  return power >= real(LOG2_MIN_ALPHA) ? smaller(raw, cap) : zero;
}

// out: [C + 2, H, W]: colours times weight, depth times weight, alpha.
template <typename real, int C>
DEVICE void composite_forward(int tile, Frame frame, const int* starts, const int* list, const Splat<real, C>* splats,
                              real* out) {
  typedef Lanes<real> V;
  SHARED Splat<real, C> batch[BATCH];
  SHARED unsigned short masks[BATCH];
  PerLane<real> seen, depth, hidden, color[C];
  const V zero = V{} ;
  int tx = tile % frame.tiles_x, ty = tile / frame.tiles_x;
  CELLS(cell, ALL_CELLS) LANES(lane) {
    at(seen, cell, lane) = zero + 1;
    at(depth, cell, lane) = zero;
    at(hidden, cell, lane) = zero;
    for (int c = 0; c < C; ++c) at(color[c], cell, lane) = zero;
  }
  unsigned live = ALL_CELLS;
  int end = starts[tile + 1];
  for (int base = starts[tile]; base < end; base += BATCH) {
    int n = smaller(BATCH, end - base);
    COOPERATE(k, n) {
      batch[k] = splats[list[base + k]];
      masks[k] = cells_of(batch[k].box, tx, ty);
    }
    SYNC();
    CELLS(cell, ALL_CELLS) {
      Column column = column_of(masks, n, cell);
      if (!((live >> cell) & 1u)) column = 0;
      real ox = real(16 * tx + 4 * int(cell & 3)) + real(0.5), oy = real(16 * ty + 4 * int(cell >> 2)) + real(0.5);
      LANES(lane) {
        V x = lane_x<real>(lane) + ox, y = lane_y<real>(lane) + oy;
        V T = at(seen, cell, lane), sdepth = at(depth, cell, lane), sw = at(hidden, cell, lane), scolor[C];
        for (int c = 0; c < C; ++c) scolor[c] = at(color[c], cell, lane);
        BITS(k, column) {
          const Splat<real, C>& g = batch[k];
          V power = log2_alpha<real>(g, x - g.u, y - g.v);
          V alpha = alpha_of<real>(power, exp2_of(power));
          V w = T >= real(SEEN_LIMIT) ? T * alpha : zero;
          for (int c = 0; c < C; ++c) scolor[c] += w * g.color[c];
          sdepth += w * g.depth;
          sw += w;
          T -= T * alpha;  // past the limit too: the shortest way from one T to the next
        }
        at(seen, cell, lane) = T, at(depth, cell, lane) = sdepth, at(hidden, cell, lane) = sw;
        for (int c = 0; c < C; ++c) at(color[c], cell, lane) = scolor[c];
      }
    }
    live = live_cells(seen, real(SEEN_LIMIT));
    if (!ANY_IN_BLOCK(live)) break;
  }
  size_t plane = size_t(frame.width) * frame.height;
  CELLS(cell, ALL_CELLS) LANES(lane) {
    int x0 = 16 * tx + 4 * int(cell & 3), y0 = 16 * ty + 4 * int(cell >> 2);
    for (int c = 0; c < C; ++c)
      store_pixel(out + c * plane, x0, y0, lane, frame.width, frame.height, at(color[c], cell, lane));
    store_pixel(out + C * plane, x0, y0, lane, frame.width, frame.height, at(depth, cell, lane));
    store_pixel(out + (C + 1) * plane, x0, y0, lane, frame.width, frame.height, at(hidden, cell, lane));
  }
}

// Replays the forward pass front to back. What lies behind a Gaussian is the pixel's total minus what came before, so
// nothing per sample is stored. out is the forward result, dout its gradient, both [C + 2, H, W]; grads is added to.
template <typename real, int C>
DEVICE void composite_backward(int tile, Frame frame, const int* starts, const int* list, const Splat<real, C>* splats,
                               const real* out, const real* dout, SplatGrad<real, C>* grads) {
  typedef Lanes<real> V;
  SHARED Splat<real, C> batch[BATCH];
  SHARED unsigned short masks[BATCH];
  SHARED int ids[BATCH];
  PerLane<real> seen, behind, dalpha, ddepth, dcolor[C];
  const V zero = V{};
  int tx = tile % frame.tiles_x, ty = tile / frame.tiles_x;
  size_t plane = size_t(frame.width) * frame.height;
  CELLS(cell, ALL_CELLS) LANES(lane) {
    int x0 = 16 * tx + 4 * int(cell & 3), y0 = 16 * ty + 4 * int(cell >> 2);
    V total = zero;
    for (int c = 0; c < C + 2; ++c) {
      V d = load_pixel(dout + c * plane, x0, y0, lane, frame.width, frame.height);
      total += d * load_pixel(out + c * plane, x0, y0, lane, frame.width, frame.height);
      if (c < C) at(dcolor[c < C ? c : 0], cell, lane) = d;
      if (c == C) at(ddepth, cell, lane) = d;
      if (c == C + 1) at(dalpha, cell, lane) = d;
    }
    at(seen, cell, lane) = zero + 1;
    at(behind, cell, lane) = total;
  }
  unsigned live = ALL_CELLS;
  int end = starts[tile + 1];
  for (int base = starts[tile]; base < end; base += BATCH) {
    int n = smaller(BATCH, end - base);
    COOPERATE(k, n) {
      ids[k] = list[base + k];
      batch[k] = splats[ids[k]];
      masks[k] = cells_of(batch[k].box, tx, ty);
    }
    SYNC();
    for (int k = 0; k < n; ++k) {
      const Splat<real, C>& g = batch[k];
      unsigned mask = masks[k] & live;
      V m = zero, mx = zero, my = zero, mxx = zero, mxy = zero, myy = zero, sdepth = zero, scolor[C];
      for (int c = 0; c < C; ++c) scolor[c] = zero;
      CELLS(cell, mask) {
        real ox = real(16 * tx + 4 * int(cell & 3)) + real(0.5) - g.u;
        real oy = real(16 * ty + 4 * int(cell >> 2)) + real(0.5) - g.v;
        LANES(lane) {
          V dx = lane_x<real>(lane) + ox, dy = lane_y<real>(lane) + oy;
          V power = log2_alpha<real>(g, dx, dy);
          V& T = at(seen, cell, lane);
          V raw = exp2_of(power);
          V alpha = alpha_of<real>(power, raw);
          V w = T >= real(SEEN_LIMIT) ? T * alpha : zero;
          V value = g.depth * at(ddepth, cell, lane) + at(dalpha, cell, lane);
          for (int c = 0; c < C; ++c) value += g.color[c] * at(dcolor[c], cell, lane);
          V rest = at(behind, cell, lane) - w * value;
          at(behind, cell, lane) = rest;
          // dL / d log(alpha): zero where alpha is, where it is capped, and where the pixel is full.
          V d = w * value - rest * (alpha / (1 - alpha));
          d = T >= real(SEEN_LIMIT) ? d : zero;
          d = raw <= real(MAX_ALPHA) ? d : zero;
          T -= T * alpha;
          V dxd = d * dx, dyd = d * dy;
          m += d, mx += dxd, my += dyd;
          mxx += dxd * dx, mxy += dxd * dy, myy += dyd * dy;
          sdepth += w * at(ddepth, cell, lane);
          for (int c = 0; c < C; ++c) scolor[c] += w * at(dcolor[c], cell, lane);
        }
      }
      SplatGrad<real, C>* grad = grads + ids[k];
      add_over_lanes(&grad->m, m), add_over_lanes(&grad->mx, mx), add_over_lanes(&grad->my, my);
      add_over_lanes(&grad->mxx, mxx), add_over_lanes(&grad->mxy, mxy), add_over_lanes(&grad->myy, myy);
      add_over_lanes(&grad->depth, sdepth);
      for (int c = 0; c < C; ++c) add_over_lanes(&grad->color[c], scolor[c]);
    }
    live = live_cells(seen, real(SEEN_LIMIT));
    if (!ANY_IN_BLOCK(live)) break;
  }
}

// From the moments of one Gaussian to the gradients of what it was made of; adds to dmean[3], daxes[6], *dopacity,
// dcolor[C]. With Q the inverse screen covariance and M the matrix of second moments, dL/dSigma = Q M Q / 2.
template <typename real, int C>
DEVICE void project_backward(const Camera<real>& camera, real eps2d, const real* mean, const real* axes, real opacity,
                             Box box, const SplatGrad<real, C>& grad, real* dmean, real* daxes, real* dopacity,
                             real* dcolor) {
  if (box.x1 == 0) return;
  Projected<real> g = project_disc<real, real>(camera, mean, axes, eps2d);
  *dopacity += grad.m / opacity;
  for (int c = 0; c < C; ++c) dcolor[c] += grad.color[c];
  real du = g.ixx * grad.mx + g.ixy * grad.my, dv = g.ixy * grad.mx + g.iyy * grad.my;
  // For an axis a: dL/da = 2 (dL/dSigma) a = Q M Q a.
  real hx = g.ixx * g.px + g.ixy * g.py, hy = g.ixy * g.px + g.iyy * g.py;
  real nx = grad.mxx * hx + grad.mxy * hy, ny = grad.mxy * hx + grad.myy * hy;
  real dpx = g.ixx * nx + g.ixy * ny, dpy = g.ixy * nx + g.iyy * ny;
  hx = g.ixx * g.qx + g.ixy * g.qy, hy = g.ixy * g.qx + g.iyy * g.qy;
  nx = grad.mxx * hx + grad.mxy * hy, ny = grad.mxy * hx + grad.myy * hy;
  real dqx = g.ixx * nx + g.ixy * ny, dqy = g.ixy * nx + g.iyy * ny;
  // Through the perspective: px = fx / z (p0 - x / z p2), and so on.
  real jx = camera.fx * g.iz, jy = camera.fy * g.iz, kx = g.x * g.iz, ky = g.y * g.iz;
  real dp[3] = {jx * dpx, jy * dpy, -(jx * kx * dpx + jy * ky * dpy)};
  real dq[3] = {jx * dqx, jy * dqy, -(jx * kx * dqx + jy * ky * dqy)};
  real dkx = camera.fx * du - jx * (g.p[2] * dpx + g.q[2] * dqx);
  real dky = camera.fy * dv - jy * (g.p[2] * dpy + g.q[2] * dqy);
  real shrink = g.px * dpx + g.py * dpy + g.qx * dqx + g.qy * dqy;
  real d[3] = {dkx * g.iz, dky * g.iz, grad.depth - g.iz * (shrink + kx * dkx + ky * dky)};
  const real* r = camera.r;
  for (int k = 0; k < 3; ++k) {
    dmean[k] += r[k] * d[0] + r[3 + k] * d[1] + r[6 + k] * d[2];
    daxes[k] += r[k] * dp[0] + r[3 + k] * dp[1] + r[6 + k] * dp[2];
    daxes[3 + k] += r[k] * dq[0] + r[3 + k] * dq[1] + r[6 + k] * dq[2];
  }
}
