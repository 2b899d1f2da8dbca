// Sweeps over flat CPU tensors that would take several ATen operations, and as many trips to
// memory. Sums are in double precision over blocks of fixed size, so that they do not depend on
// the number of threads.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t kBlock = 1 << 14;
// Partial sums in the tensor's own precision are this long at most.
constexpr int64_t kRun = 512;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define CLONES
#endif

// T = |theta| + eta. The three sums are of g^2, (T g)^2 and (T^2 g)^2.
#define SWEEPS(T, NAME)                                                                            \
  CLONES void norms_##NAME(const T *theta, const T *grad, T eta, int64_t n, double *out) {         \
    for (int64_t start = 0; start < n; start += kRun) {                                            \
      T a = 0, b = 0, c = 0;                                                                       \
      int64_t stop = std::min(start + kRun, n);                                                    \
      _Pragma("omp simd reduction(+ : a, b, c)") for (int64_t i = start; i < stop; i++) {          \
        T g = grad[i], t = std::abs(theta[i]) + eta;                                               \
        T tg = t * g, ttg = t * tg;                                                                \
        a += g * g;                                                                                \
        b += tg * tg;                                                                              \
        c += ttg * ttg;                                                                            \
      }                                                                                            \
      out[0] += a;                                                                                 \
      out[1] += b;                                                                                 \
      out[2] += c;                                                                                 \
    }                                                                                              \
  }                                                                                                \
  CLONES void squares_##NAME(const T *x, int64_t n, double *out) {                                 \
    for (int64_t start = 0; start < n; start += kRun) {                                            \
      T a = 0;                                                                                     \
      int64_t stop = std::min(start + kRun, n);                                                    \
      _Pragma("omp simd reduction(+ : a)") for (int64_t i = start; i < stop; i++) a += x[i] * x[i]; \
      out[0] += a;                                                                                 \
    }                                                                                              \
  }                                                                                                \
  CLONES void perturb_##NAME(T *out, const T *theta, const T *grad, T scale, T eta, bool scaled,   \
                             int64_t n) {                                                          \
    if (scaled) {                                                                                  \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                        \
        T t = std::abs(theta[i]) + eta;                                                            \
        out[i] = theta[i] + scale * (t * (t * grad[i]));                                           \
      }                                                                                            \
    } else {                                                                                       \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) out[i] = theta[i] + scale * grad[i];     \
    }                                                                                              \
  }                                                                                                \
  /* grad <- u = w g, w = 1 / (add + mul f). The sum is of g u. */                                 \
  CLONES void fisher_##NAME(T *grad, const T *f, T mul, T add, int64_t n, double *out) {           \
    for (int64_t start = 0; start < n; start += kRun) {                                            \
      T a = 0;                                                                                     \
      int64_t stop = std::min(start + kRun, n);                                                    \
      if (f) {                                                                                     \
        _Pragma("omp simd reduction(+ : a)") for (int64_t i = start; i < stop; i++) {              \
          T g = grad[i], u = g / (add + mul * f[i]);                                               \
          a += g * u;                                                                              \
          grad[i] = u;                                                                             \
        }                                                                                          \
      } else {                                                                                     \
        _Pragma("omp simd reduction(+ : a)") for (int64_t i = start; i < stop; i++) {              \
          T g = grad[i], u = g / (add + mul * (g * g));                                            \
          a += g * u;                                                                              \
          grad[i] = u;                                                                             \
        }                                                                                          \
      }                                                                                            \
      out[0] += a;                                                                                 \
    }                                                                                              \
  }

SWEEPS(float, f32)
SWEEPS(double, f64)

// e^x for x <= 0, by the usual reduction to [-ln 2 / 2, ln 2 / 2]; 1e-38 at the lower end. A NaN
// stays one.
inline float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  float n = x * 1.44269504088896341f + 12582912.0f;
  n -= 12582912.0f;
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return y * power;
}
inline double exp_of(double x) { return std::exp(x); }

