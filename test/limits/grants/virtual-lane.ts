import assert from 'node:assert/strict';
import { CallLane } from '../../../src/calls/lane.js';
import type { ManualClock } from '../../../src/lib/clock.js';
import { createDeferred } from '../../../src/lib/deferred.js';
import { GrantDrawer } from '../../../src/limits/grants/grant-drawer.js';
import { GrantOwner, type LaneBounds } from '../../../src/limits/grants/grant-owner.js';
import type { Draw, Grant } from '../../../src/limits/grants/messages.js';
import type { Taken } from '../../../src/limits/types.js';
import type { PluginOutcome } from '../../../src/model/plugin-call.js';
import { failedCall } from '../../../src/model/plugin-failure.js';
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
  /** How long a plugin takes calls, and how long it then takes none; undefined where it always does. */
  readonly moods?: (() => { readonly openMs: number; readonly shutMs: number }) | undefined;
}

interface Call {
  readonly replica: LaneReplica;
  readonly sentAtMs: number;
  readonly epoch: string | undefined;
  over: boolean;
}

/** Calls that a replica has in line at most; the rest of its backlog is due. */
const IN_LINE = 20;
/** Each so many calls are deletes. */
const EVERY_DELETE = 4;

/** One replica of a `LaneWorld`: who works has the limits, and all of them, this one as well, call the remote as they are granted. */
export class LaneReplica {
  readonly virtual: VirtualReplica;
  readonly lane: CallLane;
  readonly #world: LaneWorld;
  drawer!: GrantDrawer;
  owner: GrantOwner | undefined;
  /** Calls that wait outside of the line, those that were made, and those that went well. */
  backlog = 0;
  made = 0;
  done = 0;
  /** It was away for a time, so that nobody knew of its calls. */
  troubled = false;
  cut = false;
  dead = false;
  /** The channel to its plugin takes nothing; for as long as it hoards, or its plugin's mood lasts. */
  shut = false;
  #hoards = false;
  /** Calls that it was to make. */
  given = 0;
  /** What the remote says to its next call. */
  throttled: number | undefined;
  #submitted = 0;
  /** The number of the last that was sent, of deletes and of others. */
  readonly #lastSent = { first: 0, other: 0 };
  readonly #waiting = { first: 0, other: 0 };

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
        world.epoch = name;
      },
    });
    const { clock, bootMs } = this.virtual;
    const send = (draw: Draw) => world.carry(this, draw.epoch, (to) => to.owner?.onDraw(draw));
    this.lane = new CallLane({
      limits: { ...bounds, maxQueue: 1_000 },
      limiter: (_, changed) => {
        this.drawer = new GrantDrawer({ drawer: name, grantMs, clock, bootMs, send, changed });
        return this.drawer;
      },
      clock,
      random: () => 0.5,
      blocked: () => (this.dead || this.shut ? { code: 'PLUGIN_PAUSED', message: 'shut', failFast: false } : undefined),
      throttled: () => {},
      changed: () => this.work(),
    });
  }

  get name(): string {
    return this.virtual.seat.epoch;
  }

  /** Calls that are not made yet. */
  get left(): number {
    return this.backlog + this.lane.queued + this.lane.inFlight;
  }

  give(calls: number): void {
    this.given += calls;
    this.backlog += calls;
  }

  /** It asks for so many calls, whose channel takes none of them by the time that they are granted. */
  hoard(calls: number): void {
    this.shut = true;
    this.#hoards = true;
    if (!this.dead) this.virtual.deliver(() => this.drawer.want(calls));
  }

  /** The channel to its plugin takes calls again. */
  open(): void {
    this.shut = false;
    this.#hoards = false;
    this.virtual.deliver(() => this.lane.pump());
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
    this.#changeMood();
  }

  /** Hands calls to the lane as far as they stand in line, and says what else is due. */
  work(): void {
    while (!this.dead && this.backlog > 0 && this.lane.queued < IN_LINE) {
      this.backlog -= 1;
      this.#submit();
    }
    this.lane.due(this.backlog);
  }

  /** Its process ends, in one way or the other. */
  end(): void {
    this.troubled = true;
    this.dead = true;
    this.drawer.close();
    this.owner?.close();
    this.owner = undefined;
  }

  #submit(): void {
    const number = ++this.#submitted;
    const kind = number % EVERY_DELETE === 0 ? 'first' : 'other';
    // Some are marked first, as creates are.
    const marks = number % EVERY_DELETE === 1;
    let ended = 0;
    this.#waiting[kind] += 1;
    this.lane.submit({
      first: kind === 'first',
      failFast: false,
      deadlineMs: Number.POSITIVE_INFINITY,
      signal: undefined,
      prepare: marks ? () => this.#marked() : undefined,
      send: (taken) => {
        this.#waiting[kind] -= 1;
        // What is marked has slot and token kept for it, and others may pass it by meanwhile.
        const late = !marks && number < this.#lastSent[kind];
        if (late) this.#world.faults.push(`call ${number} was sent too late`);
        if (kind === 'other' && this.#waiting.first > 0)
          this.#world.faults.push('a delete waits, another call is sent');
        this.#lastSent[kind] = Math.max(number, this.#lastSent[kind]);
        return { outcome: this.#hand(taken), boundMs: this.virtual.clock.now() + this.#world.options.bounds.callMs };
      },
      refused: ({ message }) => this.#world.faults.push(message),
      ended: (outcome) => {
        if (++ended > 1) this.#world.faults.push('a call ended twice');
        if (outcome.ok) this.done += 1;
        else this.backlog += 1;
      },
    });
  }

  #marked(): Promise<void> {
    const marked = createDeferred<void>();
    this.virtual.clock.setTimer(this.#world.options.callMs() / 4, () => marked.resolve());
    return marked.promise;
  }

  /** The remote has it from here on, whatever becomes of this replica. */
  #hand({ epoch, endsAtMs }: Taken): Promise<PluginOutcome<unknown>> {
    const { world, callMs } = this.#world.options;
    if (this.virtual.bootMs() >= endsAtMs) this.#world.faults.push('a call is sent after the end of its grant');
    if (this.drawer.pausedUntilMs() !== undefined) this.#world.faults.push('a call is sent while the lane rests');
    this.made += 1;
    const answer = createDeferred<PluginOutcome<unknown>>();
    const call = this.#world.sent(this, epoch);
    world.setTimer(callMs(), () => {
      call.over = true;
      const { throttled } = this;
      this.throttled = undefined;
      const calm = failedCall('throttled', 'RATE_LIMIT_THROTTLED', 'calm', throttled);
      this.virtual.deliver(() => answer.resolve(throttled === undefined ? { ok: true, value: undefined } : calm));
    });
    return answer.promise;
  }

  #changeMood(): void {
    const { moods, world } = this.#world.options;
    if (moods === undefined) return;
    const { openMs, shutMs } = moods();
    world.setTimer(openMs, () => {
      this.shut = !this.#world.calm;
      world.setTimer(shutMs, () => {
        if (!this.#hoards) this.open();
        if (!this.dead) this.#changeMood();
      });
    });
  }
}

