import { HostError } from '../../errors/index.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import type { FactKey } from '../facts/facts.js';
import { partPrefix } from '../facts/part-keys.js';
import type { Inbox, InboxRow, KeptOfKey, NewInboxRow, PutEnd, WaitingOfPart } from '../inbox.js';
import { Connections } from './connections.js';
import { lookStatement, putStatement, readStatement, waitingStatement } from './inbox-statements.js';
import type { PostgresPlace } from './place.js';
import { type Tables, tablesOf } from './schema.js';

export interface PostgresInboxOptions {
  readonly place: PostgresPlace;
  /** Told of each password and private key before it is used. */
  readonly onSecret?: ((secret: string) => void) | undefined;
  /** Of the replica that it is for. */
  readonly epoch: string;
  /** Into how many the state is divided. */
  readonly parts: number;
}

/** One that reads, and one that puts: neither waits for the other, nor the state's own statements for them. */
const CONNECTIONS = 2;
/** What one statement is about at most. */
const READ_AT_ONCE = 200;
const PUT_AT_ONCE = 200;

interface AskedKey {
  readonly part: number;
  readonly key: string;
}

interface AskedPut {
  readonly row: NewInboxRow;
  readonly tenure: string;
}

/** As the statements answer it: `at` counts what was asked from 0. */
type KeptRow =
  | {
      readonly what: 'part';
      readonly at: number;
      readonly said: { readonly tenure: string; readonly owner: string | null };
    }
  | { readonly what: 'fact'; readonly at: number; readonly key: FactKey; readonly value: Buffer }
  | { readonly what: 'row'; readonly at: number; readonly value: Buffer | null; readonly said: Omit<InboxRow, 'body'> };

/**
 * What waits in PostgreSQL for the owners of parts, and what is kept of one key for who answers in an owner's place, on connections of their
 * own. Each statement is a transaction of its own; what it must hold under it compares itself.
 *
 * States: closed → `open` → open → `close`; nothing is connected to before the first statement.
 */
export class PostgresInbox implements Inbox {
  readonly #options: PostgresInboxOptions;
  readonly #tables: Tables;
  readonly #reads: Gathered<AskedKey, KeptOfKey>;
  readonly #puts: Gathered<AskedPut, PutEnd>;
  #connections: Connections | undefined;

