// Trigonometric polynomials of many edges at once, with first and second derivatives.
//
// The values of an edge are f = A0 + A1 cos(x) + A2 sin(x), x its last angle, A = C t, and t all
// products of 1, cos and sin of its other angles. A block of edges fills the lanes of one vector.
// Second derivatives along a direction v are the same code on dual numbers, a + b·ε with ε² = 0.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int MAX_ANGLES = 6;  // FOURIER_LIMIT
constexpr int MAX_TERMS = 243;  // 3^(MAX_ANGLES - 1)
constexpr int MAX_VALUES = 8;  // MAX_QUBITS
constexpr int BYTES = 64;

template <class T> struct Vector { typedef T type __attribute__((vector_size(BYTES))); };
template <class T> using Lanes = typename Vector<T>::type;

template <class T> struct Sum {
    Lanes<T> lanes = {};
};

template <class V> struct Dual {
    V a, b;
};
template <class V> inline Dual<V> operator+(Dual<V> x, Dual<V> y) { return {x.a + y.a, x.b + y.b}; }
template <class V> inline Dual<V> operator-(Dual<V> x, Dual<V> y) { return {x.a - y.a, x.b - y.b}; }
template <class V> inline Dual<V> operator*(Dual<V> x, Dual<V> y) {
    return {x.a * y.a, x.a * y.b + x.b * y.a};
}
template <class V> inline Dual<V> operator*(V x, Dual<V> y) { return {x * y.a, x * y.b}; }

// A coefficient, the same in all lanes, times a number.
template <class V, class T> inline V times(T c, V x) { return c * x; }
template <class V, class T> inline Dual<V> times(T c, Dual<V> x) { return {c * x.a, c * x.b}; }

// What is asked for: the number itself, or its derivative along the direction.
template <class V> inline V result(V x) { return x; }
template <class V> inline V result(Dual<V> x) { return x.b; }

// Cosine and sine of an angle; with a direction v, their derivatives along it.
template <class V> inline void angle(V cos, V sin, V, V& c, V& s) { c = cos; s = sin; }
template <class V> inline void angle(V cos, V sin, V v, Dual<V>& c, Dual<V>& s) {
    c = {cos, -sin * v};
    s = {sin, cos * v};
}

// Transpose between rows of `width` numbers, one row an edge, and one vector a column.
template <class T> inline void load(const T* from, int width, int edges, Lanes<T>* to) {
    for (int k = 0; k < width; ++k) to[k] = Lanes<T>{};
    for (int e = 0; e < edges; ++e)
        for (int k = 0; k < width; ++k) to[k][e] = from[e * width + k];
}
template <class T> inline void store(const Lanes<T>* from, int width, int edges, T* to) {
    for (int e = 0; e < edges; ++e)
        for (int k = 0; k < width; ++k) to[e * width + k] = from[k][e];
}

// A = C t, six rows at a time: independent sums hide the latency of the additions.
template <class N, class T>
inline void multiply(const T* C, int rows, int terms, const N* t, N* A) {
    constexpr int TILE = 6;
    for (int first = 0; first < rows; first += TILE) {
        const T* row[TILE];
        for (int r = 0; r < TILE; ++r) row[r] = C + (first + r < rows ? first + r : first) * terms;
        N sum[TILE] = {};
        for (int i = 0; i < terms; ++i)
            for (int r = 0; r < TILE; ++r) sum[r] = sum[r] + times(row[r][i], t[i]);
        for (int r = 0; r < TILE && first + r < rows; ++r) A[first + r] = sum[r];
    }
}

// H = Cᵀ G, for as many terms at a time.
template <class N, class T>
inline void multiply_transposed(const T* C, int rows, int terms, const N* G, N* H) {
    constexpr int TILE = 9;
    for (int first = 0; first < terms; first += TILE) {
        const int width = terms - first < TILE ? terms - first : TILE;
        N sum[TILE] = {};
        if (width == TILE)
            for (int r = 0; r < rows; ++r)
                for (int i = 0; i < TILE; ++i)
                    sum[i] = sum[i] + times(C[r * terms + first + i], G[r]);
        else
            for (int r = 0; r < rows; ++r)
                for (int i = 0; i < width; ++i)
                    sum[i] = sum[i] + times(C[r * terms + first + i], G[r]);
        for (int i = 0; i < width; ++i) H[first + i] = sum[i];
    }
}

