import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { Forwarder } from '../../src/cluster/forwarder.js';
import type { Owners } from '../../src/cluster/owners.js';
import { HostError } from '../../src/errors/index.js';
import { type Clock, systemClock } from '../../src/lib/clock.js';
import { HOP } from '../../src/model/forwarding.js';
import { partitionOfHandle, partOf } from '../../src/model/handle.js';
import { partitionOfAttempt } from '../../src/model/partition.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { WatchFilter, WatchReader } from '../../src/model/watch.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import { passedOn } from '../../src/rpc/forwarding.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import type { MemberRow } from '../../src/state/index.js';
import { ChangeRing } from '../../src/store/change-ring.js';
import type { CallScope, CreateAnswerView, HandleHints, TaskSpec } from '../../src/tasks/types.js';
import type { Mutable } from '../rpc/fake-tasks.js';
import { FLYTE1, FLYTE2, FlyteTasks } from '../rpc/flyte/support.js';
import { type Fixture, idl, startServer } from '../rpc/support.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';

const MIB = 1024 * 1024;

/** Who has which part in truth: at most one replica at a time, which has given it up before another one takes it. */
export class Truth {
  readonly owners: (number | undefined)[];
  /** Calls that each part's owner works on. */
  readonly working: number[];

  constructor(readonly parts: number) {
    this.owners = new Array<number | undefined>(parts).fill(undefined);
    this.working = new Array<number>(parts).fill(0);
  }
}

/** What one replica sees of it, which may be old. */
export class FakeOwners implements Owners {
  readonly #seen: (MemberRow | 'here' | undefined)[];
  readonly #listeners = new Set<() => void>();

  constructor(readonly parts: number) {
    this.#seen = new Array<MemberRow | 'here' | undefined>(parts).fill(undefined);
  }

  ownerOf(part: number): MemberRow | 'here' | undefined {
    return this.#seen[part];
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  sees(part: number, owner: MemberRow | 'here' | undefined): void {
    this.#seen[part] = owner;
    for (const listener of this.#listeners) listener();
  }
}

export interface Work {
  readonly name: string;
  readonly part: number;
  readonly by: number;
  readonly hop: string | undefined;
  readonly method: string;
}

/** Use cases that work on what their replica has, and refuse the rest. */
class OwnedTasks extends FlyteTasks {
  /** Of the parts that it has. */
  readonly rings = new Map<number, ChangeRing>();

  watchPart(part: number, filter: WatchFilter): WatchReader {
    const ring = this.rings.get(part);
    if (ring === undefined) throw new HostError('OWNER_AWAY', `part ${part} is not here`);
    return ring.read(filter);
  }

  constructor(
    private readonly world: PartedWorld,
    private readonly index: number,
  ) {
    super();
  }

  async #work(method: string, partition: number, name: string, scope?: CallScope): Promise<void> {
    const { truth, worked } = this.world;
    const part = partOf(partition, truth.parts);
    const assertHere = () => {
      if (truth.owners[part] !== this.index) throw new HostError('OWNER_AWAY', `part ${part} is not here`);
    };
    assertHere();
    truth.working[part] = (truth.working[part] as number) + 1;
    try {
      await this.world.during(part, this.index, scope);
      // What it writes is fenced.
      assertHere();
      const header = (scope as { header?(name: string): string | undefined } | undefined)?.header?.(HOP);
      worked.push({ name, part, by: this.index, hop: header, method });
    } finally {
      truth.working[part] = (truth.working[part] as number) - 1;
    }
  }

  override async create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView> {
    await this.#work('create', partitionOfAttempt(spec.attempt, spec.node), spec.attempt.name, scope);
    return super.create(spec, scope);
  }

  override async do(spec: TaskSpec, scope: CallScope) {
    await this.#work('do', partitionOfAttempt(spec.attempt, spec.node), spec.attempt.name, scope);
    return super.do(spec, scope);
  }

  override async status(handle: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    await this.#work('status', partitionOfHandle(handle), '', scope);
    return super.status(handle, hints, scope);
  }

  override async get(handle: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    await this.#work('get', partitionOfHandle(handle), '', scope);
    return super.get(handle, hints, scope);
  }

  override async delete(handle: Buffer, reason: string, hints: HandleHints, scope?: CallScope): Promise<void> {
    await this.#work('delete', partitionOfHandle(handle), '', scope);
    return super.delete(handle, reason, hints);
  }

  override async getLogs(...args: Parameters<FlyteTasks['getLogs']>): Promise<never> {
    await this.#work('getLogs', partitionOfHandle(args[0] as Buffer), '', args[3]);
    return super.getLogs(...args);
  }

  override async getMetrics(...args: Parameters<FlyteTasks['getMetrics']>): Promise<never> {
    await this.#work('getMetrics', partitionOfHandle(args[0] as Buffer), '');
    return super.getMetrics(...args);
  }
}

export interface Replica extends Fixture {
  readonly tasks: OwnedTasks;
  readonly owners: FakeOwners;
  readonly row: MemberRow;
  readonly codes: string[];
  client1(): Client;
}

export function handleOf(record: TaskRecord): Buffer {
  return record.answeredHandle as Buffer;
}

/** Several replicas with servers and sockets of their own, that share parts of no state. */
export class PartedWorld {
  readonly truth: Truth;
  readonly replicas: Replica[] = [];
  readonly worked: Work[] = [];
  /** All tasks, as they are stored. */
  readonly records: (TaskRecord & Mutable)[] = [];
  /** What holds a call up while its owner works on it. */
  during: (part: number, by: number, scope?: CallScope) => Promise<void> = async () => {};