// KL(softmax p || softmax q) of one row: sum P (p - q) - lse p + lse q, which is exactly 0 for
// equal rows. With `slope`, also factor times its gradient in q, Q - P; `scratch` then has room for a row.
#define KL(T, NAME)                                                                                \
  CLONES double kl_##NAME(const T *p, const T *q, int64_t n, T *slope, T factor, T *scratch) {     \
    T mp = p[0], mq = q[0];                                                                        \
    _Pragma("omp simd reduction(max : mp, mq)") for (int64_t i = 0; i < n; i++) {                  \
      mp = p[i] > mp ? p[i] : mp;                                                                  \
      mq = q[i] > mq ? q[i] : mq;                                                                  \
    }                                                                                              \
    double sp = 0, sq = 0, cross = 0;                                                              \
    for (int64_t start = 0; start < n; start += kRun) {                                            \
      T a = 0, b = 0, c = 0;                                                                       \
      int64_t stop = std::min(start + kRun, n);                                                    \
      if (slope) {                                                                                 \
        _Pragma("omp simd reduction(+ : a, b, c)") for (int64_t i = start; i < stop; i++) {        \
          T ep = exp_of(p[i] - mp), eq = exp_of(q[i] - mq);                                        \
          a += ep;                                                                                 \
          b += eq;                                                                                 \
          c += ep * (p[i] - q[i]);                                                                 \
          scratch[i] = ep;                                                                         \
          slope[i] = eq;                                                                           \
        }                                                                                          \
      } else {                                                                                     \
        _Pragma("omp simd reduction(+ : a, b, c)") for (int64_t i = start; i < stop; i++) {        \
          T ep = exp_of(p[i] - mp), eq = exp_of(q[i] - mq);                                        \
          a += ep;                                                                                 \
          b += eq;                                                                                 \
          c += ep * (p[i] - q[i]);                                                                 \
        }                                                                                          \
      }                                                                                            \
      sp += a;                                                                                     \
      sq += b;                                                                                     \
      cross += c;                                                                                  \
    }                                                                                              \
    if (slope) {                                                                                   \
      T ip = static_cast<T>(factor / sp), iq = static_cast<T>(factor / sq);                        \
      _Pragma("omp simd") for (int64_t i = 0; i < n; i++) slope[i] =                               \
          slope[i] * iq - scratch[i] * ip;                                                         \
    }                                                                                              \
    return cross / sp - (mp + std::log(sp)) + (mq + std::log(sq));                                 \
  }

KL(float, f32)
KL(double, f64)

template <class F> char *guarded(F &&body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &e) {
    return strdup(e.what());
  }
}

// Runs `sweep(block start, block length, sums)` over all blocks and adds the sums up in order.
template <int sums, class F> at::Tensor blocks(int64_t n, F &&sweep) {
  int64_t count = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(count * sums, 0.0);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      int64_t start = block * kBlock;
      sweep(start, std::min(kBlock, n - start), &partial[block * sums]);
    }
  });
  auto out = at::zeros({sums}, at::kDouble);
  auto *sum = out.data_ptr<double>();
  for (int64_t block = 0; block < count; block++)
    for (int i = 0; i < sums; i++)
      sum[i] += partial[block * sums + i];
  return out;
}

void need(const at::Tensor &x, const at::Tensor &like) {
  TORCH_CHECK(x.is_contiguous() && x.device().is_cpu() && x.scalar_type() == like.scalar_type() &&
                  x.numel() == like.numel(),
              "a flat CPU tensor of one kind and size is needed");
}

#define DISPATCH(x, body)                                                                          \
  if ((x).scalar_type() == at::kFloat) {                                                           \
    using T = float;                                                                               \
    body(f32)                                                                                      \
  } else if ((x).scalar_type() == at::kDouble) {                                                   \
    using T = double;                                                                              \
    body(f64)                                                                                      \
  } else {                                                                                         \
    TORCH_CHECK(false, "single or double precision is needed");                                    \
  }

} // namespace

