import { HostError } from '../../errors/index.js';
import type { Clock, Timer } from '../../lib/clock.js';
import type { NotWritten, PartCommit, PartFences, Puts, StateEngine } from '../engine.js';
import { type FactKey, isWrittenOnce } from '../facts/facts.js';
import type { KeyRange } from '../facts/part-keys.js';
import { Connections } from './connections.js';
import { countWaiting } from './inspection.js';
import { Ownership } from './ownership.js';
import { type PostgresPlace, placeText } from './place.js';
import { reached } from './reach.js';
import { measure, pages } from './rows.js';
import { migrate, type Tables, tablesOf } from './schema.js';
import { commitStatement, guardsOf } from './statements.js';

export interface PostgresOptions {
  readonly place: PostgresPlace;
  readonly clock: Clock;
  readonly random: () => number;
  /** Told of each password and private key before it is used. */
  readonly onSecret?: ((secret: string) => void) | undefined;
  /** Who has the state where it was taken before it is opened (`MemberTable`); it is given back elsewhere, too. */
  readonly holder?: StateHolder;
  /** How many parts have an owner of their own; as it is found where that is left out. */
  readonly parts?: number;
}

/** The one that may write, as its commits ask it. */
export interface StateHolder {
  readonly epoch: string;
  /** Of a part that it has. Throws the reason once another one has it. */
  tenureOf(part: number): string;
  /** A commit found another one in its place: what it is to reject with. */
  lostIt(part: number, tenure: string): HostError;
}

/** Of a commit: the parts that are the epoch's, and which of the guards are not met, counted from 1. */
interface Answer extends Record<string, unknown> {
  readonly held: readonly number[];
  readonly unmet?: readonly number[];
}

const MEASURE_MS = 30_000;
const NOTHING: Puts = new Map();

/**
 * Facts as rows of a PostgreSQL database. A commit is one statement: it locks the owner's row of each part that it writes, compares epoch
 * and tenure, and writes all of a part or nothing; those of its guards as well. No transaction stays open, nothing is prepared, and no setting belongs to a session.
 *
 * States: closed → open (`open`: reached, migrated, claimed), open → lost (another daemon took the state; for good), any →
 * closed (`close`).
 */
export class PostgresEngine implements StateEngine {
  readonly name = 'postgres';
  readonly durable = true;
  readonly #place: PostgresPlace;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #onSecret: PostgresOptions['onSecret'];
  readonly #holder: StateHolder | undefined;
  #parts: number | undefined;
  #connections: Connections | undefined;
  #ownership: Ownership | undefined;
  #measuring: Timer | undefined;
  #closed = false;
  readonly #fences: PartFences = {
    tenureOf: (part) => this.#held().tenureOf(part),
    commit: (commits) => this.#commit(commits),
  };
  sizeBytes = 0;

  constructor({ place, clock, random, onSecret, holder, parts }: PostgresOptions) {
    this.#place = place;
    this.#tables = tablesOf(place.schema);
    this.#clock = clock;
    this.#random = random;
    this.#onSecret = onSecret;
    this.#holder = holder;
    this.#parts = parts;
  }

  /** Waits for a server that cannot be reached yet, and up to a lease for the state of one that was killed. */
  async open(stop?: AbortSignal): Promise<void> {
    const connections = await Connections.open(this.#place, this.#onSecret);
    this.#connections = connections;
    try {
      await reached(connections, { place: this.#place, clock: this.#clock, random: this.#random }, stop);
      this.#parts = await migrate(connections, this.#place, this.#parts);
      if (this.#holder === undefined) {
        const ownership = new Ownership(connections, this.#place, this.#tables, this.#clock);
        await ownership.claim(stop);
        this.#ownership = ownership;
        await this.#assertNothingPromised(connections);
      }
      await this.#measure();
    } catch (error) {
      // What was claimed is given back, and renewed no more: the next start has nobody to wait for.
      await this.#ownership?.release().catch(() => undefined);
      await this.#letGo();
      throw error;
    }
    this.#keepMeasuring();
  }

  /** A daemon that is no replica takes nothing in: what others have acknowledged would be forgotten. Throws STATE_PROMISED. */
  async #assertNothingPromised(connections: Connections): Promise<void> {
    const waiting = await countWaiting(connections, this.#tables);
    if (waiting === 0) return;
    const seen = `${waiting} promises of replicas wait in the inbox of schema ${this.#place.schema}`;
    throw new HostError('STATE_PROMISED', `${seen}; let a replica (cluster.enabled) take them in, and stop it`);
  }

  load(range?: KeyRange): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    return pages(this.#open(), this.#tables, range);
  }

  async commit(puts: Puts, drops: readonly FactKey[], consumed?: readonly string[]): Promise<void> {
    const holder = this.#held();
    const commits: PartCommit[] = [{ part: 0, tenure: holder.tenureOf(0), puts, drops, consumed }];
    // All of it is this one's, or nothing is written.
    for (let part = 1; part < (this.#parts ?? 1); part++) {
      commits.push({ part, tenure: holder.tenureOf(part), puts: NOTHING, drops: [] });
    }
    for (const why of (await this.#commit(commits)).values()) if ('lost' in why) throw why.lost;
  }

  get fences(): PartFences | undefined {
    return (this.#parts ?? 1) > 1 ? this.#fences : undefined;
  }

  async #commit(commits: readonly PartCommit[]): Promise<ReadonlyMap<number, NotWritten>> {
    const holder = this.#held();
    const { epoch } = holder;
    const { text, values } = commitStatement(this.#tables, { epoch, commits, isWrittenOnce });
    const [row] = await this.#open().run<Answer>(text, values);
    const guards = guardsOf(commits);
    const unmet = row?.unmet?.map((at) => guards[at - 1]);
    const not = new Map<number, NotWritten>();
    for (const { part, tenure } of commits) {
      const mine = unmet?.flatMap((one) => (one?.of === part ? one.guard : [])) ?? [];
      if (row?.held.includes(part) !== true) not.set(part, { lost: holder.lostIt(part, tenure) });
      else if (mine.length > 0) not.set(part, { unmet: mine });
    }
    return not;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#measuring?.cancel();
    // A database that is away keeps the owner's row; who starts next waits a lease.
    await this.#ownership?.release().catch(() => undefined);
    await this.#letGo();
  }

  async #letGo(): Promise<void> {
    const connections = this.#connections;
    this.#connections = undefined;
    this.#ownership = undefined;
    await connections?.close().catch(() => undefined);
  }

  #open(): Connections {
    if (this.#connections === undefined) {
      throw new HostError('STATE_UNWRITABLE', `the state in PostgreSQL at ${placeText(this.#place)} is not open`);
    }
    return this.#connections;
  }

  #held(): StateHolder {
    this.#open();
    return this.#holder ?? (this.#ownership as Ownership);
  }

  async #measure(): Promise<void> {
    this.sizeBytes = await measure(this.#open(), this.#tables);
  }

  #keepMeasuring(): void {
    this.#measuring = this.#clock.setTimer(MEASURE_MS, () => {
      // The next commit finds out what is wrong with the database, and says so.
      this.#measure()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#closed) this.#keepMeasuring();
        });
    });
  }
}
