import { ManualClock, type Timer } from '../../src/lib/clock.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import type { TaskEvents } from '../../src/model/events/tasks.js';
import { HandleKeys } from '../../src/model/handle-keys.js';
import { decodeFact, type FactKey, type InboxRow, type Puts } from '../../src/state/index.js';
import { createStandIn, type StandIn, type StandInOptions } from '../../src/tasks/stand-in.js';
import { CrashEngine, Disk } from '../state/engines.js';
import { FakeInbox } from '../support/fake-inbox.js';
import { type Harness, type HarnessOptions, makeHarness } from './harness.js';
import { RunClock } from './machine.js';

/** Drops the rows that were taken in with the commit that writes what they led to. */
class InboxEngine extends CrashEngine {
  readonly #inbox: FakeInbox;
  readonly consumed = new Set<string>();

  constructor(disk: Disk, inbox: FakeInbox) {
    super(disk);
    this.#inbox = inbox;
  }

  override async commit(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    const ids = [...this.consumed];
    await super.commit(puts, drops);
    this.#inbox.drop(ids);
    for (const id of ids) this.consumed.delete(id);
  }
}

/** A replica that stands in, with the daemon that it runs in. */
export interface Replica {
  readonly h: Harness;
  readonly standIn: StandIn;
  /** Rows of what was told, as `call outcome`. */
  readonly told: string[];
}

/** One part, of which one daemon after the other is the owner over one disk, and replicas that stand in while there is none. */
export class Part {
  readonly manual = new ManualClock();
  readonly disk = new Disk();
  readonly inbox = new FakeInbox(this.disk.facts);
  readonly dead = new Set<string>();
  /** Owners whose port is closed, and those of them that give no sign of life either. */
  readonly closed = new Set<string>();
  readonly gone = new Set<string>();
  #engine = new InboxEngine(this.disk, this.inbox);
  #clock: RunClock | undefined;
  #owner: Harness | undefined;
  #tenure = 0;
  #timer: Timer | undefined;

  get owner(): Harness {
    if (this.#owner === undefined) throw new Error('nobody has the part');
    return this.#owner;
  }

  /** The next owner takes the part, and in what waits; with `writes` false what it does from then on is never safe. */
  async takes(options: HarnessOptions = {}, writes = true): Promise<Harness> {
    this.#tenure += 1;
    this.inbox.tenure = `${this.#tenure}`;
    this.inbox.owner = `owner ${this.#tenure}`;
    this.#clock = new RunClock(this.manual);
    const engine = new InboxEngine(this.disk, this.inbox);
    this.#engine = engine;
    const world = { manual: this.manual, clock: this.#clock };
    const consumed = (row: string) => engine.consumed.add(row);
    this.#owner = await makeHarness({ engine, world, warmUpMs: 0, consumed, ...options });
    const { signingKey } = decodeFact('handleKey', '', this.disk.facts.get('handleKey') ?? Buffer.alloc(0));
    this.#owner.trust.use(new HandleKeys([signingKey]), 0);
    if (!writes) engine.hold();
    this.look();
    this.#looks(this.#owner);
    await this.manual.advance(1_000);
    return this.#owner;
  }

  #looks(owner: Harness): void {
    this.#timer = this.manual.setTimer(1_000, () => {
      if (this.#owner !== owner) return;
      this.look();
      this.#looks(owner);
    });
  }

  get isOwned(): boolean {
    return this.#owner !== undefined;
  }

  /** What the owner does once a second; answers the rows that stay. */
  look(): readonly InboxRow[] {
    const engine = this.#engine;
    // What changed nothing is dropped as well.
    this.manual.setTimer(100, () => void engine.commit(new Map(), []));
    const rows = this.inbox.rows.filter(({ id }) => !engine.consumed.has(id));
    return rows.filter((row) => !this.owner.tasks.takeIn(row, this.dead.has(row.epoch)));
  }

  /** The owner is killed: what was not safe is lost. `silent`: nobody can tell. */
  dies(silent = false): void {
    if (!silent) this.gone.add(this.inbox.owner ?? '');
    this.#timer?.cancel();
    this.#engine.powerLoss();
    if (this.#clock !== undefined) this.#clock.dead = true;
    this.#owner = undefined;
  }

  /** Another replica, with a plugin of its own, which does nothing but stand in. */
  async replica(epoch: string, options: HarnessOptions = {}, more: Partial<StandInOptions> = {}): Promise<Replica> {
    const h = await makeHarness({ world: { manual: this.manual, clock: this.manual }, warmUpMs: 0, ...options });
    const told: string[] = [];
    // It has no events but its own.
    const events = new Proxy<TaskEvents>(
      {},
      {
        get: (_, name) =>
          name === 'stoodIn' ? (...said: string[]) => told.push(said.join(' ')) : () => told.push(String(name)),
      },
    );
    const standIn = createStandIn({
      ...h.deps,
      events,
      inbox: this.inbox.of(epoch),
      parts: 1,
      epoch,
      ownerSeen: () => this.inbox.owner,
      tenureOf: () => this.inbox.tenure,
      isDead: (one) => this.dead.has(one),
      isClosed: (one) => this.closed.has(one) || this.gone.has(one),
      isGone: (one) => this.gone.has(one),
      handleKeys: (kept) => [kept],
      handleGraceMs: 0,
      doReplayTtlMs: 600_000,
      shown: h.tasks,
      ...more,
    });
    return { h, standIn, told };
  }
}

export const keyOf = (name: string) => attemptKeyOf({ name, executionId: '' });
