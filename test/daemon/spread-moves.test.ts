import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeldTokens } from '../../src/daemon/held-tokens.js';
import { HostError } from '../../src/errors/index.js';
import { SharedLimits } from '../../src/limits/shared-limits.js';
import type { TaskId } from '../../src/model/attempt-key.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import { type NotWritten, type PartCommit, PartedEngine, type StateEngine } from '../../src/state/index.js';
import { Decisions, type Dice } from '../support/decisions.js';
import { HINTS, settle } from '../tasks/harness.js';
import { hostOf, namesIn, PARTS, type PartHost, type SlowEngine, type World, worldOf } from './part-hosts.js';

const LEASE_MS = 3_000;
const GRANT_MS = 0.3 * LEASE_MS;
const LOOK_MS = 500;
const GRACE_MS = 3_000;
const COMMIT_MS = 20;
const RUNS = Number(process.env.SPREAD_RUNS ?? 3);
const TOTAL = 3;
const OF_LIMITS = partOf(partitionOf('fake'), PARTS);
const ALL_PARTS = [...Array(PARTS).keys()];

interface Row {
  owner: string | undefined;
  tenure: number;
}

/** The rows of owners, the network between replicas, and those who live. */
class Spread {
  readonly world: World;
  readonly dice: Dice;
  readonly rows: Row[] = ALL_PARTS.map(() => ({ owner: undefined, tenure: 0 }));
  readonly replicas = new Map<string, Replica>();
  /** Of messages between two replicas. */
  loss = 0.3;
  #names = 0;

  constructor(world: World, seed: number) {
    this.world = world;
    this.dice = new Decisions(seed).of('network');
  }

  get alive(): readonly Replica[] {
    return [...this.replicas.values()].filter(({ dead }) => !dead);
  }

  async add(): Promise<Replica> {
    const name = `r${++this.#names}`;
    const replica = new Replica(this, name);
    await replica.begin();
    this.replicas.set(name, replica);
    return replica;
  }

  send(from: string, to: string, message: Buffer): void {
    if (this.dice.chance(this.loss)) return;
    this.world.clock.setTimer(this.dice.between(0, 30), () => {
      const [a, b] = [this.replicas.get(from), this.replicas.get(to)];
      if (a?.dead === false && b?.dead === false) b.limits.receive(from, message);
    });
  }

  /** Whoever looks sees it, each at its next look. */
  changed(): void {
    for (const replica of this.alive) {
      this.world.clock.setTimer(this.dice.between(0, LOOK_MS), () => replica.look());
    }
  }

  async take(part: number, to: Replica): Promise<void> {
    const row = this.rows[part] as Row;
    row.owner = to.name;
    row.tenure += 1;
    this.changed();
    await to.take(part, row.tenure);
  }

  async move(part: number, to: Replica): Promise<void> {
    const row = this.rows[part] as Row;
    const from = row.owner === undefined ? undefined : this.replicas.get(row.owner);
    if (from?.dead === true || to.dead || from === to) return;
    if (from !== undefined) {
      await from.give(part);
      if (from.dead) return;
      row.owner = undefined;
      this.changed();
    }
    if (!to.dead) await this.take(part, to);
  }

  /** Its parts are others' a lease later, and it is forgotten. */
  async kill(victim: Replica): Promise<void> {
    victim.dead = true;
    await new Promise<void>((resolve) => this.world.clock.setTimer(LEASE_MS, resolve));
    this.changed();
    for (const part of ALL_PARTS) {
      const heirs = this.alive;
      const to = heirs[Math.floor(this.dice.next() * heirs.length)] as Replica;
      if (this.rows[part]?.owner === victim.name) await this.take(part, to);
    }
    // Whoever has nothing has no row.
    this.world.clock.setTimer(LOOK_MS, () => {
      for (const replica of this.alive) replica.limits.forget(victim.name);
    });
  }
}

