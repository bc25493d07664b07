/** The floats of 16 bits as those bits: binary16 of IEEE 754, and bfloat16. JavaScript has no arrays of them, or only
 * lately. */

interface Format {
  readonly significandBits: number;
  readonly bias: number;
}

const BINARY16: Format = { significandBits: 10, bias: 15 };
const BFLOAT16: Format = { significandBits: 7, bias: 127 };
const SIGN = 0x8000;
const scratch = new DataView(new ArrayBuffer(8));

/** The bits of the nearest binary16, ties to even; what is too large becomes infinite. */
export function toFloat16(value: number): number {
  return bitsOf(value, BINARY16);
}

/** The number that the bits of a binary16 stand for. */
export function fromFloat16(bits: number): number {
  return numberOf(bits, BINARY16);
}

/** The bits of the nearest bfloat16, ties to even; what is too large becomes infinite. */
export function toBfloat16(value: number): number {
  return bitsOf(value, BFLOAT16);
}

/** The number that the bits of a bfloat16 stand for. */
export function fromBfloat16(bits: number): number {
  return numberOf(bits, BFLOAT16);
}

function bitsOf(value: number, { significandBits, bias }: Format): number {
  const infinity = (2 * bias + 1) << significandBits;
  if (Number.isNaN(value)) return infinity | (1 << (significandBits - 1));
  const sign = value < 0 || Object.is(value, -0) ? SIGN : 0;
  const size = Math.abs(value);
  const smallest = 1 - bias;
  const exponent = Math.max(exponentOf(size), smallest);
  const significand = roundedToEven(size / 2 ** (exponent - significandBits));
  // The significand's leading one, where there is one, counts the exponent up; so does what rounding carries.
  return sign | Math.min(((exponent - smallest) << significandBits) + significand, infinity);
}

function numberOf(bits: number, { significandBits, bias }: Format): number {
  const sign = bits & SIGN ? -1 : 1;
  const exponent = (bits >> significandBits) & (2 * bias + 1);
  const significand = (bits & ((1 << significandBits) - 1)) / (1 << significandBits);
  if (exponent === 2 * bias + 1) return significand ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * significand * 2 ** (1 - bias);
  return sign * (1 + significand) * 2 ** (exponent - bias);
}

/** Of the number's leading bit; below every format's smallest for 0. */
function exponentOf(size: number): number {
  scratch.setFloat64(0, size);
  return ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023;
}

function roundedToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
