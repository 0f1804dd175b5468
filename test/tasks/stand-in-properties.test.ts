import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isOwnerAway } from '../../src/model/forwarding.js';
import { decodeHandle } from '../../src/model/handle.js';
import { phaseRank, phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { Phase } from '../../src/plugin-api/phase.js';
import type { Tasks } from '../../src/tasks/types.js';
import { Part, type Replica } from './away.js';
import { created, type Harness, HINTS, ok, settle } from './harness.js';

type Asked = Pick<Tasks, 'create' | 'delete' | 'status'>;
type Where = 'owner' | 'a' | 'b';

const key = fc.constantFrom('x', 'y', 'z');
const where = fc.constantFrom<Where>('owner', 'a', 'b');
const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('create' as const), key, where }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), key, where }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('status' as const), key, where }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('dies' as const), silent: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('takes' as const), closed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow' as const), slow: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      key,
      phase: fc.constantFrom<Phase>('SUCCESS', 'PERMANENT_FAILURE'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 60_000 }) }),
  },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** A remote that keeps its promises, whichever owner calls it. */
class Remote {
  readonly jobs = new Map<string, { phase: Phase; deleted: boolean }>();
  slow = false;

  serve(part: Part): (plugin: Harness['plugin']) => void {
    return (plugin) => {
      plugin.features.findsByKey = true;
      plugin.on.create = async ({ idempotencyKey }) => {
        const existing = this.jobs.has(idempotencyKey);
        if (!existing) this.jobs.set(idempotencyKey, { phase: 'RUNNING', deleted: false });
        if (this.slow) await new Promise<void>((resolve) => void part.manual.setTimer(20_000, resolve));
        return created(idempotencyKey, undefined, existing);
      };
      plugin.on.get = ({ meta }) => {
        const job = this.jobs.get(meta.toString());
        return ok(phaseState(job === undefined || job.deleted ? 'ABORTED' : job.phase));
      };
      plugin.on.delete = ({ meta }) => {
        const job = this.jobs.get(meta.toString());
        if (job !== undefined) job.deleted = true;
        return ok({});
      };
    };
  }

  get running(): readonly string[] {
    return [...this.jobs]
      .filter(([, { phase, deleted }]) => phase === 'RUNNING' && !deleted)
      .map(([id]) => id)
      .sort();
  }
}

/** One acknowledged create that was no repeat. */
interface Life {
  readonly key: string;
  readonly handle: Buffer;
  deleted: boolean;
}

/** What there is in the end: of each life its incarnation, and what its handle says; the jobs that run. */
interface End {
  readonly lives: readonly (readonly [string, number, string, string])[];
  readonly running: readonly string[];
  readonly stoodIn: number;
}

/** Plays one sequence; `alone`: the owner never dies, and is asked for everything. */
class Play {
  readonly part = new Part();
  readonly remote = new Remote();
  readonly lives: Life[] = [];
  readonly #alone: boolean;
  readonly #seen = new Map<Life, { rank: number; version: number }>();
  #replicas: Record<'a' | 'b', Replica> | undefined;

  constructor(alone: boolean) {
    this.#alone = alone;
  }

  async run(commands: readonly Command[]): Promise<End> {
    const { part } = this;
    await this.#takes();
    this.#replicas = { a: await part.replica('a'), b: await part.replica('b') };
    await part.manual.advance(60_000);
    let owned = true;
    for (const one of commands) {
      if (one.kind === 'dies') owned = false;
      if (one.kind === 'takes') owned = true;
      await this.#step(one, owned);
    }
    if (!part.isOwned) await this.#takes();
    part.look();
    await part.manual.advance(1_800_000);
    return this.#end();
  }