/** A daemon's parts, whose limits are drawn from whoever has the part that the plugin hashes into. */
class Replica {
  readonly name: string;
  readonly limits: SharedLimits;
  dead = false;
  host: PartHost | undefined;
  readonly #spread: Spread;
  readonly #parted: PartedEngine;
  /** What it saw at its last look, and what it has. */
  #seen: readonly Row[] = [];
  readonly #own = new Map<number, { readonly tenure: number; state: 'taking' | 'owned' | 'giving' | 'given' }>();
  readonly #listeners = new Set<() => void>();

  constructor(spread: Spread, name: string) {
    this.#spread = spread;
    this.name = name;
    const { clock, engine } = spread.world;
    this.#parted = new PartedEngine(new FencedEngine(engine, spread, this), PARTS);
    const tokens = new HeldTokens({
      parts: PARTS,
      load: (part, kind) => this.#parted.read(part, kind),
      holderOf: (part) => this.#holderOf(part),
      clock,
    });
    this.limits = new SharedLimits({
      self: name,
      clock,
      bootMs: () => clock.now(),
      grantMs: GRANT_MS,
      resendMs: 500,
      retryMs: 1_000,
      owners: {
        ownerOf: () => {
          const holder = this.#holderOf(OF_LIMITS);
          const tenure = Number(holder?.tenure);
          return holder && { owner: holder.epoch, part: OF_LIMITS, tenure, first: tenure === 1 };
        },
        onChange: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
      },
      mayGrant: () => !this.dead,
      held: (plugin) => tokens.of(plugin),
      turnOf: (id) => this.#own.get(this.host?.parts.partOfTask(id as TaskId) ?? -1)?.tenure ?? 0,
      send: (to, message) => spread.send(name, to, message),
    });
  }

