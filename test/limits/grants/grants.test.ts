import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../src/lib/clock.js';
import { GrantDrawer } from '../../../src/limits/grants/grant-drawer.js';
import { GrantOwner, type GrantOwnerOptions } from '../../../src/limits/grants/grant-owner.js';
import type { Draw, Grant } from '../../../src/limits/grants/messages.js';

const GRANT_MS = 2_000;
const CALL_MS = 5_000;
/** A little more than the owner waits. */
const OVER_MS = GRANT_MS + 20;

function ownerOf(changes: Partial<GrantOwnerOptions> = {}) {
  const clock = new ManualClock();
  const sent: Grant[] = [];
  const owner = new GrantOwner({
    epoch: 'e1',
    bounds: { rate: { qps: 10, burst: 10 }, concurrency: 100, callMs: CALL_MS },
    grantMs: GRANT_MS,
    clock,
    mayGrant: () => true,
    send: (grant) => void sent.push(grant),
    ...changes,
  });
  const draws = new Map<string, number>();
  const draw = (drawer: string, changed: Partial<Draw> = {}) => {
    const number = (draws.get(drawer) ?? 0) + 1;
    draws.set(drawer, number);
    const rest = { epoch: 'e1', seen: 0, left: 0, busy: 0, wanted: 0, throttledMs: undefined };
    owner.onDraw({ drawer, draw: number, ...rest, ...changed });
  };
  const granted = (drawer: string) =>
    sent.filter((grant) => grant.drawer === drawer).reduce((sum, { calls }) => sum + calls, 0);
  return { clock, owner, sent, draw, granted };
}

function drawerOf(changes: { epoch?: string | undefined } = { epoch: 'e1' }) {
  const clock = new ManualClock();
  const sent: Draw[] = [];
  let told = 0;
  const drawer = new GrantDrawer({
    drawer: 'd1',
    grantMs: GRANT_MS,
    clock,
    bootMs: () => clock.now(),
    send: (draw) => void sent.push(draw),
    changed: () => {
      told += 1;
    },
  });
  drawer.follow(changes.epoch);
  const grant = (number: number, calls: number, changed: Partial<Grant> = {}) => {
    const rest = { epoch: 'e1', drawer: 'd1', draw: sent.at(-1)?.draw ?? 0, pausedMs: undefined, waitMs: 0 };
    drawer.onGrant({ ...rest, number, calls, reportAfter: 1, ...changed });
  };
  return { clock, drawer, sent, grant, told: () => told };
}

test('a new owner grants nothing for a grant’s life, and begins empty after that', async () => {
  const { clock, draw, granted } = ownerOf();
  draw('a', { wanted: 50 });
  for (let ms = 0; ms < GRANT_MS; ms += 100) {
    await clock.advance(100);
    draw('a', { wanted: 50 });
  }
  assert.equal(granted('a'), 0);
  await clock.advance(20);
  draw('a', { wanted: 50 });
  assert.equal(granted('a'), 0, 'nothing was saved up');
  await clock.advance(500);
  assert.ok(granted('a') >= 3 && granted('a') <= 5, `${granted('a')}`);
});

test('what is granted and not used yet takes the place of what the bucket could hold', async () => {
  const { clock, owner, draw, granted } = ownerOf();
  await clock.advance(OVER_MS + 900);
  draw('a', { wanted: 10 });
  assert.equal(granted('a'), 9);
  for (let ms = 0; ms < 1_500; ms += 300) {
    await clock.advance(300);
    draw('a', { wanted: 10 });
    draw('b', { wanted: 10 });
  }
  assert.equal(granted('a') + granted('b'), 10, 'ten may be sent in one moment now, and no eleventh');
  assert.equal(
    owner.drawers().reduce((sum, { outstanding }) => sum + outstanding, 0),
    10,
  );
});

test('what a drawer says that it used is outstanding no longer, and the bucket fills again with time alone', async () => {
  const { clock, sent, draw, granted } = ownerOf();
  await clock.advance(OVER_MS + 900);
  draw('a', { wanted: 9 });
  assert.equal(granted('a'), 9);
  const seen = sent.at(-1)?.number ?? 0;
  draw('a', { seen, left: 0, wanted: 9 });
  assert.equal(granted('a'), 9);
  await clock.advance(500);
  assert.ok(granted('a') <= 9 + 5 && granted('a') >= 9 + 4);
});

