import { ClassicLevel } from 'classic-level';
import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import type { Puts, StateEngine } from '../engine.js';
import type { FactKey } from '../facts/facts.js';
import type { KeyRange } from '../facts/part-keys.js';
import { chainKey, chainValue, isChainKey, readChain } from './commit-chain.js';
import { Acknowledged, StateFolder } from './folder.js';
import { claimFolder, openFailure } from './lock.js';
import { damagedFiles, fileTrouble } from './trouble.js';
import { Upkeep } from './upkeep.js';

export interface EmbeddedOptions {
  readonly dir: string;
  readonly clock: Clock;
  /** Above this what was dropped is taken out of the files at once; 0, the default, for never. Bytes. */
  readonly maxBytes?: number;
}

type Level = ClassicLevel<string, Buffer>;

/** Facts that are read from the database at a time, and their bytes: the library's own bound of 16 KiB holds some sixty. */
const BATCH = 1_000;
const BATCH_BYTES = 1024 * 1024;
/** LevelDB gathers so much in memory before it writes a table; a larger one means fewer merges. */
const WRITE_BUFFER_BYTES = 16 * 1024 * 1024;
/** All keys lie between these. */
const FIRST_KEY = Buffer.alloc(0);
const LAST_KEY = Buffer.from([0xff]);

/**
 * Facts in a LevelDB of the daemon's own. Every commit is one synced batch, written by the thread pool, with its number
 * beside it: a gap between numbers, or a last one below what was acknowledged, is damage.
 *
 * States: closed → open (`open`), open → broken (a commit failed: what LevelDB then holds is uncertain, so the next commit
 * opens it anew, which merges the log into synced tables), any → closed (`close`).
 */
export class EmbeddedEngine implements StateEngine {
  readonly name = 'embedded';
  readonly durable = true;
  readonly #folder: StateFolder;
  readonly #clock: Clock;
  #db: Level | undefined;
  #acknowledged: Acknowledged | undefined;
  /** The one that was open last, by which a folder is known again, however many tries to open it anew have failed since. */
  #known: Acknowledged | undefined;
  #unclaim: (() => void) | undefined;
  #lastCommit = 0;
  #broken = false;
  /** The folder was empty when it was opened last, or in a try before that failed. */
  #anew = false;
  /** That what was committed is gone was said, and what is there is begun anew. */
  #lossTold = false;
  /** Another state lies where this one was: it is not touched. */
  #replaced = false;
  readonly #upkeep: Upkeep;