  async begin(): Promise<void> {
    const { world } = this.#spread;
    const plugin = world.remote.plugin();
    plugin.config = { ...plugin.config, resourceQuotas: { default: TOTAL } };
    for (const method of ['create', 'get', 'delete'] as const) {
      const does = plugin.on[method] as unknown as (...args: never[]) => Promise<never>;
      const never = () => new Promise<never>(() => undefined);
      plugin.on[method] = (async (...args: never[]) => {
        if (this.dead) return never();
        const answer = await does(...args);
        return this.dead ? never() : answer;
      }) as never;
    }
    this.#seen = this.#spread.rows.map((row) => ({ ...row }));
    const limits = this.limits.plugin.bind(this.limits);
    this.host = await hostOf(world, [], undefined, undefined, { parted: this.#parted, plugin, limits });
  }

  look(): void {
    if (this.dead) return;
    this.#seen = this.#spread.rows.map((row) => ({ ...row }));
    this.#changed();
  }

  async take(part: number, tenure: number): Promise<void> {
    const own = { tenure, state: 'taking' as 'taking' | 'owned' };
    this.#own.set(part, own);
    this.#changed();
    await Promise.race([this.host?.parts.take(part), this.#death()]);
    own.state = 'owned';
    this.#changed();
  }

  async give(part: number): Promise<void> {
    const own = this.#own.get(part);
    if (own === undefined) return;
    own.state = 'giving';
    this.#changed();
    await Promise.race([this.host?.parts.give(part, GRACE_MS), this.#death()]);
    this.#own.delete(part);
    this.#changed();
  }

  tenureOf(part: number): string {
    const own = this.#own.get(part);
    if (own === undefined) throw new HostError('STATE_LOCKED', 'it is not here');
    return String(own.tenure);
  }

  #holderOf(part: number): { readonly epoch: string; readonly tenure: string } | undefined {
    const own = this.#own.get(part);
    if (own?.state === 'owned' || own?.state === 'giving') return { epoch: this.name, tenure: String(own.tenure) };
    const { owner, tenure = 0 } = own === undefined ? (this.#seen[part] ?? { owner: undefined }) : { owner: undefined };
    return owner === undefined || owner === this.name ? undefined : { epoch: owner, tenure: String(tenure) };
  }

  #changed(): void {
    if (!this.dead) for (const listener of this.#listeners) listener();
  }

  async #death(): Promise<void> {
    while (!this.dead) await new Promise<void>((resolve) => this.#spread.world.clock.setTimer(100, resolve));
  }
}

/** Writes of a part what its owner by the rows writes, under guards by the rows, and nothing more of one that died. */
class FencedEngine implements StateEngine {
  readonly name = 'fenced';
  readonly durable = true;
  readonly sizeBytes = 0;
  readonly fences: NonNullable<StateEngine['fences']>;
  readonly #engine: SlowEngine;

  constructor(engine: SlowEngine, { rows, world }: Spread, of: Replica) {
    this.#engine = engine;
    const why = ({ part, tenure, guards = [] }: PartCommit): NotWritten | undefined => {
      const { owner, tenure: now } = rows[part] as Row;
      if (owner !== of.name || String(now) !== tenure) return { lost: new HostError('STATE_LOCKED', 'it is taken') };
      const unmet = guards.filter((guard) => String(rows[guard.part]?.tenure) !== guard.tenure);
      return unmet.length > 0 ? { unmet } : undefined;
    };
    this.fences = {
      tenureOf: (part) => of.tenureOf(part),
      commit: async (commits) => {
        await new Promise<void>((resolve) => world.clock.setTimer(COMMIT_MS, resolve));
        if (of.dead) return new Promise(() => undefined);
        const not = new Map<number, NotWritten>();
        for (const one of commits) {
          const reason = why(one);
          if (reason !== undefined) not.set(one.part, reason);
          else engine.apply(one.puts, one.drops);
        }
        return not;
      },
    };
  }

  async open(): Promise<void> {}

  load(range = {}): ReturnType<StateEngine['load']> {
    return this.#engine.load(range);
  }

  commit(): Promise<void> {
    throw new Error('all is committed by parts');
  }

  async close(): Promise<void> {}
}

type Step =
  | { readonly what: 'create' | 'delete'; readonly task: number }
  | { readonly what: 'move'; readonly part: number; readonly to: number }
  | { readonly what: 'kill'; readonly which: number }
  | { readonly what: 'loss'; readonly share: number }
  | { readonly what: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ what: fc.constant('create' as const), task: fc.nat(15) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('delete' as const), task: fc.nat(15) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('move' as const),
      part: fc.oneof(fc.constant(OF_LIMITS), fc.nat(PARTS - 1)),
      to: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('kill' as const), which: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('loss' as const), share: fc.constantFrom(0, 0.3, 0.8) }) },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('wait' as const), ms: fc.nat(3_000) }) },
);

class Story {
  readonly spread: Spread;
  readonly names = ALL_PARTS.flatMap((part) => namesIn(part, 4));
  readonly handles = new Map<string, Buffer>();
  readonly deleted = new Set<string>();
  readonly ended = new Set<string>();
  readonly under = new Set<Promise<unknown>>();
  #moves: Promise<unknown> = Promise.resolve();

  constructor(spread: Spread) {
    this.spread = spread;
  }