test('what nobody used in time is not given back: who died may have used it', async () => {
  const { clock, draw, granted } = ownerOf({
    bounds: { rate: { qps: 0.1, burst: 10 }, concurrency: 100, callMs: CALL_MS },
  });
  await clock.advance(OVER_MS + 100_000);
  draw('a', { wanted: 10 });
  assert.equal(granted('a'), 10);
  for (let ms = 0; ms < 2 * GRANT_MS; ms += 500) {
    await clock.advance(500);
    draw('b', { wanted: 10 });
  }
  assert.ok(granted('b') <= 1, `${granted('b')} more, beside ten that may have been sent`);
});

test('no more calls are allowed than may be under way, those included that are', async () => {
  const { clock, sent, draw, granted } = ownerOf({
    bounds: { rate: { qps: 100, burst: 100 }, concurrency: 4, callMs: CALL_MS },
  });
  draw('b', { busy: 1 });
  await clock.advance(OVER_MS - 100);
  draw('b', { busy: 1 });
  await clock.advance(1_000);
  draw('b', { busy: 1 });
  draw('a', { wanted: 10 });
  assert.equal(granted('a'), 3);
  const seen = sent.at(-1)?.number ?? 0;
  draw('a', { seen, left: 0, busy: 3, wanted: 7 });
  await clock.advance(300);
  assert.equal(granted('a'), 3, 'it used them, and they are under way');
  draw('a', { seen, left: 0, busy: 2, wanted: 7 });
  assert.equal(granted('a'), 4);
});

test('calls of a drawer that is not heard any more count until they are over for certain, and so do those it may have begun unseen', async () => {
  const { clock, owner, draw } = ownerOf({
    bounds: { rate: { qps: 100, burst: 100 }, concurrency: 4, callMs: CALL_MS },
  });
  await clock.advance(OVER_MS + 1_000);
  draw('gone', { busy: 1, wanted: 2 });
  const allowed = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 250) {
      await clock.advance(250);
      draw('a', { wanted: 10 });
    }
    return owner.drawers().find(({ drawer }) => drawer === 'a')?.outstanding;
  };
  for (let ms = 0; ms < GRANT_MS + CALL_MS; ms += 500) assert.equal(await allowed(500), 1, `after ${ms} ms`);
  assert.equal(await allowed(250), 4);
});

test('the very first owner has nothing to wait for, and begins empty all the same', async () => {
  const { clock, draw, granted } = ownerOf({ first: true });
  draw('a', { wanted: 50 });
  assert.equal(granted('a'), 0);
  await clock.advance(500);
  assert.ok(granted('a') >= 4 && granted('a') <= 5, `${granted('a')}`);
});

test('a draw that comes twice, after a later one, or is meant for another owner says nothing', async () => {
  const { clock, owner, sent, draw, granted } = ownerOf();
  await clock.advance(OVER_MS + 1_000);
  draw('a', { wanted: 4 });
  const seen = sent.at(-1)?.number ?? 0;
  const [count, base] = [sent.length, { drawer: 'a', seen: seen + 100, left: 0, busy: 0, throttledMs: undefined }];
  owner.onDraw({ ...base, epoch: 'e1', draw: 1, wanted: 50 });
  owner.onDraw({ ...base, epoch: 'e0', draw: 99, wanted: 50 });
  assert.deepEqual([sent.length, granted('a')], [count, 4]);
  assert.deepEqual(owner.drawers(), [{ drawer: 'a', outstanding: 4, busy: 0, wanted: 0 }]);
});

test('what is left of grants counts as of those that end last, where one of them was lost on the way', async () => {
  const { clock, owner, sent, draw } = ownerOf();
  await clock.advance(OVER_MS + 1_000);
  draw('a', { wanted: 3 });
  await clock.advance(600);
  draw('a', { wanted: 6 });
  const seen = sent.at(-1)?.number ?? 0;
  draw('a', { seen, left: 2 });
  await clock.advance(GRANT_MS - 400);
  assert.deepEqual(owner.drawers(), [{ drawer: 'a', outstanding: 2, busy: 0, wanted: 0 }]);
});

test('an owner whose lease is over grants nothing until it is renewed', async () => {
  let may = false;
  const { clock, owner, draw, granted } = ownerOf({ mayGrant: () => may });
  await clock.advance(OVER_MS + 1_000);
  draw('a', { wanted: 4 });
  await clock.advance(100);
  assert.equal(granted('a'), 0);
  may = true;
  owner.look();
  assert.equal(granted('a'), 4);
});

