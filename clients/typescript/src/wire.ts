/** Tensors to messages and back: dense, row-major, little-endian, nothing guessed. */

import { DataType, type Tensor as WireTensor } from "./gen/alpaserve/v1/tensor.js";
import { arrayClasses, checkTensor, type Dtype, lengthOf, type Tensor, type TensorLike, vector } from "./tensors.js";

const CODES: Readonly<Record<Dtype, DataType>> = {
  bool: DataType.BOOL,
  int8: DataType.INT8,
  int16: DataType.INT16,
  int32: DataType.INT32,
  int64: DataType.INT64,
  uint8: DataType.UINT8,
  uint16: DataType.UINT16,
  uint32: DataType.UINT32,
  uint64: DataType.UINT64,
  float16: DataType.FP16,
  bfloat16: DataType.BF16,
  float32: DataType.FP32,
  float64: DataType.FP64,
  bytes: DataType.BYTES,
};
const DTYPES = new Map(Object.entries(CODES).map(([dtype, code]) => [code, dtype as Dtype]));
const LENGTH_BYTES = 4;

/** @throws TypeError for what is no tensor, RangeError for one that does not hold what its dtype and shape say. */
export function encodeTensor(given: TensorLike): WireTensor {
  const tensor = ArrayBuffer.isView(given) ? vector(given) : given;
  checkTensor(tensor);
  const { dtype, shape, data } = tensor;
  const bytes = dtype === "bytes" ? packStrings(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { dtype: CODES[dtype], shape: [...shape], data: bytes };
}

/**
 * A tensor over the message's own bytes; nothing is copied.
 *
 * @throws RangeError for an unknown element type, a shape that is none, a number of bytes or strings that does not
 * follow from them, or a boolean byte other than 0 and 1.
 */
export function decodeTensor({ dtype: code, shape, data: bytes }: WireTensor): Tensor {
  const dtype = DTYPES.get(code);
  if (dtype === undefined) throw new RangeError(`tensor has the unknown element type ${code}`);
  const data = dtype === "bytes" ? unpackStrings(bytes) : arrayOver(bytes, dtype, shape);
  const tensor = { dtype, shape, data } as Tensor;
  checkTensor(tensor);
  return tensor;
}

function arrayOver(bytes: Buffer, dtype: keyof typeof arrayClasses, shape: readonly number[]): unknown {
  const array = arrayClasses[dtype];
  const needed = lengthOf(shape) * array.BYTES_PER_ELEMENT;
  if (bytes.length !== needed) {
    throw new RangeError(`tensor of ${dtype} and shape [${shape}] needs ${needed} bytes, got ${bytes.length}`);
  }
  const aligned = bytes.byteOffset % array.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  return new array(aligned.buffer, aligned.byteOffset, bytes.length / array.BYTES_PER_ELEMENT);
}

/** Each string after its length, little-endian. */
function packStrings(strings: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    strings.flatMap((string) => {
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt32LE(string.length);
      return [length, string];
    }),
  );
}

/** @throws RangeError if the data ends within a string or its length. */
function unpackStrings(data: Buffer): Buffer[] {
  const strings: Buffer[] = [];
  for (let begin = 0; begin < data.length; ) {
    const first = begin + LENGTH_BYTES;
    const end = first <= data.length ? first + data.readUInt32LE(begin) : first;
    if (end > data.length) throw new RangeError(`${data.length} bytes of strings end within string ${strings.length}`);
    strings.push(data.subarray(first, end));
    begin = end;
  }
  return strings;
}