  async #takes(): Promise<void> {
    await this.part.takes({ plugin: this.remote.serve(this.part) });
  }

  async #step(one: Command, owned: boolean): Promise<void> {
    const { part, remote } = this;
    switch (one.kind) {
      case 'create':
        return this.#create(one.key, one.where);
      case 'delete':
        return this.#delete(one.key, one.where);
      case 'status':
        return this.#status(one.key, one.where);
      case 'dies':
        if (!this.#alone && part.isOwned) part.dies(one.silent);
        return;
      case 'takes':
        if (!this.#alone && !part.isOwned) await this.#takes();
        // To the replicas; it lives.
        if (one.closed) part.closed.add(part.inbox.owner ?? '');
        return;
      case 'slow':
        remote.slow = one.slow;
        return;
      case 'end': {
        // What ends while nobody reads it may be deleted before anybody knows.
        if (!owned) return;
        if (!this.#alone) part.look();
        await part.manual.advance(60_000);
        const [id] = remote.running.filter((job) => job.startsWith(this.#keyOf(one.key)));
        const job = remote.jobs.get(id ?? '');
        if (job !== undefined) job.phase = one.phase;
        return part.manual.advance(600_000);
      }
      case 'advance':
        return part.manual.advance(one.ms);
      default:
        return one satisfies never;
    }
  }

  #keyOf(name: string): string {
    const life = this.#current(name);
    return life === undefined ? 'none' : decodeHandle(life.handle).identity.key;
  }

  #current(name: string): Life | undefined {
    return this.lives.findLast((life) => life.key === name);
  }

  /** Asks the owner, which has looked before, or who stands in; where that one leaves it to the owner, that one, or the next. */
  async #ask<T>(where: Where, call: (tasks: Asked, h: Harness) => Promise<T>): Promise<T> {
    const { part } = this;
    if (!this.#alone && (where !== 'owner' || !part.isOwned)) {
      const { h, standIn } = this.#replicas![where === 'b' ? 'b' : 'a'];
      try {
        return await settle(part.manual, call(standIn, h));
      } catch (error) {
        if (!isOwnerAway(error)) throw error;
        if (!part.isOwned) await this.#takes();
      }
    }
    part.look();
    return settle(part.manual, call(part.owner.tasks, part.owner));
  }

  async #create(name: string, where: Where): Promise<void> {
    const { handle, task } = await this.#ask(where, (tasks, h) => tasks.create(h.spec(name), h.scope()));
    const before = this.#current(name);
    if (before === undefined || before.deleted) this.lives.push({ key: name, handle, deleted: false });
    else assert.deepEqual(handle, before.handle, 'a repeat is answered other bytes');
    this.#saw(this.#current(name) as Life, task);
  }

  async #delete(name: string, where: Where): Promise<void> {
    const life = this.#current(name);
    if (life === undefined) return;
    await this.#ask(where, (tasks, h) => tasks.delete(life.handle, 'test', HINTS, h.scope()));
    life.deleted = true;
  }

  async #status(name: string, where: Where): Promise<void> {
    const life = this.#current(name);
    if (life === undefined || life.deleted) return;
    this.#saw(life, await this.#ask(where, (tasks, h) => tasks.status(life.handle, HINTS, h.scope())));
  }

  #saw(life: Life, { state, phaseVersion }: TaskRecord): void {
    const rank = phaseRank(state.phase);
    const seen = this.#seen.get(life);
    if (seen !== undefined) {
      assert.ok(rank >= seen.rank, `${state.phase} after rank ${seen.rank}`);
      assert.ok(phaseVersion >= seen.version, `version ${phaseVersion} after ${seen.version}`);
    }
    this.#seen.set(life, { rank, version: phaseVersion });
  }

  async #end(): Promise<End> {
    const { part, remote } = this;
    const { owner } = part;
    const lives: [string, number, string, string][] = [];
    for (const { key, handle } of this.lives) {
      const { state } = await settle(part.manual, owner.tasks.status(handle, HINTS, owner.scope()));
      lives.push([key, decodeHandle(handle).identity.incarnation, state.phase, state.error?.code ?? '']);
    }
    assert.deepEqual(owner.faults, []);
    assert.deepEqual(part.inbox.rows, []);
    assert.equal(owner.tasks.owedDeletes.size, 0);
    const names = lives.map(([key, incarnation]) => `${key} ${incarnation}`);
    assert.equal(new Set(names).size, names.length, 'an incarnation stands twice');
    for (const { h } of Object.values(this.#replicas ?? {})) assert.deepEqual(h.plugin.calls, [], 'a stand-in called');
    const { running } = remote;
    const stoodIn = Object.values(this.#replicas ?? {}).reduce((sum, { told }) => sum + told.length, 0);
    await owner.stop();
    return { lives, running, stoodIn };
  }
}

test('whoever was asked in an owner’s stead, and whenever it died, all is in the end as one owner alone would have it', async () => {
  let stoodIn = 0;
  const property = fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 30 }), async (commands) => {
    const alone = await new Play(true).run(commands);
    const divided = await new Play(false).run(commands);
    stoodIn += divided.stoodIn;
    assert.deepEqual(divided.lives, alone.lives);
    assert.deepEqual(divided.running, alone.running);
    assert.equal(alone.stoodIn, 0);
  });
  await fc.assert(property, { numRuns: 60 });
  assert.ok(stoodIn > 200, `only ${stoodIn} calls were stood in for: the property was hardly tried`);
});