// N is Lanes (values, first derivatives) or Dual (both, along a direction). Without g, no
// gradients are taken; without gC, none of the coefficients.
template <class N, class T>
__attribute__((always_inline)) inline void sweep(int n, int q, int64_t batch, const T* cos, const T* sin, const T* direction,
           const T* C, const T* g, T* values, T* gx, T* gC) {
    typedef Lanes<T> V;
    constexpr int LANES = BYTES / sizeof(T);
    int terms = 1;
    for (int k = 1; k < n; ++k) terms *= 3;
    std::vector<Sum<T>> sums(gC ? 3 * q * terms : 0);
    // gC is added up for several blocks at a time: its cost is the stores to `sums`.
    constexpr int GATHER = 4;
    N all_t[GATHER][MAX_TERMS] = {}, all_G[GATHER][3 * MAX_VALUES];
    int gathered = 0;
    for (int64_t first = 0; first < batch; first += LANES) {
        const int edges = batch - first < LANES ? int(batch - first) : LANES;
        V cosines[MAX_ANGLES], sines[MAX_ANGLES], v[MAX_ANGLES] = {};
        load(cos + first * n, n, edges, cosines);
        load(sin + first * n, n, edges, sines);
        if (direction) load(direction + first * n, n, edges, v);
        N c[MAX_ANGLES], s[MAX_ANGLES], A[3 * MAX_VALUES], *t = all_t[gathered], *G = all_G[gathered];
        for (int k = 0; k < n; ++k) angle(cosines[k], sines[k], v[k], c[k], s[k]);
        t[0] = N{} ;
        reinterpret_cast<V*>(t)[0] = V{} + T(1);
        for (int k = 0, size = 1; k < n - 1; ++k, size *= 3)
            for (int i = 0; i < size; ++i) {
                t[size + i] = t[i] * c[k];
                t[2 * size + i] = t[i] * s[k];
            }
        multiply(C, 3 * q, terms, t, A);
        V out[MAX_VALUES];
        const N cn = c[n - 1], sn = s[n - 1];
        for (int j = 0; j < q; ++j) out[j] = result(A[j] + A[q + j] * cn + A[2 * q + j] * sn);
        if (values) store(out, q, edges, values + first * q);
        if (!g) continue;

        V weight[MAX_VALUES];
        load(g + first * q, q, edges, weight);
        N H[MAX_TERMS], last = {};
        for (int j = 0; j < q; ++j) {
            G[j] = N{};
            reinterpret_cast<V*>(&G[j])[0] = weight[j];
            G[q + j] = weight[j] * cn;
            G[2 * q + j] = weight[j] * sn;
            last = last + weight[j] * (A[2 * q + j] * cn - A[q + j] * sn);
        }
        multiply_transposed(C, 3 * q, terms, G, H);
        V gradient[MAX_ANGLES];
        gradient[n - 1] = result(last);
        for (int k = n - 2, size = terms / 3; k >= 0; --k, size /= 3) {
            N sum = {};
            for (int i = 0; i < size; ++i) {
                sum = sum + t[i] * (H[2 * size + i] * c[k] - H[size + i] * s[k]);
                H[i] = H[i] + H[size + i] * c[k] + H[2 * size + i] * s[k];
            }
            gradient[k] = result(sum);
        }
        store(gradient, n, edges, gx + first * n);
        if (!gC || (++gathered < GATHER && first + LANES < batch)) continue;
        for (; gathered < GATHER; ++gathered) std::memset(all_G[gathered], 0, sizeof(all_G[0]));
        for (int r = 0; r < 3 * q; ++r)
            for (int i = 0; i < terms; ++i) {
                V sum = sums[r * terms + i].lanes;
                for (int b = 0; b < GATHER; ++b) sum += result(all_G[b][r] * all_t[b][i]);
                sums[r * terms + i].lanes = sum;
            }
        gathered = 0;
    }
    if (gC)
        for (int i = 0; i < 3 * q * terms; ++i) {
            gC[i] = 0;
            for (int lane = 0; lane < LANES; ++lane) gC[i] += sums[i].lanes[lane];
        }
}

template <class N, class T>
void run(int n, int q, int64_t batch, const T* cos, const T* sin, const T* direction, const T* C,
         const T* g, T* values, T* gx, T* gC) {
    if (n == 4 && q == 4)  // the paper's circuit: sizes known to the compiler, twice as fast
        sweep<N, T>(4, 4, batch, cos, sin, direction, C, g, values, gx, gC);
    else
        sweep<N, T>(n, q, batch, cos, sin, direction, C, g, values, gx, gC);
}

template <class T>
void polynomial(int n, int q, int64_t batch, const T* cos, const T* sin, const T* direction,
                const T* C, const T* g, T* values, T* gx, T* gC) {
    if (direction)
        run<Dual<Lanes<T>>, T>(n, q, batch, cos, sin, direction, C, g, values, gx, gC);
    else
        run<Lanes<T>, T>(n, q, batch, cos, sin, direction, C, g, values, gx, gC);
}

}  // namespace

extern "C" {
void polynomial_float32(int n, int q, int64_t batch, const float* cos, const float* sin,
                        const float* direction, const float* C, const float* g, float* values,
                        float* gx, float* gC) {
    polynomial(n, q, batch, cos, sin, direction, C, g, values, gx, gC);
}
void polynomial_float64(int n, int q, int64_t batch, const double* cos, const double* sin,
                        const double* direction, const double* C, const double* g, double* values,
                        double* gx, double* gC) {
    polynomial(n, q, batch, cos, sin, direction, C, g, values, gx, gC);
}
}
