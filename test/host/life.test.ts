import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { LIFE, Life, type LifeEvent, type LifeState } from '../../src/host/life.js';
import { fromRoot } from '../support/paths.js';

const PACING = {
  restartInitialMs: 100,
  restartMaxMs: 1_000,
  maxCrashes: 3,
  crashWindowMs: 10_000,
  quarantineMs: 60_000,
};

function makeLife(): { life: Life; advance: (ms: number) => void } {
  let now = 0;
  const life = new Life({ ...PACING, now: () => now, random: () => 0.5 });
  return {
    life,
    advance: (ms) => {
      now += ms;
    },
  };
}

type Own = Exclude<LifeEvent, 'replaced' | 'stop'>;
const isOwn = (event: LifeEvent): event is Own => event !== 'replaced' && event !== 'stop';

function step(life: Life, event: LifeEvent): LifeState {
  const move = isOwn(event) ? life.happened(life.turn, event) : life.ordered(event);
  assert.equal(move?.to, life.state);
  return life.state;
}

/** A way to each state. */
const WAYS: Readonly<Record<LifeState, readonly LifeEvent[]>> = {
  starting: [],
  serving: ['up'],
  crashed: ['up', 'ended'],
  quarantined: ['up', 'ended', 'due', 'failed', 'due', 'failed'],
  starved: ['up', 'ended', 'due', 'short'],
  trying: ['up', 'ended', 'due'],
  out: ['failed'],
  stopped: ['stop'],
};
const STATES = Object.keys(LIFE) as LifeState[];
const EVENTS: readonly LifeEvent[] = ['up', 'failed', 'slow', 'short', 'ended', 'due', 'replaced', 'stop'];

for (const state of STATES) {
  test(`a life that is ${state} takes the events of its row, and no other`, () => {
    for (const event of EVENTS) {
      const { life } = makeLife();
      for (const before of WAYS[state]) step(life, before);
      assert.equal(life.state, state);
      const target = LIFE[state][event];
      if (target === undefined) {
        const says = { code: 'INTERNAL', message: new RegExp(`is ${state} cannot be ${event}`) };
        assert.throws(() => step(life, event), says);
        assert.equal(life.state, state, 'and stays where it was');
      } else if (target === 'fall') assert.ok(['crashed', 'quarantined'].includes(step(life, event)));
      else assert.equal(step(life, event), target === 'again' ? 'trying' : target);
    }
  });
}

test('every state but stopped has a way out, by a reload and by a stop at least', () => {
  for (const state of STATES) {
    const { replaced, stop } = LIFE[state];
    assert.equal(stop, 'stopped', state);
    assert.equal(replaced, state === 'stopped' ? undefined : 'serving', state);
  }
});

test('docs/architecture.md has each state with the events of its row', () => {
  const text = readFileSync(fromRoot('docs/architecture.md'), 'utf8');
  const rows = text.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  for (const state of STATES) {
    const row = rows.find((cells) => cells.length === 6 && cells[1] === state);
    const told = [...(row?.[4] ?? '').matchAll(/(\w+) →/g)].map(([, event]) => event);
    assert.deepEqual(
      told,
      Object.keys(LIFE[state]).filter((event) => isOwn(event as LifeEvent)),
      state,
    );
  }
});

test('what has never served starts again after a shortage, and is out when it then fails, without a crash', () => {
  const { life } = makeLife();
  for (const event of ['short', 'due', 'short', 'due'] as const) step(life, event);
  assert.equal(life.state, 'starting');
  assert.equal(step(life, 'failed'), 'out');
});

test('what does not come up in its time at its first start is tried again as what crashed, and is out when it then fails', () => {
  const { life } = makeLife();
  for (const [event, state] of [
    ['slow', 'crashed'],
    ['due', 'starting'],
    ['slow', 'crashed'],
    ['due', 'starting'],
    ['slow', 'quarantined'],
    ['due', 'starting'],
    ['failed', 'out'],
  ] as const) {
    assert.equal(step(life, event), state);
  }
});

test('so many crashes within the window are a quarantine, and older ones do not count', () => {
  const { life, advance } = makeLife();
  const crash = () => {
    step(life, 'up');
    const move = life.happened(life.turn, 'ended');
    step(life, 'due');
    return [move?.to, move?.crashes, move?.waitMs];
  };
  assert.deepEqual(crash(), ['crashed', 1, 100]);
  assert.deepEqual(crash(), ['crashed', 2, 200]);
  advance(10_000);
  assert.deepEqual(crash(), ['crashed', 1, 100]);
  crash();
  assert.deepEqual(crash(), ['quarantined', 3, 60_000]);
  assert.deepEqual(crash(), ['quarantined', 4, 60_000], 'one try after a quarantine, not as many as before');
});

test('a shortage is waited out with its own back-off and neither counts as a crash nor forgets one', () => {
  const { life } = makeLife();
  step(life, 'up');
  step(life, 'ended');
  const waits = [1, 2, 3, 4, 5, 6].map(() => {
    step(life, 'due');
    const move = life.happened(life.turn, 'short');
    assert.equal(move?.to, 'starved');
    return move?.waitMs;
  });
  assert.deepEqual(waits, [100, 200, 400, 800, 1_000, 1_000]);
  step(life, 'due');
  assert.equal(life.happened(life.turn, 'failed')?.crashes, 2);
  step(life, 'due');
  assert.equal(life.happened(life.turn, 'short')?.waitMs, 100, 'a shortage after a try that was none begins anew');
});

test('a reload forgets the crashes of what it replaces', () => {
  const { life } = makeLife();
  for (const event of ['up', 'ended', 'due', 'failed', 'replaced'] as const) step(life, event);
  assert.equal(life.happened(life.turn, 'ended')?.crashes, 1);
});

/** What a state has set going, and what the owner of a life would have: each may tell of itself at any time, once. */
interface Going {
  readonly turn: number;
  readonly kind: 'try' | 'timer' | 'process';
}

function goingIn(life: Life): Going[] {
  const { turn, state } = life;
  if (state === 'starting' || state === 'trying') return [{ turn, kind: 'try' }];
  if (state === 'serving') return [{ turn, kind: 'process' }];
  return state === 'out' || state === 'stopped' ? [] : [{ turn, kind: 'timer' }];
}

const TELLS: Readonly<Record<Going['kind'], readonly Own[]>> = {
  try: ['up', 'failed', 'slow', 'short'],
  timer: ['due'],
  process: ['ended'],
};

const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ tell: fc.nat(), how: fc.nat(3), afterMs: fc.nat(20_000) }) },
  { weight: 1, arbitrary: fc.constantFrom('replaced' as const, 'stop' as const) },
);

test('whatever tells of itself, however late, no pair comes up that is not named, and nothing late moves anything', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const { life, advance } = makeLife();
      const going = goingIn(life);
      for (const one of commands) {
        const { turn, state } = life;
        if (typeof one === 'string') {
          if (one === 'replaced' && state === 'stopped') continue;
          life.ordered(one);
          going.push(...goingIn(life));
          continue;
        }
        advance(one.afterMs);
        const told = going.splice(one.tell % Math.max(1, going.length), 1)[0];
        if (told === undefined) continue;
        const event = TELLS[told.kind][one.how % TELLS[told.kind].length]!;
        const move = life.happened(told.turn, event);
        assert.equal(move === undefined, told.turn !== turn);
        if (move === undefined) assert.equal(life.state, state);
        else going.push(...goingIn(life));
        if (move !== undefined) assert.equal(move.waitMs > 0, goingIn(life)[0]?.kind === 'timer');
      }
    }),
  );
});
