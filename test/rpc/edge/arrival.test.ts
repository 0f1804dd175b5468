import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseTimeout } from '../../../src/rpc/edge/timeout-header.js';
import { framed, makeArrival } from './fakes.js';

describe('the timeout header', () => {
  it('is read in each of its units', () => {
    const read = ['1H', '2M', '3S', '4m', '5000u', '6000000n', '0m', '00000007S', '99999999H'].map(parseTimeout);
    assert.deepEqual(read, [3_600_000, 120_000, 3000, 4, 5, 6, 0, 7000, 99_999_999 * 3_600_000]);
  });

  it('is none without digits, without a unit, with more than eight digits, a sign, a point, blanks or a second value', () => {
    const texts = [
      '',
      'S',
      '5',
      '5s',
      '5 S',
      ' 5S',
      '+5S',
      '-5S',
      '1.5S',
      '1e3S',
      '0x1S',
      '123456789S',
      '5S, 5S',
      '５S',
    ];
    for (const text of [...texts, undefined, ['5S', '6S']]) assert.equal(parseTimeout(text), undefined, String(text));
  });

  it('is a number that is not negative, or none, whatever is sent', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const ms = parseTimeout(text);
        assert.ok(ms === undefined || (Number.isFinite(ms) && ms >= 0));
        assert.equal(ms !== undefined, /^[0-9]{1,8}[HMSmun]$/.test(text));
      }),
    );
  });
});

describe('the framing that the edge reads along', () => {
  it('ends where a message ends, however its bytes are cut into chunks', () => {
    const sizes = fc.array(fc.nat(40), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }), (lengths, cuts) => {
        const bytes = Buffer.concat(lengths.map((length) => framed(length)));
        const ends = new Set<number>();
        let end = 0;
        for (const length of lengths) {
          end += 5 + length;
          ends.add(end);
        }
        const arrival = makeArrival();
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const chunk = bytes.subarray(at, at + cuts[i % cuts.length]!);
          at += chunk.length;
          assert.equal(arrival.reads(chunk), ends.has(at), `at ${at} of ${lengths}`);
        }
      }),
    );
  });

  it('begins anew where what was read comes again', () => {
    const arrival = makeArrival();
    const bytes = framed(100).fill(1, 5);
    assert.equal(arrival.reads(bytes.subarray(0, 40)), false);
    arrival.again();
    assert.equal(arrival.reads(bytes.subarray(0, 40)), false);
    assert.equal(arrival.reads(bytes.subarray(40)), true);
  });

  it('weighs a compressed message by what it may come to, up to the largest one, and a plain one by itself', () => {
    const max = 1_000_000;
    const plain = makeArrival(undefined, 0, true);
    plain.reads(framed(100).subarray(0, 50));
    assert.equal(plain.weigh(50, max), 50);
    const packed = makeArrival(undefined, 0, true);
    packed.reads(framed(100, 1).subarray(0, 50));
    assert.equal(packed.weigh(50, max), 50 * 1032);
    packed.held = max - 10;
    assert.equal(packed.weigh(5, max), 10);
    packed.held = max;
    assert.equal(packed.weigh(50, max), 50);
    const undeclared = makeArrival();
    undeclared.reads(framed(100, 1).subarray(0, 50));
    assert.equal(undeclared.weigh(50, max), 50);
  });
});
