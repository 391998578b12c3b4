// The functions of statistics that the page needs, to 1e-12 or so: each from its series, its continued fraction, or its asymptotic series.

// the sum of a series whose terms `next` gives, until they no longer count
function series(first, next) {
  let term = first, sum = first;
  for (let i = 1; i < 100000; i++) {
    term = next(term, i);
    sum += term;
    if (Math.abs(term) < 1e-17 * Math.abs(sum)) return sum;
  }
  return sum;
}

// a continued fraction b0 + a1/(b1 + a2/(b2 + …)), by Lentz's method
function fraction(b0, a, b) {
  const safe = v => Math.abs(v) < 1e-300 ? 1e-300 : v;
  let f = safe(b0), c = f, d = 0;
  for (let i = 1; i < 100000; i++) {
    d = 1 / safe(b(i) + a(i) * d);
    c = safe(b(i) + a(i) / c);
    f *= c * d;
    if (Math.abs(c * d - 1) < 1e-16) return f;
  }
  return f;
}

// a function that is known for large numbers, by steps up to them: f(x) = f(x + 1) + step(x)
const lifted = (x, step, far) => {
  let sum = 0;
  for (; x < 12; x++) sum += step(x);
  return sum + far(x);
};

// Bernoulli's numbers: 1/6, -1/30, 1/42 …
const B = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510];
const asymptotic = term => B.reduce((sum, b, i) => sum + term(b, 2 * (i + 1)), 0);

export const lgamma = x => lifted(x, v => -Math.log(v),
  v => (v - .5) * Math.log(v) - v + Math.log(2 * Math.PI) / 2 + asymptotic((b, n) => b / (n * (n - 1) * v ** (n - 1))));
export const digamma = x => lifted(x, v => -1 / v, v => Math.log(v) - .5 / v - asymptotic((b, n) => b / (n * v ** n)));
export const trigamma = x => lifted(x, v => 1 / v ** 2, v => 1 / v + .5 / v ** 2 + asymptotic((b, n) => b / v ** (n + 1)));
export const tetragamma = x => lifted(x, v => -2 / v ** 3, v => -1 / v ** 2 - 1 / v ** 3 - asymptotic((b, n) => (n + 1) * b / v ** (n + 2)));

// the incomplete gamma function, as the shares below and above x
export function gammaShares(a, x) {
  if (x <= 0) return {below: 0, above: 1};
  const scale = Math.exp(a * Math.log(x) - x - lgamma(a));
  if (x < a + 1) {
    const below = scale * series(1 / a, (term, i) => term * x / (a + i));
    return {below, above: 1 - below};
  }
  const above = scale / fraction(x + 1 - a, i => -i * (i - a), i => x + 1 - a + 2 * i);
  return {below: 1 - above, above};
}

// the logarithm of chi-square's number below which, or above which, lies a share, by halving
export function logChi2(dof, share, above = false) {
  let low = -800, high = Math.log(dof + 1e4 * Math.sqrt(dof) + 1e4);
  for (let i = 0; i < 200 && high - low > 1e-15 * Math.abs(high); i++) {
    const middle = (low + high) / 2, shares = gammaShares(dof / 2, Math.exp(middle) / 2);
    if (above ? shares.above > share : shares.below < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// the incomplete beta function, as the share below x
export function betaBelow(a, b, x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaBelow(b, a, 1 - x);
  const scale = Math.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  const above = i => {
    const m = Math.floor(i / 2);
    return i % 2 ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
  };
  return scale / fraction(1, above, () => 1);
}

// chances beyond a value: of F, of Student's t
export const fAbove = (f, d1, d2) => betaBelow(d2 / 2, d1 / 2, d2 / (d2 + d1 * f));
export const tAbove = (t, dof) => {
  if (dof === Infinity) return normal(-t);
  const tail = betaBelow(dof / 2, .5, dof / (dof + t * t)) / 2;
  return t < 0 ? 1 - tail : tail;
};

// the normal distribution: exact at steps of 1/32, from the nearest of which Taylor's series leads to any value;
// without divisions, since it is called millions of times
const STEP = 32, FAR = 9, SIXTH = 1 / 6;
const EXACT = Float64Array.from({length: 2 * FAR * STEP + 1}, (_, i) => {
  const x = i / STEP - FAR, tail = gammaShares(.5, x * x / 2).above / 2;
  return x < 0 ? tail : 1 - tail;
});
const DENSITY = EXACT.map((_, i) => Math.exp(-((i / STEP - FAR) ** 2) / 2) / Math.sqrt(2 * Math.PI));

export const normal = x => x > -FAR ? normalOrZero(x) : x !== x ? NaN : gammaShares(.5, x * x / 2).above / 2;

// the same, but nothing of what is below 1e-19
export function normalOrZero(x) {
  if (x >= FAR) return 1;
  if (!(x > -FAR)) return 0;
  const i = (x + FAR) * STEP + .5 | 0, at = i * (1 / STEP) - FAR, d = x - at, u = at * at;
  const bend = 1 + d * (-.5 * at + d * (SIXTH * (u - 1) + d * (SIXTH / 4 * at * (3 - u) + d * (SIXTH / 20 * ((u - 6) * u + 3) -
    d * (SIXTH / 120) * at * ((u - 10) * u + 15)))));
  return EXACT[i] + DENSITY[i] * d * bend;
}
