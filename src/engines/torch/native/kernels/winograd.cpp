#include "winograd.h"

#include "kernels.h"
#include "vector.h"

namespace GRADAMP_ISA {

namespace {


/** The one-dimensional transforms; a two-dimensional one applies them to columns, then to rows. */
template <int M>
struct Transform;

template <>
struct Transform<2> {
  static inline void input(const Vec (&d)[4], Vec (&t)[4]) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  static inline void output(const Vec (&t)[4], Vec (&y)[2]) {
    y[0] = t[0] + t[1] + t[2];
    y[1] = t[1] - t[2] - t[3];
  }
  static inline void outputGradient(const Vec (&y)[2], Vec (&t)[4]) {
    t[0] = y[0];
    t[1] = y[0] + y[1];
    t[2] = y[0] - y[1];
    t[3] = -y[1];
  }
  static inline void filter(const Vec (&g)[3], Vec (&u)[4]) {
    const Vec ends = 0.5f * (g[0] + g[2]);
    const Vec middle = 0.5f * g[1];
    u[0] = g[0];
    u[1] = ends + middle;
    u[2] = ends - middle;
    u[3] = g[2];
  }
  static inline void filterGradient(const Vec (&u)[4], Vec (&g)[3]) {
    const Vec sum = 0.5f * (u[1] + u[2]);
    g[0] = u[0] + sum;
    g[1] = 0.5f * (u[1] - u[2]);
    g[2] = sum + u[3];
  }
};

template <>
struct Transform<4> {
  static inline void input(const Vec (&d)[6], Vec (&t)[6]) {
    const Vec a = d[4] - 4.0f * d[2];
    const Vec b = d[3] - 4.0f * d[1];
    const Vec c = d[4] - d[2];
    const Vec e = 2.0f * (d[3] - d[1]);
    t[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
  }
  static inline void output(const Vec (&t)[6], Vec (&y)[4]) {
    const Vec a = t[1] + t[2];
    const Vec b = t[1] - t[2];
    const Vec c = t[3] + t[4];
    const Vec e = t[3] - t[4];
    y[0] = t[0] + a + c;
    y[1] = b + 2.0f * e;
    y[2] = a + 4.0f * c;
    y[3] = b + 8.0f * e + t[5];
  }
  static inline void outputGradient(const Vec (&y)[4], Vec (&t)[6]) {
    const Vec a = y[0] + y[2];
    const Vec b = y[1] + y[3];
    const Vec c = y[0] + 4.0f * y[2];
    const Vec e = 2.0f * y[1] + 8.0f * y[3];
    t[0] = y[0];
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = y[3];
  }
  static inline void filter(const Vec (&g)[3], Vec (&u)[6]) {
    const Vec a = (-1.0f / 6) * (g[0] + g[2]);
    const Vec b = (1.0f / 6) * g[1];
    const Vec c = (1.0f / 24) * g[0] + (1.0f / 6) * g[2];
    const Vec e = (1.0f / 12) * g[1];
    u[0] = 0.25f * g[0];
    u[1] = a - b;
    u[2] = a + b;
    u[3] = c + e;
    u[4] = c - e;
    u[5] = g[2];
  }
  static inline void filterGradient(const Vec (&u)[6], Vec (&g)[3]) {
    const Vec a = (1.0f / 6) * (u[1] + u[2]);
    const Vec b = u[3] + u[4];
    g[0] = 0.25f * u[0] - a + (1.0f / 24) * b;
    g[1] = (1.0f / 6) * (u[2] - u[1]) + (1.0f / 12) * (u[3] - u[4]);
    g[2] = (1.0f / 6) * b - a + u[5];
  }
};

/** OUT x OUT values, stored by `to(i, j, value)`, from IN x IN that `from(i, j)` loads: down the columns, then along the rows. */
template <int IN, int OUT, typename F, typename From, typename To>
inline void both(F transform, From from, To to) {
  Vec half[OUT][IN];
#pragma GCC unroll 8
  for (int j = 0; j < IN; j++) {
    Vec column[IN];
    Vec result[OUT];
#pragma GCC unroll 8
    for (int i = 0; i < IN; i++) column[i] = from(i, j);
    transform(column, result);
#pragma GCC unroll 8
    for (int i = 0; i < OUT; i++) half[i][j] = result[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < OUT; i++) {
    Vec result[OUT];
    transform(half[i], result);
#pragma GCC unroll 8
    for (int j = 0; j < OUT; j++) to(i, j, result[j]);
  }
}

/**
 * Calls body(at), where at(i, j) points to a place of the S x S that start at (top, left), or to `outside` where it lies
 * outside the map.
 */
template <int S, typename T, typename Body>
inline void withPlaces(const WinogradMap& map, T* sample, int64_t top, int64_t left, T* outside, Body body) {
  const auto channels = map.channels;
  T* origin = sample + (top * map.width + left) * channels;
  const auto width = map.width * channels;
  // Most tiles of a large map: no need to look at every place.
  if (top >= 0 && left >= 0 && top + S <= map.height && left + S <= map.width) {
    body([=](int64_t i, int64_t j) { return origin + i * width + j * channels; });
    return;
  }
  T* at[S][S];
  for (int i = 0; i < S; i++) {
    for (int j = 0; j < S; j++) {
      const auto y = top + i;
      const auto x = left + j;
      const bool inside = y >= 0 && y < map.height && x >= 0 && x < map.width;
      at[i][j] = inside ? origin + i * width + j * channels : outside;
    }
  }
  body([&](int64_t i, int64_t j) { return at[i][j]; });
}

/** Calls body(row, start of the tile's sample, top, left) for each tile, by the place of its outputs. */
template <int M, typename Body>
inline void forTiles(const WinogradMap& map, int64_t first, int64_t count, Body body) {
  const auto across = (map.width + M - 1) / M;
  const auto each = across * ((map.height + M - 1) / M);
  for (int64_t row = 0; row < count; row++) {
    const auto tile = (first + row) % each;
    const auto sample = (first + row) / each * map.height * map.width * map.channels;
    body(row, sample, tile / across * M, tile % across * M);
  }
}

template <int M>
void inputTransformAs(const WinogradMap& map, const float* x, int64_t first, int64_t count, const WinogradTiles& tiles) {
  constexpr int T = M + 2;
  forTiles<M>(map, first, count, [&](int64_t row, int64_t sample, int64_t top, int64_t left) {
    float* to = tiles.values + row * tiles.row;
    withPlaces<T>(map, x + sample, top - 1, left - 1, map.zeros, [&](auto at) {
      for (int64_t c = 0; c < map.channels; c += LANES) {
        both<T, T>(
            Transform<M>::input, [&](int i, int j) { return load(at(i, j) + c); },
            [&](int i, int j, Vec value) { store(to + (i * T + j) * tiles.position + c, value); });
      }
    });
  });
}

template <int M>
void outputTransformAs(const WinogradMap& map, const WinogradTiles& tiles, int64_t first, int64_t count,
                       const float* bias, float* y) {
  constexpr int T = M + 2;
  forTiles<M>(map, first, count, [&](int64_t row, int64_t sample, int64_t top, int64_t left) {
    const float* from = tiles.values + row * tiles.row;
    withPlaces<M>(map, y + sample, top, left, map.sink, [&](auto at) {
      for (int64_t c = 0; c < map.channels; c += LANES) {
        const Vec shift = bias ? load(bias + c) : Vec{};
        both<T, M>(
            Transform<M>::output, [&](int i, int j) { return load(from + (i * T + j) * tiles.position + c); },
            [&](int i, int j, Vec value) { store(at(i, j) + c, value + shift); });
      }
    });
  });
}

template <int M>
void outputGradientTransformAs(const WinogradMap& map, const float* dy, int64_t first, int64_t count,
                               const WinogradTiles& tiles) {
  constexpr int T = M + 2;
  forTiles<M>(map, first, count, [&](int64_t row, int64_t sample, int64_t top, int64_t left) {
    float* to = tiles.values + row * tiles.row;
    withPlaces<M>(map, dy + sample, top, left, map.zeros, [&](auto at) {
      for (int64_t c = 0; c < map.channels; c += LANES) {
        both<M, T>(
            Transform<M>::outputGradient, [&](int i, int j) { return load(at(i, j) + c); },
            [&](int i, int j, Vec value) { store(to + (i * T + j) * tiles.position + c, value); });
      }
    });
  });
}

template <int M>
void filterTransformAs(bool forward, int64_t outputs, int64_t inputs, const float* w, int64_t first, int64_t last,
                       float* scratch, float* transformed) {
  constexpr int T = M + 2;
  const auto depth = forward ? inputs : outputs;
  const auto columns = forward ? outputs : inputs;
  for (int64_t panel = first; panel < last; panel++) {
    // The taps of a panel's outputs side by side: [tap, input, COLUMNS].
    if (forward) transpose(9 * inputs, w + panel * COLUMNS * 9 * inputs, 9 * inputs, scratch);
    for (int64_t k = 0; k < depth; k++) {
      float* to = transformed + (panel * depth + k) * COLUMNS;
      for (int half = 0; half < COLUMNS; half += LANES) {
        both<3, T>(
            Transform<M>::filter,
            [&](int i, int j) {
              return forward ? load(scratch + ((i * 3 + j) * inputs + k) * COLUMNS + half)
                             : load(w + (k * 9 + 8 - (i * 3 + j)) * inputs + panel * COLUMNS + half);
            },
            [&](int i, int j, Vec value) { store(to + (i * T + j) * depth * columns + half, value); });
      }
    }
  }
}

template <int M>
void filterGradientTransformAs(int64_t outputs, int64_t inputs, const float* u, int64_t first, int64_t last, float* dw) {
  constexpr int T = M + 2;
  for (int64_t o = first; o < last; o++) {
    for (int64_t c = 0; c < inputs; c += LANES) {
      both<T, 3>(
          Transform<M>::filterGradient,
          [&](int i, int j) { return load(u + ((i * T + j) * outputs + o) * inputs + c); },
          [&](int i, int j, Vec value) {
            float* to = dw + (o * 9 + i * 3 + j) * inputs + c;
            store(to, load(to) + value);
          });
    }
  }
}

void inputTransform(int m, const WinogradMap& map, const float* x, int64_t first, int64_t count,
                    const WinogradTiles& tiles) {
  (m == 4 ? inputTransformAs<4> : inputTransformAs<2>)(map, x, first, count, tiles);
}

void outputTransform(int m, const WinogradMap& map, const WinogradTiles& tiles, int64_t first, int64_t count,
                     const float* bias, float* y) {
  (m == 4 ? outputTransformAs<4> : outputTransformAs<2>)(map, tiles, first, count, bias, y);
}

void outputGradientTransform(int m, const WinogradMap& map, const float* dy, int64_t first, int64_t count,
                             const WinogradTiles& tiles) {
  (m == 4 ? outputGradientTransformAs<4> : outputGradientTransformAs<2>)(map, dy, first, count, tiles);
}

void filterTransform(int m, bool forward, int64_t outputs, int64_t inputs, const float* w, int64_t first, int64_t last,
                     float* scratch, float* transformed) {
  (m == 4 ? filterTransformAs<4> : filterTransformAs<2>)(forward, outputs, inputs, w, first, last, scratch, transformed);
}

void filterGradientTransform(int m, int64_t outputs, int64_t inputs, const float* u, int64_t first, int64_t last,
                             float* dw) {
  (m == 4 ? filterGradientTransformAs<4> : filterGradientTransformAs<2>)(outputs, inputs, u, first, last, dw);
}

}  // namespace

extern const WinogradKernels winogradKernels = {
    inputTransform,
    outputTransform,
    outputGradientTransform,
    filterTransform,
    filterGradientTransform,
};

}  // namespace GRADAMP_ISA
