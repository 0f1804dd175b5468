import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { created, fail, type Harness, HINTS, held, literals, ok, settle, success } from './harness.js';
import { Machine } from './machine.js';

/** An end that was told is told by every later run of the daemon, whatever gave way and whatever the remote says by then (rules 7, 8). */

const MINUTE = 60_000;
const error = { code: 'NodeFailed', message: 'the node went away', kind: 'SYSTEM' } as const;
type Read = ReturnType<typeof success> | ReturnType<typeof fail>;

const ENDS: { readonly [name: string]: () => Read } = {
  'a success with outputs': () => success(literals('o')),
  'a success with outputs at the prefix': () => success({ kind: 'prefix' }),
  'a success without outputs': () => success({ kind: 'none' }),
  'a retryable failure': () => ok(phaseState('RETRYABLE_FAILURE', { reason: error.message, error })),
  'a permanent failure': () => ok(phaseState('PERMANENT_FAILURE', { reason: error.message, error })),
  'an abort': () => ok(phaseState('ABORTED', { reason: 'killed by somebody' })),
  'a read that is refused for good': () => fail('permanent', { code: 'Gone' }),
  'a job that is lost': () => fail('not_found'),
};

/** What an engine and the daemon's bounds do with a task that is over, one after the other. */
const LATER: { readonly [name: string]: readonly ('deleted' | 'pushed out' | 'asked again')[] } = {
  'was kept': [],
  'was deleted': ['deleted'],
  'gave way': ['pushed out'],
  'gave way and was asked for again': ['pushed out', 'asked again'],
  'was deleted and gave way': ['deleted', 'pushed out'],
  'gave way and was deleted': ['pushed out', 'deleted'],
  'gave way, was asked for again and was deleted': ['pushed out', 'asked again', 'deleted'],
};

/** What the remote says of the job in the next run. */
const NOW: { readonly [name: string]: (end: () => Read) => Read } = {
  'says the same': (end) => end(),
  'cannot be read': () => fail('invalid'),
  'does not have it any more': () => fail('not_found'),
  'runs it again': () => ok(phaseState('RUNNING')),
};

interface Told {
  readonly phase: string;
  readonly code: string | undefined;
}

const toldOf = ({ phase, error: why }: PhaseState): Told => ({ phase, code: why?.code });

/** What Status says; an error is none of the task's ends. */
async function asked(h: Harness, handle: Buffer): Promise<Told | string> {
  const status = settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  return status.then(
    ({ state }) => toldOf(state),
    (failed: { code: string }) => failed.code,
  );
}

function assertSame(now: Told | string, before: Told, where: string): void {
  if (typeof now === 'string') {
    assert.deepEqual([now, before.phase], ['OUTPUTS_UNREAD', 'SUCCESS'], where);
    return;
  }
  assert.equal(now.phase, before.phase, where);
  if (now.code !== before.code) assert.deepEqual([now.code, before.phase], ['OUTPUTS_LOST', 'SUCCESS'], where);
}

/** The first run: a task ends, is told as over, and goes through what follows; then the daemon is killed. */
async function firstRun(machine: Machine, end: () => Read, early: boolean, later: readonly string[]) {
  const h = await machine.start({ finished: { maxCount: 1 }, warmUpMs: MINUTE });
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => (early ? answer.promise : created());
  h.plugin.on.get = () => ok(phaseState('RUNNING'));
  h.plugin.on.delete = () => ok({});
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(3_000)));
  answer.release(created());
  await h.clock.advance(2 * MINUTE);
  h.plugin.on.get = end;
  await h.clock.advance(10 * MINUTE);
  const before = await asked(h, handle);
  assert.ok(typeof before === 'object');
  for (const what of later) {
    if (what === 'deleted') await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    if (what === 'pushed out') {
      h.plugin.on.create = () => created('{"job":2}', phaseState('SUCCESS'));
      await settle(h.clock, h.tasks.create(h.spec('filler'), h.scope()));
    }
    if (what === 'asked again') {
      h.plugin.on.get = () => fail('transient');
      assertSame(await asked(h, handle), before, 'when it was asked for again');
    }
  }
  await h.clock.advance(1_000);
  assert.deepEqual(h.faults, []);
  machine.kill();
  return { handle, before };
}

for (const [end, read] of Object.entries(ENDS)) {
  test(`${end} is told as nothing else after a restart, whatever became of it and whatever its remote says then`, async () => {
    for (const [later, steps] of Object.entries(LATER)) {
      for (const [now, says] of Object.entries(NOW)) {
        for (const early of [false, true]) {
          const where = `${later}; the remote ${now}; a handle ${early ? 'without' : 'with'} its job`;
          const machine = new Machine();
          const { handle, before } = await firstRun(machine, read, early, steps);
          for (let life = 0; life < 2; life++) {
            const h = await machine.start({ finished: { maxCount: 1 } });
            h.plugin.on.get = () => says(read);
            h.plugin.on.delete = () => ok({});
            for (let i = 0; i < 4; i++) {
              assertSame(await asked(h, handle), before, where);
              const peeked = h.tasks.peek(handle);
              if (peeked !== undefined) assertSame(toldOf(peeked.state), before, `peek: ${where}`);
              await h.clock.advance(2 * MINUTE);
            }
            assert.deepEqual(h.faults, [], where);
            machine.kill();
          }
        }
      }
    }
  });
}
