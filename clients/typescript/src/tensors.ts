/** Tensors as callers hold them: a dtype, a shape, and the elements in row-major order. */

import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "./float16.js";

/**
 * How the elements of each dtype are held: booleans as bytes 0 and 1, float16 and bfloat16 as their 16 bits, strings as
 * their bytes.
 */
export interface Arrays {
  bool: Uint8Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  uint64: BigUint64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  float32: Float32Array;
  float64: Float64Array;
  bytes: readonly Uint8Array[];
}

export type Dtype = keyof Arrays;

/** A dtype whose elements have a fixed size. */
export type FixedDtype = Exclude<Dtype, "bytes">;

/** What a single element of a dtype is. */
export type Element<D extends Dtype> = D extends "bytes"
  ? Uint8Array
  : D extends "bool"
    ? boolean
    : D extends "int64" | "uint64"
      ? bigint
      : number;

/** A dense array of one dtype; the shape of a scalar is []. */
export interface TensorOf<D extends Dtype> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: Arrays[D];
}

/** A dense array; its `dtype` tells the type of its `data`. */
export type Tensor = { [D in Dtype]: TensorOf<D> }[Dtype];

/** What an input may be: a tensor, or a typed array, which is a vector of its own dtype. */
export type TensorLike = Tensor | Arrays[FixedDtype];

/** The class of a dtype's typed array. */
export interface ArrayClass<D extends FixedDtype> {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (elements: readonly Element<D>[]): Arrays[D];
  new (buffer: ArrayBufferLike, offset: number, length: number): Arrays[D];
}

export const arrayClasses = {
  bool: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
} as unknown as { readonly [D in FixedDtype]: ArrayClass<D> };

/** Every dtype. */
export const dtypes: readonly Dtype[] = [...(Object.keys(arrayClasses) as FixedDtype[]), "bytes"];

const VECTORS = Object.entries(arrayClasses).filter(([dtype]) => !["bool", "float16", "bfloat16"].includes(dtype));
const DTYPE_OF_ARRAY = new Map(VECTORS.map(([dtype, { name }]) => [name, dtype as FixedDtype]));
const MAX_RANK = 64;

/**
 * A tensor of elements in row-major order, a vector unless a shape is given. An array as in `Arrays` is taken as it is,
 * without a copy; other elements are converted, texts to UTF-8.
 *
 * @throws RangeError for an element that the dtype cannot hold, or a shape that is not that of so many elements.
 */
export function tensor<D extends Dtype>(
  dtype: D,
  elements: Arrays[D] | Iterable<Element<D> | (D extends "bytes" ? string : never)>,
  shape?: readonly number[],
): TensorOf<D> {
  const data = held(dtype, elements as Iterable<unknown>) as Arrays[D];
  const made = { dtype, shape: shape ?? [data.length], data };
  checkTensor(made as Tensor);
  return made;
}

/** A vector of a typed array's own dtype. @throws TypeError for one that the wire does not know. */
export function vector(array: ArrayBufferView): Tensor {
  const name = nameOf(array);
  if (name === "Float16Array") {
    return tensor("float16", new Uint16Array(array.buffer, array.byteOffset, array.byteLength / 2));
  }
  const dtype = DTYPE_OF_ARRAY.get(name);
  if (dtype === undefined) throw new TypeError(`a ${name} cannot be sent; there are: ${dtypes.join(", ")}`);
  return tensor(dtype, array as Arrays[FixedDtype]) as Tensor;
}

/** A tensor's elements as numbers, bigints, booleans or bytes, in row-major order. */
export function elementsOf<D extends Dtype>({ dtype, data }: TensorOf<D>): Element<D>[] {
  const elements: unknown[] = Array.from(data as Iterable<unknown>);
  const decode = { bool: Boolean, float16: fromFloat16, bfloat16: fromBfloat16 }[dtype as string] as
    | ((element: unknown) => Element<D>)
    | undefined;
  return decode ? elements.map(decode) : (elements as Element<D>[]);
}

/** @throws TypeError for what is no tensor, RangeError for one that does not hold what its dtype and shape say. */
export function checkTensor({ dtype, shape, data }: Tensor): void {
  if (!dtypes.includes(dtype)) throw new TypeError(`there is no dtype ${dtype}; there are: ${dtypes.join(", ")}`);
  const container = dtype === "bytes" ? Array : arrayClasses[dtype];
  if (!((data as unknown) instanceof container)) {
    throw new TypeError(`tensor of ${dtype} must hold a ${container.name}, got ${nameOf(data)}`);
  }
  const length = lengthOf(shape);
  if (data.length !== length) {
    throw new RangeError(`tensor of ${dtype} and shape [${shape}] needs ${length} elements, got ${data.length}`);
  }
  const wrong = dtype === "bool" ? data.find((byte) => byte > 1) : undefined;
  if (wrong !== undefined) throw new RangeError(`tensor of bool holds the byte ${wrong}; only 0 and 1 are booleans`);
}

/** How many elements a shape has. @throws RangeError for a shape that is none. */
export function lengthOf(shape: readonly number[]): number {
  if (shape.length > MAX_RANK) throw new RangeError(`tensor has ${shape.length} dimensions, more than ${MAX_RANK}`);
  if (!shape.every((length) => Number.isSafeInteger(length) && length >= 0)) {
    throw new RangeError(`tensor shape [${shape}] has a length that is none`);
  }
  return shape.reduce((size, length) => size * length, 1);
}

/** Elements in the container of their dtype. */
function held(dtype: Dtype, elements: Iterable<unknown>): Arrays[Dtype] {
  if (dtype === "bytes") return Array.from(elements, stringBytes);
  const array = arrayClasses[dtype] as ArrayClass<FixedDtype> | undefined;
  if (array === undefined || elements instanceof array) return elements as Arrays[FixedDtype];
  if (dtype === "float16") return Uint16Array.from(elements as Iterable<number>, toFloat16);
  if (dtype === "bfloat16") return Uint16Array.from(elements as Iterable<number>, toBfloat16);
  const given = [...elements] as number[];
  const converted = new array(given);
  if (dtype === "float32" || dtype === "float64") return converted;
  const wrong = given.findIndex(
    (element, index) => (dtype === "bool" ? Number(element) : element) !== converted[index],
  );
  if (wrong >= 0) throw new RangeError(`element ${wrong} is ${given[wrong]}, which no ${dtype} is`);
  return converted;
}

function stringBytes(element: unknown): Uint8Array {
  if (typeof element === "string") return Buffer.from(element);
  if (element instanceof Uint8Array) return element;
  throw new TypeError(`element ${String(element)} cannot be sent: tensors of bytes hold texts and Uint8Arrays`);
}

function nameOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}
