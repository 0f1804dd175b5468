import assert from 'node:assert/strict';
import type { ManualClock } from '../../../src/lib/clock.js';
import { GrantDrawer } from '../../../src/limits/grants/grant-drawer.js';
import { GrantOwner, type LaneBounds } from '../../../src/limits/grants/grant-owner.js';
import type { Draw, Grant } from '../../../src/limits/grants/messages.js';
import { type Fate, VirtualReplica, VirtualTable } from '../../cluster/virtual-replicas.js';

/** What the network does with one message between replicas: when it comes, maybe twice, maybe never. Milliseconds. */
export type Arrivals = readonly number[];

export interface LaneWorldOptions {
  readonly world: ManualClock;
  readonly bounds: LaneBounds;
  readonly leaseMs: number;
  readonly grantMs: number;
  /** How fast the clocks run; one replica each. */
  readonly rates: readonly number[];
  readonly fate: (replica: number) => Fate;
  readonly arrivals: () => Arrivals;
  readonly callMs: () => number;
}

interface Call {
  readonly replica: LaneReplica;
  readonly sentAtMs: number;
  over: boolean;
}

/** One replica of a `LaneWorld`: who works has the limits, and all of them, this one as well, call the remote as they are granted. */
export class LaneReplica {
  readonly virtual: VirtualReplica;
  readonly drawer: GrantDrawer;
  readonly #world: LaneWorld;
  owner: GrantOwner | undefined;
  /** Calls that wait, and those that were made. */
  backlog = 0;
  made = 0;
  /** It was away for a time, so that nobody knew of its calls. */
  troubled = false;
  cut = false;
  frozen = false;
  dead = false;

  constructor(world: LaneWorld, index: number, rate: number) {
    this.#world = world;
    const { leaseMs, grantMs, fate, bounds } = world.options;
    const name = `r${index}`;
    this.virtual = new VirtualReplica({
      name,
      world: world.options.world,
      table: world.table,
      leaseMs,
      rate,
      fate: () => (this.cut ? { there: 1, back: 1, lost: 'request' } : fate(index)),
      begin: async () => {
        const mayGrant = () => this.virtual.seat.mayWork();
        const send = (grant: Grant) => world.carry(this, grant.drawer, (to) => to.drawer.onGrant(grant));
        this.owner = new GrantOwner({ epoch: name, bounds, grantMs, clock: this.virtual.clock, mayGrant, send });
      },
    });
    const send = (draw: Draw) => world.carry(this, draw.epoch, (to) => to.owner?.onDraw(draw));
    this.drawer = new GrantDrawer({
      drawer: name,
      grantMs,
      clock: this.virtual.clock,
      bootMs: this.virtual.bootMs,
      send,
      changed: () => this.work(),
    });
  }

  get name(): string {
    return this.virtual.seat.epoch;
  }

  start(): void {
    const { seat, clock } = this.virtual;
    const join = (): unknown => seat.join('10.0.0.1:8000').catch(() => clock.setTimer(100, join));
    join();
    void seat.settle();
    const tick = () => {
      if (this.dead) return;
      if (seat.role === 'lost') this.end();
      else if (seat.role === 'owner') this.drawer.follow(this.name);
      else this.drawer.follow(seat.owner?.epoch);
      this.work();
      clock.setTimer(50, tick);
    };
    tick();
  }

  /** Calls the remote for as long as it may. */
  work(): void {
    if (this.dead) return;
    this.drawer.want(this.backlog);
    while (this.backlog > 0 && this.drawer.tryTake()) {
      this.backlog -= 1;
      this.made += 1;
      const call = this.#world.sent(this);
      this.virtual.clock.setTimer(this.#world.options.callMs(), () => {
        call.over = true;
        this.drawer.ended();
      });
    }
    this.drawer.want(this.backlog);
  }

  /** Its process ends, in one way or the other. */
  end(): void {
    this.troubled = true;
    this.dead = true;
    this.drawer.close();
    this.owner?.close();
    this.owner = undefined;
  }
}

/** Replicas that share one lane's limits, on clocks of their own, over a network that does what it likes. */
export class LaneWorld {
  readonly options: LaneWorldOptions;
  readonly table = new VirtualTable();
  readonly replicas: LaneReplica[] = [];
  readonly calls: Call[] = [];
  /** Most calls under way at a time of replicas that were heard all the while. */
  mostUnderWay = 0;

  constructor(options: LaneWorldOptions) {
    this.options = options;
    for (const rate of options.rates) this.add(rate);
  }

  add(rate: number): LaneReplica {
    const replica = new LaneReplica(this, this.replicas.length, rate);
    this.replicas.push(replica);
    replica.start();
    return replica;
  }

  get alive(): LaneReplica[] {
    return this.replicas.filter(({ dead }) => !dead);
  }

  async pass(ms: number): Promise<void> {
    await this.options.world.advance(ms);
  }

  /** Takes a message to the replica of this name. What a replica says to itself goes over no network. */
  carry(from: LaneReplica, name: string, come: (to: LaneReplica) => void): void {
    const to = this.replicas.find((replica) => replica.name === name);
    if (to === undefined) return;
    const arrive = () => {
      if (!to.dead && !(to !== from && (to.cut || from.cut))) to.virtual.deliver(() => come(to));
    };
    for (const delayMs of to === from ? [0] : this.options.arrivals()) this.options.world.setTimer(delayMs, arrive);
  }

  sent(replica: LaneReplica): Call {
    const call = { replica, sentAtMs: this.options.world.now(), over: false };
    this.calls.push(call);
    const underWay = this.calls.filter((each) => !each.over && !each.replica.troubled).length;
    this.mostUnderWay = Math.max(this.mostUnderWay, underWay);
    return call;
  }

  /** In no window the remote saw more than `burst + qps·W` calls, by the fastest clock. */
  assertWithinRate(): void {
    const { qps, burst } = this.options.bounds.rate;
    const perMs = (qps * Math.max(...this.options.rates)) / 1_000;
    // The bucket that a remote would keep, in the order of the sends.
    let level = burst;
    let atMs = Number.NEGATIVE_INFINITY;
    for (const { sentAtMs } of this.calls) {
      level = atMs === Number.NEGATIVE_INFINITY ? burst : Math.min(burst, level + (sentAtMs - atMs) * perMs);
      atMs = sentAtMs;
      level -= 1;
      assert.ok(level > -1e-6, `at ${sentAtMs} the remote had seen ${-level} calls more than its limit`);
    }
  }

  assertWithinConcurrency(): void {
    assert.ok(this.mostUnderWay <= this.options.bounds.concurrency, `${this.mostUnderWay} calls were under way`);
  }

  /** Sends between two times. */
  countSince(fromMs: number): number {
    return this.calls.filter(({ sentAtMs }) => sentAtMs >= fromMs).length;
  }
}
