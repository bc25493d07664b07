import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type Dtype,
  elementsOf,
  fromBfloat16,
  fromFloat16,
  type TensorLike,
  tensor,
  toBfloat16,
  toFloat16,
} from "../src/index.js";
import { decodeTensor, encodeTensor } from "../src/wire.js";

describe("floats of 16 bits", () => {
  const formats = [
    { name: "binary16", toBits: toFloat16, fromBits: fromFloat16, infinity: 0x7c00, one: 0x3c00 },
    { name: "bfloat16", toBits: toBfloat16, fromBits: fromBfloat16, infinity: 0x7f80, one: 0x3f80 },
  ];
  for (const { name, toBits, fromBits, infinity, one } of formats) {
    test(`every ${name} is its own nearest`, () => {
      for (let bits = 0; bits <= infinity; bits += 1) {
        assert.equal(toBits(fromBits(bits)), bits);
        assert.equal(toBits(fromBits(bits | 0x8000)), bits | 0x8000);
      }
    });

    test(`between two neighbours the nearer ${name} is taken, half-way the even one`, () => {
      for (let bits = 0; bits < infinity - 1; bits += 1) {
        const [low, high] = [fromBits(bits), fromBits(bits + 1)];
        const middle = (low + high) / 2;
        assert.equal(toBits(middle), bits % 2 === 0 ? bits : bits + 1);
        assert.equal(toBits(middle - (high - low) / 1024), bits);
        assert.equal(toBits(middle + (high - low) / 1024), bits + 1);
      }
    });

    test(`what no ${name} reaches is infinite, and NaN stays NaN`, () => {
      const largest = fromBits(infinity - 1);
      const step = largest - fromBits(infinity - 2);
      assert.equal(toBits(largest + step / 2), infinity);
      assert.equal(toBits(largest + step / 2.01), infinity - 1);
      assert.equal(toBits(Number.MAX_VALUE), infinity);
      assert.equal(toBits(-Number.MAX_VALUE), infinity | 0x8000);
      assert.equal(toBits(Number.MIN_VALUE), 0);
      assert.ok(Number.isNaN(fromBits(toBits(Number.NaN))));
      assert.equal(fromBits(one), 1);
    });
  }
});

describe("tensors", () => {
  const kept: [Dtype, unknown[]][] = [
    ["bool", [true, false, true]],
    ["int8", [-128, 127]],
    ["uint64", [0n, 2n ** 64n - 1n]],
    ["int64", [-(2n ** 63n), 2n ** 63n - 1n]],
    ["float16", [1.5, -0, Number.POSITIVE_INFINITY]],
    ["bfloat16", [1.5, 2 ** 127]],
    ["float32", [Math.fround(0.1), Number.NaN]],
    ["bytes", [Buffer.from("größer"), Buffer.from([0, 255]), Buffer.alloc(0)]],
  ];
  for (const [dtype, elements] of kept) {
    test(`elements of ${dtype} are what was given`, () => {
      assert.deepEqual(elementsOf(tensor(dtype, elements as never)), elements);
    });
  }

  test("texts become UTF-8", () => {
    assert.deepEqual(elementsOf(tensor("bytes", ["größer"])), [Buffer.from("größer")]);
  });

  test("a typed array is not copied", () => {
    const data = Float32Array.of(1, 2, 3, 4);
    assert.equal(tensor("float32", data, [2, 2]).data, data);
  });

  const refused: [string, () => unknown, RegExp][] = [
    ["too large an integer", () => tensor("int8", [1, 300]), /element 1 is 300, which no int8 is/],
    ["a fraction", () => tensor("int32", [0.5]), /element 0 is 0.5, which no int32 is/],
    ["too large a bigint", () => tensor("int64", [2n ** 63n]), /element 0 is 9223372036854775808/],
    ["a negative length", () => tensor("int8", [], [-1]), /tensor shape \[-1\] has a length that is none/],
    ["too many elements", () => tensor("int8", [1, 2], []), /int8 and shape \[\] needs 1 elements, got 2/],
    ["65 dimensions", () => tensor("int8", [1], Array(65).fill(1)), /65 dimensions, more than 64/],
    ["a byte that is no boolean", () => tensor("bool", Uint8Array.of(1, 2)), /holds the byte 2/],
    ["a dtype that there is not", () => tensor("int4" as "int8", [1]), /there is no dtype int4; there are: bool, int8/],
    ["a string that is a number", () => tensor("bytes", [5 as unknown as string]), /element 5 cannot be sent/],
    ["an array without a dtype", () => encodeTensor(new DataView(new ArrayBuffer(1)) as never), /a DataView cannot/],
    ["a plain array", () => encodeTensor([1, 2] as unknown as TensorLike), /there is no dtype undefined/],
    [
      "an array of another dtype",
      () => encodeTensor({ dtype: "float32", shape: [1], data: Int32Array.of(1) as never }),
      /tensor of float32 must hold a Float32Array, got Int32Array/,
    ],
  ];
  for (const [what, make, says] of refused) {
    test(`${what} is refused`, () => {
      assert.throws(make, { message: says });
    });
  }
});

describe("wire tensors", () => {
  test("bytes that begin anywhere are read", () => {
    const { dtype, shape } = encodeTensor(BigInt64Array.of(1n));
    for (let offset = 0; offset < 9; offset += 1) {
      const data = Buffer.from(new ArrayBuffer(24), offset, 16);
      data.writeBigInt64LE(-7n, 0);
      data.writeBigInt64LE(2n ** 62n, 8);
      assert.deepEqual(elementsOf(decodeTensor({ dtype, shape: [2], data })), [-7n, 2n ** 62n]);
    }
    assert.deepEqual(shape, [1]);
  });

  const { dtype: bool } = encodeTensor(tensor("bool", []));
  const { dtype: bytes } = encodeTensor(tensor("bytes", []));
  const { dtype: int16 } = encodeTensor(Int16Array.of());
  const garbled: [string, Parameters<typeof decodeTensor>[0], RegExp][] = [
    ["an unknown element type", { dtype: 99 as never, shape: [], data: Buffer.alloc(1) }, /unknown element type 99/],
    ["missing bytes", { dtype: int16, shape: [2], data: Buffer.alloc(3) }, /shape \[2\] needs 4 bytes, got 3/],
    ["a negative length", { dtype: int16, shape: [-2], data: Buffer.alloc(4) }, /shape \[-2\]/],
    ["a boolean 2", { dtype: bool, shape: [], data: Buffer.of(2) }, /holds the byte 2/],
    ["a cut-off string", { dtype: bytes, shape: [1], data: Buffer.of(2, 0, 0, 0, 65) }, /end within string 0/],
    ["a cut-off length", { dtype: bytes, shape: [1], data: Buffer.of(0, 0, 0, 0, 1, 0) }, /end within string 1/],
    ["missing strings", { dtype: bytes, shape: [2], data: Buffer.of(0, 0, 0, 0) }, /needs 2 elements, got 1/],
  ];
  for (const [what, message, says] of garbled) {
    test(`${what} is refused`, () => {
      assert.throws(() => decodeTensor(message), { name: "RangeError", message: says });
    });
  }
});
