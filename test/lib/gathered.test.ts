import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Gathered } from '../../src/lib/gathered.js';

const MIB = 1024 * 1024;
const SPARE = 16 * 1024;

/** Bytes of memory that are made anew, or moved, while `work` is done. */
function moved(work: () => void): { readonly made: number; readonly copied: number } {
  const { allocUnsafeSlow } = Buffer;
  const { copy } = Buffer.prototype;
  const seen = { made: 0, copied: 0 };
  Buffer.allocUnsafeSlow = (size) => {
    seen.made += size;
    return allocUnsafeSlow(size);
  };
  Buffer.prototype.copy = function (
    this: Buffer,
    target: Uint8Array,
    targetStart?: number,
    start = 0,
    end = this.length,
  ) {
    seen.copied += end - start;
    return copy.call(this, target, targetStart, start, end);
  };
  try {
    work();
  } finally {
    Buffer.allocUnsafeSlow = allocUnsafeSlow;
    Buffer.prototype.copy = copy;
  }
  return seen;
}

test('pieces of any size are put together in their order, and what they lie in may be used anew', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 30 }), fc.boolean(), (parts, known) => {
      const whole = Buffer.concat(parts);
      const gathered = new Gathered();
      for (const [at, part] of parts.entries()) {
        const piece = Buffer.from(part);
        gathered.add(piece, known ? whole.length : undefined);
        if (at > 1) piece.fill(0);
      }
      assert.deepEqual(gathered.all(), whole);
      assert.deepEqual([gathered.bytes, gathered.byte(whole.length)], [whole.length, undefined]);
      assert.equal(gathered.byte(0), whole[0]);
      if (whole.length >= 5) assert.equal(gathered.uint32(1), whole.readUInt32BE(1));
    }),
  );
});

test('a byte that comes by itself costs a few, in memory and in what is moved, however many there are', () => {
  for (const known of [true, false]) {
    const gathered = new Gathered();
    const piece = Buffer.alloc(1, 'x');
    const { made, copied } = moved(() => {
      for (let i = 0; i < MIB; i++) gathered.add(piece, known ? MIB : undefined);
    });
    assert.ok(made <= 5 * MIB && copied <= 2 * MIB, `${made} bytes made, ${copied} moved`);
    const room = gathered.all().buffer.byteLength;
    assert.ok(room <= (known ? 1 : 3) * MIB, `${room} bytes of room`);
  }
});

test('no room is made for what was only announced', () => {
  const gathered = new Gathered();
  for (let i = 0; i < 100; i++) gathered.add(Buffer.alloc(10), 64 * MIB);
  assert.ok(gathered.all().buffer.byteLength <= 3_000);
});

test('what comes in one piece is not moved, where it does not keep a much larger read with it', () => {
  const memory = Buffer.allocUnsafeSlow(4 * SPARE);
  const [large, small] = [memory.subarray(0, 3 * SPARE), memory.subarray(0, 20)];
  const whole = (piece: Buffer) => {
    const gathered = new Gathered();
    gathered.add(piece);
    return gathered.all();
  };
  assert.equal(whole(large), large);
  assert.ok(whole(small).buffer !== small.buffer);
  assert.deepEqual(whole(small), small);
  const own = Buffer.allocUnsafeSlow(SPARE).subarray(0, 20);
  assert.equal(whole(own), own);
});

test('what says that it is a copy has just its size, and is none of what came', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(40_000), fc.constantFrom(0, 100, 200_000)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (parts, known) => {
        const bytes = parts.reduce((sum, [length]) => sum + length, 0);
        const gathered = new Gathered();
        const pieces = parts.map(([length, others]) => Buffer.alloc(length + others, 'x').subarray(0, length));
        for (const piece of pieces) gathered.add(piece, known ? bytes : undefined);
        const whole = gathered.all();
        if (!gathered.isCopied) return;
        for (const piece of pieces) piece.fill('y');
        assert.deepEqual(whole, Buffer.alloc(bytes, 'x'));
        // A small copy lies in Node's pool, which some releases make larger than its size says.
        assert.ok(
          whole.buffer.byteLength <= Math.max(bytes, Buffer.allocUnsafe(1).buffer.byteLength),
          `${whole.buffer.byteLength} of ${bytes}`,
        );
      },
    ),
  );
  const copied = (...pieces: Buffer[]) => {
    const gathered = new Gathered();
    for (const piece of pieces) gathered.add(piece, 10);
    return gathered.isCopied;
  };
  const small = Buffer.alloc(64 * 1024).subarray(0, 5);
  assert.deepEqual([copied(small), copied(small, small), copied(small, Buffer.alloc(1))], [true, true, false]);
  assert.equal(copied(Buffer.alloc(10)), false, 'one piece stays where it came');
});
