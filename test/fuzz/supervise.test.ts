import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fuzzTarget } from './supervise.js';

const play = (target: string, seconds = 2) =>
  fuzzTarget({ target: `planted-${target}`, seed: 's', from: 0, seconds, silenceMs: 2_500, inputs: 1_000 });

describe('the fuzzer', { timeout: 120_000 }, () => {
  for (const [target, kind] of [
    ['abort', 'crash'],
    ['stray', 'crash'],
    ['hang', 'hang'],
    ['wrong', 'wrong'],
  ] as const) {
    it(`finds a target that has the fault "${target}", and the input that shows it`, async () => {
      const { found } = await play(target);
      assert.deepEqual(
        found.map((one) => one.kind),
        [kind],
      );
      // Whoever rejects beside the input is found out a few inputs later.
      const { input, message } = found[0]!;
      assert.ok(target === 'stray' ? input >= 300 : input === 300, `${input}: ${message}`);
    });
  }

  it('finds a target that keeps what it is given', async () => {
    const { found } = await fuzzTarget({ target: 'planted-growth', seed: 's', from: 0, seconds: 60, inputs: 1_200 });
    assert.deepEqual(
      found.map((one) => one.kind),
      ['growth'],
    );
  });

  it('finds nothing in a target that has no fault', async () => {
    const { found, inputs } = await play('none');
    assert.deepEqual([found, inputs], [[], 1_000]);
  });
});