test('one token at a time goes round among all who want one', async () => {
  const { clock, draw, granted } = ownerOf({
    bounds: { rate: { qps: 1, burst: 1 }, concurrency: 100, callMs: CALL_MS },
  });
  await clock.advance(OVER_MS);
  const names = ['a', 'b', 'c', 'd'];
  const used = new Map<string, number>();
  for (let ms = 0; ms < 20_000; ms += 200) {
    for (const name of names) {
      const numbers = granted(name);
      draw(name, { wanted: 1, seen: numbers > (used.get(name) ?? 0) ? 1_000_000 : 0 });
      used.set(name, numbers);
    }
    await clock.advance(200);
  }
  const shares = names.map(granted);
  assert.ok(Math.max(...shares) - Math.min(...shares) <= 1, `${shares}`);
  assert.ok(shares.reduce((sum, each) => sum + each, 0) >= 15, `${shares}`);
});

test('a drawer makes so many calls as it was granted, in a grant’s life from when it asked, however late the answer came', async () => {
  const { clock, drawer, grant, told } = drawerOf();
  drawer.want(5);
  await clock.advance(20);
  await clock.advance(1_000);
  grant(1, 5, { draw: 1 });
  assert.deepEqual([drawer.available(), told()], [5, 1]);
  assert.deepEqual(drawer.take()?.epoch, 'e1');
  await clock.advance(860);
  assert.equal(drawer.available(), 4);
  await clock.advance(20);
  assert.deepEqual([drawer.available(), drawer.take()], [0, undefined]);
});

test('a grant that comes twice, after a later one, or from another owner is none', async () => {
  const { clock, drawer, grant } = drawerOf();
  drawer.want(5);
  await clock.advance(20);
  grant(2, 2);
  grant(2, 2);
  grant(1, 2);
  grant(3, 2, { epoch: 'e0' });
  assert.equal(drawer.available(), 2);
});

test('a drawer says what it has left, what is under way, and what it still wants', async () => {
  const { clock, drawer, sent, grant } = drawerOf();
  drawer.want(5);
  await clock.advance(20);
  assert.deepEqual(sent, [
    { epoch: 'e1', drawer: 'd1', draw: 1, seen: 0, left: 0, busy: 0, wanted: 5, throttledMs: undefined },
  ]);
  grant(7, 3);
  assert.ok(drawer.take());
  drawer.want(4);
  await clock.advance(20);
  assert.deepEqual(sent.at(-1), {
    ...{ epoch: 'e1', drawer: 'd1', draw: 2, seen: 7, left: 2, busy: 1, wanted: 2, throttledMs: undefined },
  });
  drawer.follow('e2');
  await clock.advance(20);
  const { epoch, seen, left, busy } = sent.at(-1) as Draw;
  assert.deepEqual([epoch, seen, left, busy], ['e2', 0, 0, 3], 'what another one granted counts as under way');
  assert.equal(drawer.available(), 2);
});

test('who has nothing and wants nothing says so once', async () => {
  const { clock, drawer, sent, grant } = drawerOf();
  drawer.want(1);
  await clock.advance(20);
  grant(1, 1);
  assert.ok(drawer.take());
  drawer.want(0);
  await clock.advance(20);
  drawer.ended();
  await clock.advance(60_000);
  const { left, busy, wanted } = sent.at(-1) as Draw;
  assert.deepEqual([left, busy, wanted], [0, 0, 0]);
  assert.equal(clock.pending, 0);
});

test('a pause that anybody met holds for what was granted before, and a drawer tells its own alone', async () => {
  const { clock, drawer, sent, grant, told } = drawerOf();
  drawer.want(2);
  await clock.advance(20);
  grant(1, 2);
  grant(2, 0, { pausedMs: 950 });
  assert.deepEqual([drawer.available(), drawer.take()], [0, undefined]);
  assert.equal(drawer.msUntil(1), 1_000, 'a clock that runs fast rests as long');
  await clock.advance(600);
  assert.equal(sent.at(-1)?.throttledMs, undefined);
  const before = told();
  await clock.advance(400);
  assert.deepEqual([drawer.available(), told()], [2, before + 1]);
  drawer.pause(clock.now() + 500);
  await clock.advance(20);
  assert.ok((sent.at(-1)?.throttledMs ?? 0) > 480);
});

test('without an owner what was granted is used up, nothing is asked for, and nothing is expected for a grant’s life', async () => {
  const { clock, drawer, sent, grant } = drawerOf();
  drawer.want(2);
  await clock.advance(20);
  grant(1, 1);
  drawer.follow(undefined);
  assert.equal(drawer.msUntil(2), GRANT_MS);
  assert.ok(drawer.take());
  await clock.advance(10_000);
  assert.equal(sent.length, 1);
  assert.equal(drawer.snapshot().level, 0);
});
