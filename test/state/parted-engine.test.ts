import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import {
  EmbeddedEngine,
  type NotWritten,
  noState,
  type PartCommit,
  PartedEngine,
  type PartFences,
  type Puts,
  type StateEngine,
} from '../../src/state/index.js';
import { tempFolder } from '../support/temp.js';

const bytes = (text: string): Buffer => Buffer.from(text);

async function keysOf(engine: StateEngine): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of engine.load()) keys.push(...page.map(([key, value]) => `${key}=${value}`));
  return keys.sort();
}

function partsOf(whole: PartedEngine, count: number): StateEngine[] {
  return Array.from({ length: count }, (_, at) => whole.part(at));
}

test('each part loads what it wrote, under the keys that it gave, and nothing of another', async (t) => {
  const dir = tempFolder(t);
  const open = async () => {
    const parts = partsOf(new PartedEngine(new EmbeddedEngine({ dir, clock: systemClock }), 16), 16);
    for (const part of parts) await part.open();
    return parts;
  };
  const close = (parts: readonly StateEngine[]) => Promise.all(parts.map((part) => part.close()));
  const first = await open();
  await Promise.all(
    first.map((part, at) =>
      part.commit(
        new Map([
          ['birth', bytes(`${at}`)],
          [`task/${at}`, bytes('x')],
        ]),
        [],
      ),
    ),
  );
  await first[1]?.commit(new Map(), ['task/1']);
  await close(first);
  const second = await open();
  for (const [at, part] of second.entries()) {
    assert.deepEqual(await keysOf(part), at === 1 ? ['birth=1'] : [`birth=${at}`, `task/${at}=x`]);
  }
  await close(second);
});

test('a state that is divided in another way is refused, and is free for who opens it rightly', async (t) => {
  const dir = tempFolder(t);
  const engine = () => new EmbeddedEngine({ dir, clock: systemClock });
  const eight = new PartedEngine(engine(), 8).part(7);
  await eight.open();
  await eight.commit(new Map([['task/a', bytes('x')]]), []);
  await eight.close();
  for (const parts of [2, 4, 16]) {
    const refused = new PartedEngine(engine(), parts).part(0);
    await assert.rejects(refused.open(), { code: 'STATE_FOREIGN', message: /set state\.parts/ });
  }
  const whole = engine();
  await whole.open();
  await whole.commit(new Map([['task/b', bytes('x')]]), []);
  await whole.close();
  await assert.rejects(new PartedEngine(engine(), 8).part(0).open(), { code: 'STATE_FOREIGN' });
});

class Held implements StateEngine {
  readonly name = 'held';
  readonly durable = true;
  readonly sizeBytes = 0;
  readonly commits: { puts: Puts; drops: readonly string[]; settle: ReturnType<typeof createDeferred<void>> }[] = [];
  opened = 0;
  closed = 0;
  async open(): Promise<void> {
    this.opened += 1;
  }
  load = noState.load;
  commit(puts: Puts, drops: readonly string[]): Promise<void> {
    const settle = createDeferred<void>();
    this.commits.push({ puts, drops, settle });
    return settle.promise;
  }
  async close(): Promise<void> {
    this.closed += 1;
  }
}

async function opened(count: number) {
  const engine = new Held();
  const parts = partsOf(new PartedEngine(engine, count), count);
  await Promise.all(parts.map((part) => part.open()));
  return { engine, parts };
}

const one = (key: string): Puts => new Map([[key, bytes('x')]]);

test('what parts commit while a commit is under way is one commit, of which each hears', async () => {
  const { engine, parts } = await opened(4);
  const done = parts.map((part, at) => part.commit(one(`task/${at}`), at === 3 ? ['task/z'] : []));
  assert.deepEqual([...(engine.commits[0]?.puts.keys() ?? [])], ['4.0/task/0']);
  engine.commits[0]?.settle.resolve();
  await done[0];
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([...(engine.commits[1]?.puts.keys() ?? [])], ['4.1/task/1', '4.2/task/2', '4.3/task/3']);
  assert.deepEqual(engine.commits[1]?.drops, ['4.3/task/z']);
  engine.commits[1]?.settle.reject(new HostError('STATE_UNWRITABLE', 'no'));
  for (const of of done.slice(1)) await assert.rejects(of, { code: 'STATE_UNWRITABLE' });
  assert.equal(engine.commits.length, 2);
});

