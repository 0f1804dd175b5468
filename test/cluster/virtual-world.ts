import assert from 'node:assert/strict';
import { ManualClock } from '../../src/lib/clock.js';
import { type Fate, VirtualReplica, VirtualTable } from './virtual-replicas.js';

export const LEASE_MS = 3_000;
export const AT_ONCE: Fate = { there: 1, back: 1, lost: 'no' };
export const WITHIN_MS = 2_000;

type Changes = Partial<ConstructorParameters<typeof VirtualReplica>[0]>;

/** Replicas over one table, on one clock. */
export class World {
  readonly clock = new ManualClock(1_000_000);
  readonly table: VirtualTable;
  readonly all: VirtualReplica[] = [];

  constructor(parts: number) {
    this.table = new VirtualTable(parts);
  }

  async add(changes: Changes = {}): Promise<VirtualReplica> {
    const common = { world: this.clock, table: this.table, leaseMs: LEASE_MS, rate: 1, fate: () => AT_ONCE };
    const replica = new VirtualReplica({ name: `r${this.all.length}`, ...common, ...changes });
    this.all.push(replica);
    const join = (): unknown =>
      replica.seat.join(`10.0.0.${this.all.length}:8000`).catch(() => this.clock.setTimer(100, join));
    join();
    await this.clock.advance(10);
    void replica.seat.settle();
    return replica;
  }

  /** As many parts as each works on. */
  counts(): number[] {
    return this.all.map(({ seat, killed }) => (killed ? 0 : this.#owned((part) => seat.ownerOf(part) === 'here')));
  }

  isWhole(): boolean {
    return this.counts().reduce((sum, count) => sum + count, 0) === this.table.parts.length;
  }

  /** What two replicas work on at a time. */
  shared(): number[] {
    return [...this.table.parts.keys()].filter((part) => this.all.filter((one) => one.worksOn(part)).length > 1);
  }

  #owned(isOwned: (part: number) => boolean): number {
    return [...this.table.parts.keys()].filter(isOwned).length;
  }

  /** Goes on, and sees to it that no part is worked on twice. */
  async run(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      await this.clock.advance(Math.min(50, left));
      assert.deepEqual(this.shared(), [], 'worked on by two');
    }
  }

  async msUntil(what: string, seen: () => boolean, withinMs = 60_000): Promise<void> {
    const startMs = this.clock.now();
    while (!seen()) {
      assert.ok(this.clock.now() < startMs + withinMs, `no ${what} after ${withinMs} ms: ${this.counts()}`);
      await this.run(50);
    }
  }
}

export async function evenly(parts: number, replicas: number, changes: Changes = {}): Promise<World> {
  const world = new World(parts);
  for (let i = 0; i < replicas; i++) await world.add(changes);
  await world.run(4 * LEASE_MS);
  assert.ok(world.isWhole());
  return world;
}