  constructor(options: PostgresInboxOptions) {
    this.#options = options;
    this.#tables = tablesOf(options.place.schema);
    this.#reads = new Gathered(
      READ_AT_ONCE,
      ({ part, key }) => `${part}/${key}`,
      (asked) => this.#readAll(asked),
    );
    this.#puts = new Gathered(
      PUT_AT_ONCE,
      ({ row }) => `${row.part}/${row.kind}/${row.key}/${row.name}`,
      (asked) => this.#putAll(asked),
    );
  }

  async open(): Promise<void> {
    const { place, onSecret } = this.#options;
    this.#connections = await Connections.open({ ...place, connections: CONNECTIONS }, onSecret);
  }

  async close(): Promise<void> {
    const connections = this.#connections;
    this.#connections = undefined;
    await connections?.close();
  }

  read(part: number, key: string): Promise<KeptOfKey> {
    return this.#reads.ask({ part, key });
  }

  put(row: NewInboxRow, tenure: string): Promise<PutEnd> {
    return this.#puts.ask({ row, tenure });
  }

  /** What was written before, and is written again as an answer was lost, is written. */
  settle(part: number, key: string, body: Buffer | undefined): Promise<boolean> {
    const { inbox } = this.#tables;
    const mine = `part = $1 AND kind = 'do' AND key = $2 AND name = '' AND epoch = $3`;
    const values = [part, key, this.#options.epoch];
    if (body === undefined) {
      return this.#did(`DELETE FROM ${inbox} WHERE ${mine} AND body IS NULL RETURNING 1 AS done`, values);
    }
    return this.#did(
      `UPDATE ${inbox} SET body = $4 WHERE ${mine} AND (body IS NULL OR body = $4) RETURNING 1 AS done`,
      [...values, body],
    );
  }

  reclaim(part: number, key: string, from: string): Promise<boolean> {
    return this.#did(
      `UPDATE ${this.#tables.inbox} SET epoch = $4 WHERE part = $1 AND kind = 'do' AND key = $2 AND name = '' AND epoch = $3 AND body IS NULL
        RETURNING 1 AS done`,
      [part, key, from, this.#options.epoch],
    );
  }

  async look(parts: readonly number[], behind = '0'): Promise<readonly InboxRow[]> {
    if (parts.length === 0) return [];
    type Found = Omit<InboxRow, 'body'> & { readonly body: Buffer | null };
    const rows = await this.#run<Found>(lookStatement(this.#tables), [parts, behind]);
    return rows.map(({ body, ...row }) => ({ ...row, body: body ?? undefined }));
  }

  async waiting(parts: readonly number[]): Promise<readonly WaitingOfPart[]> {
    if (parts.length === 0) return [];
    return this.#run<WaitingOfPart & Record<string, unknown>>(waitingStatement(this.#tables), [parts]);
  }

  async #readAll(asked: readonly AskedKey[]): Promise<readonly KeptOfKey[]> {
    const { parts } = this.#options;
    const { text, values } = readStatement(this.#tables, parts, asked);
    const rows = await this.#run<KeptRow & Record<string, unknown>>(text, values);
    const kept = asked.map(() => ({
      tenure: '',
      owner: undefined as string | undefined,
      facts: [] as (readonly [FactKey, Buffer])[],
      rows: [] as InboxRow[],
    }));
    for (const row of rows) {
      const one = kept[row.at]!;
      const prefix = parts === 1 ? '' : partPrefix(asked[row.at]!.part, parts);
      if (row.what === 'fact') one.facts.push([row.key.slice(prefix.length), row.value]);
      else if (row.what === 'row') one.rows.push({ ...row.said, body: row.value ?? undefined });
      else {
        one.tenure = row.said.tenure;
        one.owner = row.said.owner ?? undefined;
      }
    }
    return kept;
  }

  async #putAll(asked: readonly AskedPut[]): Promise<readonly PutEnd[]> {
    const { text, values } = putStatement(this.#tables, this.#options.epoch, asked);
    const rows = await this.#run<{ at: number; end: PutEnd }>(text, values);
    const ends = new Map(rows.map(({ at, end }) => [at, end]));
    return asked.map((_, at) => ends.get(at) ?? 'moved');
  }

  async #did(text: string, values: readonly unknown[]): Promise<boolean> {
    return (await this.#run(text, values)).length > 0;
  }

  #run<R extends Record<string, unknown>>(text: string, values: readonly unknown[]): Promise<readonly R[]> {
    if (this.#connections === undefined) {
      return Promise.reject(new HostError('STATE_UNWRITABLE', 'the inbox is not open'));
    }
    return this.#connections.run<R>(text, values);
  }
}

/**
 * What is asked while a statement is under way is asked by the next one, all together; one name stands once in each.
 *
 * States: idle → asking, one statement after the other while somebody waits → idle.
 */
class Gathered<A, R> {
  readonly #max: number;
  readonly #nameOf: (asked: A) => string;
  readonly #run: (asked: readonly A[]) => Promise<readonly R[]>;
  #waiting: { readonly asked: A; readonly done: Deferred<R> }[] = [];
  #underWay = false;

  constructor(max: number, nameOf: (asked: A) => string, run: (asked: readonly A[]) => Promise<readonly R[]>) {
    this.#max = max;
    this.#nameOf = nameOf;
    this.#run = run;
  }

  ask(asked: A): Promise<R> {
    const done = createDeferred<R>();
    this.#waiting.push({ asked, done });
    if (!this.#underWay) void this.#next();
    return done.promise;
  }

  async #next(): Promise<void> {
    this.#underWay = true;
    while (this.#waiting.length > 0) {
      const named = new Map<string, { readonly asked: A; readonly done: Deferred<R> }>();
      for (const one of this.#waiting) {
        if (named.size === this.#max) break;
        const name = this.#nameOf(one.asked);
        if (!named.has(name)) named.set(name, one);
      }
      const group = new Set(named.values());
      this.#waiting = this.#waiting.filter((one) => !group.has(one));
      await this.#ask([...group]);
    }
    this.#underWay = false;
  }

  async #ask(group: readonly { readonly asked: A; readonly done: Deferred<R> }[]): Promise<void> {
    try {
      const answers = await this.#run(group.map(({ asked }) => asked));
      for (const [at, { done }] of group.entries()) done.resolve(answers[at] as R);
    } catch (error) {
      for (const { done } of group) done.reject(error);
    }
  }
}
