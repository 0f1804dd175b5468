import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slopeAnHour } from './slope.js';

test('a slope is what the values rise by within an hour, whatever they jump about it', () => {
  const minutes = Array.from({ length: 60 }, (_, minute) => minute * 60_000);
  const rising = minutes.map((ms, index) => 1_000 + ms / 3_600 + (index % 2 === 0 ? 50 : -50));
  assert.ok(Math.abs(slopeAnHour(minutes, rising) - 1_000) < 20);
  const level = minutes.map((_, index) => (index % 2 === 0 ? 5 : 7));
  assert.ok(Math.abs(slopeAnHour(minutes, level)) < 1);
  assert.equal(slopeAnHour([0], [7]), 0);
});
