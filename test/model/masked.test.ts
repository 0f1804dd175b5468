import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maskedState } from '../../src/model/masked.js';
import { phaseState } from '../../src/model/phase-state.js';

const SECRET = 'swordfish';
const mask = (text: string) => text.replaceAll(SECRET, '[masked]');

/** A state with a text of its own in each place that is shown. */
function stateOf(texts: readonly string[]) {
  const at = (i: number) => texts[i] ?? '';
  return phaseState('RUNNING', {
    reason: at(0),
    remotePhase: at(1),
    error: { code: at(2), message: at(3), kind: 'SYSTEM' },
    customInfo: { [`k${at(4)}`]: [{ deep: at(5) }] },
    logs: [{ uri: at(6), name: at(7) }],
    externalResources: [{ externalId: at(8), logs: [{ uri: at(9) }], customInfo: { a: at(10) } }],
  });
}

test('a state without a secret is answered as the same object, and one with a secret in any place without it', () => {
  const place = fc.nat(10);
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 11, maxLength: 11 }), fc.option(place), (plain, secretAt) => {
      const texts = plain.map((text, i) => mask(text) + (i === secretAt ? SECRET : ''));
      const state = stateOf(texts);
      const masked = maskedState(state, mask);
      if (secretAt === null) assert.equal(masked, state);
      assert.ok(!JSON.stringify(masked).includes(SECRET));
      assert.deepEqual(masked, stateOf(texts.map(mask)));
    }),
  );
});