  constructor(readonly parts: number) {
    this.truth = new Truth(parts);
  }

  async start(t: TestContext, count: number, clock: Clock = systemClock): Promise<void> {
    for (let index = 0; index < count; index++) this.replicas.push(await this.#replica(t, index, clock));
  }

  /** Says to all, or to some, who has a part; in truth, too, unless they are only told so. */
  gives(part: number, to: number | undefined, told = this.replicas.keys() as Iterable<number>): void {
    this.truth.owners[part] = to;
    for (const index of told) this.tell(index, part, to);
  }

  tell(index: number, part: number, owner: number | undefined): void {
    const seen = owner === undefined ? undefined : owner === index ? ('here' as const) : this.replicas[owner]?.row;
    this.replicas[index]?.owners.sees(part, seen);
  }

  /** The same with what is watched of it; all see it at once. */
  takes(part: number, by: number): void {
    const current = () =>
      this.records.filter((record) => partOf(partitionOfHandle(handleOf(record)), this.parts) === part);
    this.replicas[by]?.tasks.rings.set(part, new ChangeRing({ capacity: 1_000, current }));
    this.gives(part, by);
  }

  /** Nobody has it then; who watches it is told so. Of one that is frozen nobody is told anything. */
  givesUp(part: number, frozen = false): void {
    const by = this.truth.owners[part];
    const { rings } = (this.replicas[by as number] as Replica).tasks;
    if (!frozen) {
      rings.get(part)?.drain();
      rings.delete(part);
    }
    this.gives(part, undefined);
  }

  /** A task changes, where somebody has its part. */
  changes(record: TaskRecord & Mutable): void {
    const part = partOf(partitionOfHandle(handleOf(record)), this.parts);
    record.phaseVersion += 1;
    const by = this.truth.owners[part];
    if (by !== undefined) this.replicas[by]?.tasks.rings.get(part)?.append(record, false);
  }

  /** Gives a part up in good order: what works on it ends first. */
  async takesAway(part: number): Promise<void> {
    this.truth.owners[part] = undefined;
    while ((this.truth.working[part] as number) > 0) await sleep(1);
  }

  async #replica(t: TestContext, index: number, clock: Clock): Promise<Replica> {
    const owners = new FakeOwners(this.parts);
    const tasks = new OwnedTasks(this, index);
    const codes: string[] = [];
    const epoch = `replica-${index}`;
    const bounds = { maxReceiveBytes: 64 * MIB, maxSendBytes: 64 * MIB };
    const passed = (code: string) => void codes.push(code);
    const forwarder = new Forwarder({ owners, epoch, clock, patienceMs: 10_000, passed, ...bounds });
    t.after(() => forwarder.close());
    const limits = DEFAULT_FIELD_LIMITS;
    const services = [
      createNativeService({ tasks, idl, limits, ...NATIVE_BOUNDS, bookmarkIntervalMs: 200 }),
      ...createFlyteServices({ tasks, limits, flyteidl: FLYTE1.idl, flyteidl2: FLYTE2.idl, maxStalenessMs: 0 }),
    ];
    const fixture = await startServer(t, { services: services.map((service) => passedOn(service, forwarder)) });
    const row = {
      name: epoch,
      version: '1',
      counter: '1',
      joinedAtMs: 0,
      ownsSinceMs: 0,
      epoch,
      address: fixture.address,
    };
    let client: Client | undefined;
    t.after(() => client?.close());
    return {
      ...fixture,
      tasks,
      owners,
      row,
      codes,
      client1() {
        client ??= new Client(fixture.address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
        return client;
      },
    };
  }
}