/** Replicas that share one lane's limits, on clocks of their own, over a network that does what it likes. */
export class LaneWorld {
  readonly options: LaneWorldOptions;
  readonly table = new VirtualTable();
  readonly replicas: LaneReplica[] = [];
  readonly calls: Call[] = [];
  #underWay: Call[] = [];
  /** What a lane did that none may do. */
  readonly faults: string[] = [];
  /** Plugins take calls, and messages come soon. */
  calm = false;
  /** The tenancy that began last. */
  epoch = '';
  /** Most calls under way at a time, of which the owner of their time could know. */
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
    const arrivals = this.calm ? [10] : this.options.arrivals();
    for (const delayMs of to === from ? [0] : arrivals) this.options.world.setTimer(delayMs, arrive);
  }

  sent(replica: LaneReplica, epoch: string | undefined): Call {
    const call = { replica, epoch, sentAtMs: this.options.world.now(), over: false };
    this.calls.push(call);
    this.#underWay = [...this.#underWay.filter(({ over }) => !over), call];
    // Of calls that an owner before allowed, the next one knows what it is told by those that are there.
    const known = this.#underWay.filter((each) => each.epoch === this.epoch || !each.replica.troubled);
    this.mostUnderWay = Math.max(this.mostUnderWay, known.length);
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
    assert.deepEqual(this.faults, []);
    assert.ok(this.mostUnderWay <= this.options.bounds.concurrency, `${this.mostUnderWay} calls were under way`);
  }

  /** Sends between two times. */
  countSince(fromMs: number): number {
    return this.calls.filter(({ sentAtMs }) => sentAtMs >= fromMs).length;
  }
}
