import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { CreateBudget } from '../../src/runtime/create-budget.js';

/** A budget, and an outage that took so much of the time until now. */
async function budgetOf() {
  const clock = new ManualClock();
  const outage = { tookMs: 0 };
  const budget = new CreateBudget(clock, () => outage.tookMs);
  const pass = (ms: number) => clock.advance(ms);
  /** A try that waits for its admission, and is under way, for so long. */
  const tries = async (waitMs: number, callMs: number) => {
    budget.waits();
    await pass(waitMs);
    budget.sent();
    await pass(callMs);
  };
  return { budget, outage, pass, tries };
}

test('the time between failed tries in a row counts, and neither what was before the first nor the wait for admission', async () => {
  const { budget, pass, tries } = await budgetOf();
  await tries(50_000, 5_000);
  assert.equal(budget.failed(), 0);
  await pass(1_000);
  await tries(70_000, 200);
  assert.equal(budget.failed(), 1_200);
  await pass(2_000);
  await tries(0, 300);
  assert.equal(budget.failed(), 3_500);
});

test('what does not count breaks the row: nothing on either side of it is spent', async () => {
  const { budget, pass, tries } = await budgetOf();
  await tries(0, 1_000);
  budget.failed();
  await pass(1_000);
  await tries(0, 1_000);
  budget.uncounted();
  await pass(600_000);
  await tries(0, 1_000);
  assert.equal(budget.failed(), 0);
  await pass(1_000);
  await tries(0, 500);
  assert.equal(budget.failed(), 1_500);
});

test('a try that was not sent counts like one that was', async () => {
  const { budget, pass } = await budgetOf();
  budget.failed();
  await pass(1_000);
  budget.waits();
  await pass(10_000);
  assert.equal(budget.failed(), 1_000);
  await pass(2_000);
  assert.equal(budget.failed(), 3_000, 'and the time after it runs');
});

test('what an outage takes is not spent, also where it is told in hindsight, in the wait for the next try', async () => {
  const { budget, outage, pass, tries } = await budgetOf();
  budget.failed();
  await pass(10_000);
  outage.tookMs += 4_000;
  await tries(0, 1_000);
  assert.equal(budget.failed(), 7_000);
  await pass(3_000);
  budget.waits();
  await pass(2_000);
  // It began with what was spent last.
  outage.tookMs += 9_000;
  budget.sent();
  assert.equal(budget.failed(), 3_000);
});

test('what was spent in an earlier run is spent, and what lies between the last try of that and the first of this is not', async () => {
  const clock = new ManualClock();
  const budget = new CreateBudget(clock, () => 0, 60_000);
  await clock.advance(5_000);
  assert.equal(budget.failed(), 60_000);
  await clock.advance(5_000);
  assert.equal(budget.failed(), 65_000);
});