  constructor({ dir, clock, maxBytes = 0 }: EmbeddedOptions) {
    this.#folder = new StateFolder(dir);
    this.#clock = clock;
    this.#upkeep = new Upkeep({
      clock,
      maxBytes,
      measure: () => this.#folder.keepPrivate().then(() => this.#folder.measure()),
      compact: async () => this.#db?.compactRange(FIRST_KEY, LAST_KEY, { keyEncoding: 'buffer' }),
    });
  }

  get sizeBytes(): number {
    return this.#upkeep.sizeBytes;
  }

  async open(): Promise<void> {
    await this.#open();
    this.#anew = false;
    this.#upkeep.start();
  }

  async *load({ after, before }: KeyRange = {}): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    const range = { ...(after === undefined ? {} : { gt: after }), ...(before === undefined ? {} : { lt: before }) };
    const iterator = this.#opened().iterator({ ...range, fillCache: false, highWaterMarkBytes: BATCH_BYTES });
    let next = iterator.nextv(BATCH);
    try {
      for (;;) {
        const pairs = await next;
        if (pairs.length === 0) return;
        // Read by the thread pool while these are taken in.
        next = iterator.nextv(BATCH);
        next.catch(() => undefined);
        const facts = pairs.filter(([key]) => !isChainKey(key));
        if (facts.length > 0) yield facts;
      }
    } catch (error) {
      throw fileTrouble(this.#folder.dir, 'cannot be read', error);
    } finally {
      await iterator.close();
    }
  }

  async commit(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    if (this.#broken) await this.#mend();
    try {
      await this.#write(puts, drops);
    } catch (error) {
      this.#broken = true;
      throw fileTrouble(this.#folder.dir, 'cannot be written', error);
    }
  }

  async close(): Promise<void> {
    this.#upkeep.stop();
    await this.#letGo();
    await this.#folder.handOver();
  }

  async #write(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    const commit = this.#lastCommit + 1;
    // Put one by one, which takes a sixth of the time of a list of operations: that is copied several times over.
    const batch = this.#opened().batch();
    for (const [key, value] of puts) batch.put(key, value);
    for (const key of drops) batch.del(key);
    batch.put(chainKey(commit), chainValue(commit));
    await batch.write({ sync: true });
    this.#lastCommit = commit;
    this.#upkeep.committed();
    // Files that were removed under the daemon take writes all the same; nothing in them is safe.
    if ((await this.#acknowledged?.write(commit)) === true) return;
    this.#lossTold = true;
    throw this.#lost();
  }

  /**
   * Opens anew what a failed commit left. A folder that is gone is begun anew, and that is said once; what somebody put in
   * its place meanwhile is not written over.
   */
  async #mend(): Promise<void> {
    const gone = (await this.#known?.inPlace().catch(() => true)) === false;
    await this.#letGo().catch(() => undefined);
    // Asked before anything is opened, since to open is to write.
    if (gone && !(await this.#folder.isEmpty())) this.#replaced = true;
    if (this.#replaced) throw this.#lost();
    await this.#open();
    this.#broken = false;
    const untold = this.#anew && !this.#lossTold;
    this.#anew = false;
    this.#lossTold = false;
    if (untold) throw this.#lost();
  }

  async #open(): Promise<void> {
    const { empty } = await this.#folder.prepare();
    this.#anew ||= empty;
    this.#unclaim = claimFolder(this.#folder.dir);
    try {
      this.#acknowledged = await Acknowledged.open(this.#folder.acknowledged);
      this.#known = this.#acknowledged;
      await this.#openDatabase();
      await this.#assertWhole();
      await this.#folder.writeHolder(this.#clock.now());
      await this.#upkeep.measure();
    } catch (error) {
      await this.#letGo().catch(() => undefined);
      throw await openFailure(this.#folder, error);
    }
  }

  async #openDatabase(): Promise<void> {
    const db: Level = new ClassicLevel<string, Buffer>(this.#folder.database, { valueEncoding: 'buffer' });
    await db.open({ writeBufferSize: WRITE_BUFFER_BYTES });
    this.#db = db;
  }

  /** Every one of the last commits left its trace, and none that was acknowledged is missing at the end. */
  async #assertWhole(): Promise<void> {
    const traces = await this.#opened().iterator({ gte: 'commit/', lt: 'commit0' }).all();
    const { last, problem } = readChain(traces, (await this.#acknowledged?.read()) ?? 0);
    if (problem !== undefined) throw damagedFiles(this.#folder.dir, problem);
    // An older copy of the folder, put in its place while it was not open.
    if (!this.#anew && last < this.#lastCommit) {
      this.#replaced = true;
      throw this.#lost();
    }
    this.#lastCommit = last;
  }

  async #letGo(): Promise<void> {
    const acknowledged = this.#acknowledged;
    const db = this.#db;
    this.#acknowledged = undefined;
    this.#db = undefined;
    try {
      await acknowledged?.close();
      await db?.close();
    } finally {
      this.#unclaim?.();
      this.#unclaim = undefined;
    }
  }

  #lost(): HostError {
    return new HostError(
      'STATE_LOST',
      this.#replaced
        ? `the folder ${this.#folder.dir} was replaced while the daemon had it, and what lies there now is another state; restart the daemon to go on with that one`
        : `the folder ${this.#folder.dir} was removed while the daemon had it; a new state is begun there with all that memory knows`,
    );
  }

  #opened(): Level {
    if (this.#db === undefined) throw new HostError('STATE_UNWRITABLE', `the state in ${this.#folder.dir} is not open`);
    return this.#db;
  }
}