test('that a state was lost is told to parts that wrote nothing just then, and to none that is closed', async () => {
  const { engine, parts } = await opened(4);
  const lost: number[] = [];
  for (const [at, part] of parts.entries()) part.onLost?.(() => lost.push(at));
  await parts[3]?.close();
  const done = parts[1]?.commit(one('task/a'), []) as Promise<void>;
  engine.commits[0]?.settle.reject(new HostError('STATE_LOST', 'gone'));
  await assert.rejects(done, { code: 'STATE_LOST' });
  assert.deepEqual(lost, [0, 2]);
});

test('the engine is opened once, and closed by the last part', async () => {
  const { engine, parts } = await opened(2);
  assert.deepEqual([engine.opened, engine.closed], [1, 0]);
  await parts[0]?.close();
  await parts[0]?.close();
  assert.equal(engine.closed, 0);
  await parts[1]?.close();
  assert.equal(engine.closed, 1);
});

/** Its parts may each be taken: what a commit comes to is as the test has it. */
class Fenced extends Held {
  readonly asked: (readonly PartCommit[])[] = [];
  answers: (readonly (readonly [number, NotWritten])[])[] = [];
  readonly fences: PartFences = {
    tenureOf: (part) => String(part + 1),
    commit: async (commits) => {
      this.asked.push(commits);
      return new Map(this.answers.shift() ?? []);
    },
  };
}

test('guards travel with the part that they are of, and those that are unmet are told to it alone', async () => {
  const engine = new Fenced();
  const parts = partsOf(new PartedEngine(engine, 4), 4);
  await Promise.all(parts.map((part) => part.open()));
  const [first, second, third, fourth] = parts as [StateEngine, StateEngine, StateEngine, StateEngine];
  const guard = { part: 3, tenure: '7' };
  const lost = new HostError('STATE_LOCKED', 'another one has it');
  engine.answers = [
    [],
    [
      [1, { unmet: [guard] }],
      [2, { lost }],
    ],
  ];
  const begun = first.commit(one('task/0'), []);
  const guarded = second.commitUnder?.(one('task/1'), ['task/x'], [guard, { part: 0, tenure: '1' }]);
  const gone = third.commitUnder?.(one('task/2'), [], [guard]) as Promise<unknown>;
  const met = fourth.commitUnder?.(one('task/3'), [], [guard]);
  const unguarded = first.commit(one('task/4'), []);
  await begun;
  assert.deepEqual(await guarded, [guard]);
  await assert.rejects(gone, { code: 'STATE_LOCKED' });
  assert.deepEqual(await met, []);
  await unguarded;
  const shown = engine.asked.map((commits) =>
    commits.map(({ part, tenure, guards }) => [part, tenure, guards?.length]),
  );
  const [alone, together] = [
    [[0, '1', 0]],
    [
      [1, '2', 2],
      [2, '3', 1],
      [3, '4', 1],
      [0, '1', 0],
    ],
  ];
  assert.deepEqual(shown, [alone, together]);
  assert.deepEqual(engine.asked[1]?.[0]?.drops, ['4.1/task/x']);
});

test('rows of the inbox travel with the part whose commit they end with, guarded or not', async () => {
  const engine = new Fenced();
  const parts = partsOf(new PartedEngine(engine, 4), 4);
  await Promise.all(parts.map((part) => part.open()));
  const begun = parts[0]?.commit(one('task/0'), [], ['1', '2']);
  const later = [
    parts[1]?.commitUnder?.(one('task/1'), [], [{ part: 3, tenure: '7' }], ['3']),
    parts[2]?.commit(one('task/2'), []),
    parts[3]?.commit(new Map(), [], ['4']),
  ];
  await Promise.all([begun, ...later]);
  const shown = engine.asked.map((commits) => commits.map(({ part, consumed }) => [part, consumed]));
  const [alone, together] = [
    [[0, ['1', '2']]],
    [
      [1, ['3']],
      [2, []],
      [3, ['4']],
    ],
  ];
  assert.deepEqual(shown, [alone, together]);
});

test('a part has guards only where others may take parts', async () => {
  const { parts } = await opened(2);
  assert.deepEqual(
    parts.map((part) => part.commitUnder),
    [undefined, undefined],
  );
});
