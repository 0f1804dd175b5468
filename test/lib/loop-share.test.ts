import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopShares } from '../../src/lib/loop-share.js';

test('the share of the event loop is that of the time since it was last told, and of a moment there is none', () => {
  let now = { idle: 500, active: 500, utilization: 0.5 };
  const share = loopShares(() => now);
  now = { idle: 600, active: 500, utilization: 0 };
  assert.equal(share(), undefined);
  now = { idle: 1_250, active: 750, utilization: 0 };
  assert.equal(share(), 0.25);
  assert.equal(share(), undefined);
  now = { idle: 1_250, active: 3_750, utilization: 0 };
  assert.equal(share(), 1);
});