  async take(step: Step): Promise<void> {
    const { world, alive } = this.spread;
    if (step.what === 'wait') await world.clock.advance(step.ms);
    else if (step.what === 'loss') this.spread.loss = step.share;
    else if (step.what === 'move') {
      const to = alive[step.to % alive.length] as Replica;
      this.#moves = this.#moves.then(() => this.spread.move(step.part, to));
      this.#do(this.#moves);
    } else if (step.what === 'kill') {
      this.#moves = this.#moves.then(async () => {
        const { alive } = this.spread;
        if (alive.length < 2) return;
        await this.spread.kill(alive[step.which % alive.length] as Replica);
        await this.spread.add();
      });
      this.#do(this.#moves);
    } else {
      const name = this.names[step.task] as string;
      this.#do(step.what === 'create' ? this.create(name) : this.delete(name));
    }
    await world.clock.advance(1);
    this.look();
  }

  async create(name: string): Promise<void> {
    if (this.deleted.has(name)) return;
    const { spec, scope } = this.spread.world;
    const { handle } = await this.#ask(({ parts }) => parts.tasks.create(spec(name), scope()));
    if (!this.deleted.has(name)) this.handles.set(name, this.handles.get(name) ?? handle);
  }

  async delete(name: string): Promise<void> {
    const handle = this.handles.get(name);
    if (handle === undefined) return;
    this.deleted.add(name);
    await this.#ask(({ parts }) => parts.tasks.delete(handle, 'story', HINTS, this.spread.world.scope()));
  }

  look(): void {
    for (const [name, handle] of this.handles) {
      const shown = this.spread.alive
        .map(({ host }) => host?.parts.tasks.peek(handle))
        .find((task) => task !== undefined);
      if (shown !== undefined && isTerminal(shown.state.phase)) this.ended.add(name);
    }
  }

  #do(work: Promise<unknown>): void {
    const under = work.finally(() => this.under.delete(under));
    this.under.add(under);
  }

  /** Again and again, until whoever has it answers; one that dies answers nothing. */
  async #ask<T>(call: (host: PartHost) => Promise<T>): Promise<T> {
    const { clock } = this.spread.world;
    for (let tries = 0; ; tries++) {
      const { alive } = this.spread;
      const replica = alive[tries % alive.length] as Replica;
      const dies = async (): Promise<never> => {
        while (!replica.dead) await new Promise<void>((resolve) => clock.setTimer(100, resolve));
        throw new HostError('OWNER_AWAY', 'it died');
      };
      try {
        return await Promise.race([call(replica.host as PartHost), dies()]);
      } catch (error) {
        if (!HostError.is(error) || !['OWNER_AWAY', 'STATE_SLOW'].includes(error.code)) throw error;
        await new Promise<void>((resolve) => clock.setTimer(150, resolve));
      }
    }
  }
}

test('however parts move and replicas die, every task ends, and at last all tokens are to be had', {
  timeout: 280_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 50 }), fc.nat(), async (steps, seed) => {
      const world = await worldOf();
      const { clock, remote } = world;
      remote.lastsMs = 4_000;
      const spread = new Spread(world, seed);
      for (let i = 0; i < 3; i++) await spread.add();
      const alive = spread.alive;
      await settle(clock, Promise.all(ALL_PARTS.map((part) => spread.take(part, alive[part % 3] as Replica))));
      const story = new Story(spread);
      for (let task = 0; task < story.names.length; task += 2) await story.take({ what: 'create', task });
      for (const one of steps) await story.take(one);
      spread.loss = 0;
      for (let passed = 0; passed < 300 && (passed < 60 || story.under.size > 0); passed++) {
        await clock.advance(1_000);
        story.look();
      }
      assert.equal(story.under.size, 0, 'all is answered');
      for (let passed = 0; passed < 400; passed++) {
        await clock.advance(1_000);
        story.look();
        if ([...story.handles.keys()].every((name) => story.deleted.has(name) || story.ended.has(name))) break;
      }
      const left = [...story.handles.keys()].filter((name) => !story.deleted.has(name) && !story.ended.has(name));
      assert.deepEqual(left, []);
      await clock.advance(60_000);
      // As many as there are tokens, of tasks that nobody had before.
      remote.lastsMs = 1e9;
      const more = ALL_PARTS.flatMap((part) => namesIn(part, 5).slice(4)).slice(0, TOTAL);
      for (const name of more) void story.create(name);
      await clock.advance(30_000);
      const running = remote.jobs.filter(({ state }) => state === 'RUNNING').length;
      assert.equal(running, TOTAL);
      assert.equal(remote.mostRunning, TOTAL);
      for (const { host } of spread.alive) assert.deepEqual(host?.faults, []);
    }),
    { numRuns: RUNS },
  );
});