extern "C" {

char *tx_squares(at::Tensor *x, at::Tensor **out) {
  return guarded([&] {
    need(*x, *x);
#define BODY(NAME)                                                                                 \
  auto *p = x->data_ptr<T>();                                                                      \
  *out = new at::Tensor(blocks<1>(x->numel(), [&](int64_t i, int64_t n, double *sums) {            \
    squares_##NAME(p + i, n, sums);                                                                \
  }));
    DISPATCH(*x, BODY)
#undef BODY
  });
}

char *tx_norms(at::Tensor *theta, at::Tensor *grad, double eta, at::Tensor **out) {
  return guarded([&] {
    need(*theta, *grad);
    need(*grad, *theta);
#define BODY(NAME)                                                                                 \
  auto *p = theta->data_ptr<T>();                                                                  \
  auto *g = grad->data_ptr<T>();                                                                   \
  *out = new at::Tensor(blocks<3>(grad->numel(), [&](int64_t i, int64_t n, double *sums) {         \
    norms_##NAME(p + i, g + i, static_cast<T>(eta), n, sums);                                      \
  }));
    DISPATCH(*grad, BODY)
#undef BODY
  });
}

char *tx_perturb(at::Tensor *out, at::Tensor *theta, at::Tensor *grad, at::Tensor *scale, double eta,
                 bool scaled) {
  return guarded([&] {
    need(*theta, *grad);
    need(*grad, *theta);
    need(*out, *theta);
    double factor = scale->item<double>();
#define BODY(NAME)                                                                                 \
  auto *o = out->data_ptr<T>();                                                                    \
  auto *p = theta->data_ptr<T>();                                                                  \
  auto *g = grad->data_ptr<T>();                                                                   \
  at::parallel_for(0, grad->numel(), kBlock, [&](int64_t begin, int64_t end) {                     \
    perturb_##NAME(o + begin, p + begin, g + begin, static_cast<T>(factor), static_cast<T>(eta),   \
                   scaled, end - begin);                                                           \
  });
    DISPATCH(*grad, BODY)
#undef BODY
  });
}

char *tx_fisher(at::Tensor *grad, at::Tensor *f, double mul, double add, at::Tensor **out) {
  return guarded([&] {
    need(*grad, *grad);
    if (f)
      need(*f, *grad);
#define BODY(NAME)                                                                                 \
  auto *g = grad->data_ptr<T>();                                                                   \
  auto *q = f ? f->data_ptr<T>() : nullptr;                                                        \
  *out = new at::Tensor(blocks<1>(grad->numel(), [&](int64_t i, int64_t n, double *sums) {         \
    fisher_##NAME(g + i, q ? q + i : nullptr, static_cast<T>(mul), static_cast<T>(add), n, sums);  \
  }));
    DISPATCH(*grad, BODY)
#undef BODY
  });
}

// Sum over rows of KL(softmax p || softmax q); with `slope`, of the same shape, `factor`
// times its gradient in q.
char *tx_kl(at::Tensor *p, at::Tensor *q, at::Tensor *slope, double factor, at::Tensor **out) {
  return guarded([&] {
    need(*p, *q);
    need(*q, *p);
    if (slope)
      need(*slope, *p);
    int64_t classes = p->size(-1), rows = classes ? p->numel() / classes : 0;
#define BODY(NAME)                                                                                 \
  auto *a = p->data_ptr<T>();                                                                      \
  auto *b = q->data_ptr<T>();                                                                      \
  auto *g = slope ? slope->data_ptr<T>() : nullptr;                                                \
  std::vector<double> each(rows);                                                                  \
  at::parallel_for(0, rows, std::max<int64_t>(1, kBlock / classes), [&](int64_t begin, int64_t end) { \
    std::vector<T> scratch(g ? classes : 0);                                                       \
    for (int64_t row = begin; row < end; row++) {                                                  \
      int64_t at = row * classes;                                                                  \
      each[row] = kl_##NAME(a + at, b + at, classes, g ? g + at : nullptr,                        \
                             static_cast<T>(factor), scratch.data());                              \
    }                                                                                              \
  });                                                                                              \
  double sum = 0;                                                                                  \
  for (double kl : each)                                                                           \
    sum += kl;                                                                                     \
  *out = new at::Tensor(at::scalar_tensor(sum, at::kDouble));
    DISPATCH(*p, BODY)
#undef BODY
  });
}

} // extern "C"
