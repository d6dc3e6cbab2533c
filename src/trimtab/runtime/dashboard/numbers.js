// Quantities as trimtab.units writes them.

const threeDigits = (value) =>
  value === 0
    ? "0"
    : value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
const scaled = (value, steps, unit) => {
  for (const [factor, prefix] of steps) {
    if (Math.abs(value) >= factor) {
      return `${threeDigits(value / factor)} ${prefix}${unit}`;
    }
  }
  return null;
};
const SI = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const BINARY = [[2 ** 40, "Ti"], [2 ** 30, "Gi"], [2 ** 20, "Mi"], [2 ** 10, "Ki"]];
const count = (value) =>
  scaled(value, SI, "") ||
  (Number.isInteger(value) ? value.toFixed(0) : threeDigits(value));
const duration = (value) =>
  Math.abs(value) >= 600
    ? `${(value / 60).toFixed(0)} min`
    : scaled(value, [[1, ""], [1e-3, "m"], [1e-6, "µ"]], "s") ||
      (value ? `${threeDigits(value / 1e-9)} ns` : "0 s");
const rate = (value, unit) => {
  const text = count(value);
  return text.includes(" ") ? text + unit : `${text} ${unit}`;
};
const FORMATS = {
  s: duration,
  bytes: (value) => scaled(value, BINARY, "B") || `${value.toFixed(0)} B`,
  count,
  frac: (value) => `${(100 * value).toFixed(1)} %`,
  "bytes/s": (value) => rate(value, "B/s"),
  "flops/s": (value) => rate(value, "FLOP/s"),
  Hz: (value) => rate(value, "Hz"),
};
export const format = (value, unit) =>
  unit in FORMATS ? FORMATS[unit](value) : `${count(value)} ${unit}`.trimEnd();
export const shown = (value, unit) =>
  value === null || value === undefined ? "–" : format(value, unit);
window.formatValue = format; // a test compares it with trimtab.units

export const since = (seconds) => {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
};
