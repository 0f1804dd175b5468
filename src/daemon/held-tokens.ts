import type { Holder } from '../cluster/index.js';
import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { getOrMake } from '../lib/get-or-make.js';
import type { HeldToken } from '../limits/grants/quota-owner.js';
import type { QuotaRequest } from '../limits/types.js';
import type { TaskId } from '../model/attempt-key.js';
import { jobOf } from '../runtime/polling.js';
import { decodeFact, type FactKey, type FactKind, type FactsByKind, partsOfKey } from '../state/index.js';
import { tokenOfOwed, tokenOfTask, tokenOfUnclear } from '../tasks/held-token.js';

/** All optional; none may throw. */
export interface HeldTokensEvents {
  /** A reading failed, after one that did not. */
  tokensUnread?(error: string): void;
}

export interface HeldTokensOptions {
  /** How many the state is divided into. */
  readonly parts: number;
  /** The facts of one kind in a part as they are kept when they are asked for, in pages. */
  readonly load: (part: number, kind: FactKind) => AsyncIterable<readonly (readonly [FactKey, Buffer])[]>;
  /** Who has a part, and since which tenure, as far as it is seen; undefined where nobody has. */
  readonly holderOf: (part: number) => Holder | undefined;
  readonly clock: Clock;
  readonly events?: HeldTokensEvents;
}

/**
 * Kinds of facts that hold tokens, in the order in which a token goes from one to the next: a reading takes many statements, between which
 * facts change, and what goes on meanwhile is found where it goes.
 */
const KINDS = ['task', 'unclear', 'owed'] as const;

interface Asked {
  readonly answer: Deferred<readonly HeldToken[]>;
  readonly plugin: string;
}

/**
 * The tokens that tasks of all parts hold by their facts, whoever has the parts: what a new owner of a plugin's limits begins with, and by
 * which it frees what nobody tells of.
 *
 * States: idle → asked, until the next turn, or for as long as the last reading took → reading; who asks meanwhile waits for the next one →
 * idle or asked; closed, for good. So one reading serves all plugins whose limits moved at once, and readings never take more than half of the
 * time.
 *
 * A fact that cannot be read may be a token of any plugin: the reading fails, and so does each until the fact is mended or this replica is one
 * of the release that wrote it. Until then no new owner here grants tokens, as no replica takes the part of such a fact; what was granted goes
 * on.
 */
export class HeldTokens {
  readonly #options: HeldTokensOptions;
  #asked: Asked[] = [];
  #reading = false;
  #closed = false;
  #next: Timer | undefined;
  /** No reading begins before. Milliseconds of the clock. */
  #restsUntilMs = 0;
  #failed = false;

  constructor(options: HeldTokensOptions) {
    this.#options = options;
  }

  /**
   * What a reading says that begins after this call. A task whose fact went from one kind to the next meanwhile may stand twice. Rejects
   * where the database does not answer, or with STATE_DAMAGED, STATE_FORMAT_NEWER; OWNER_AWAY once it is closed.
   */
  of(plugin: string): Promise<readonly HeldToken[]> {
    if (this.#closed) return Promise.reject(closed());
    const asked = { plugin, answer: createDeferred<readonly HeldToken[]>() };
    this.#asked.push(asked);
    this.#readSoon();
    return asked.answer.promise;
  }

  /** Reads no more; who waits is told so. */
  close(): void {
    this.#closed = true;
    this.#next?.cancel();
    for (const { answer } of this.#asked.splice(0)) answer.reject(closed());
  }

  #readSoon(): void {
    const { clock } = this.#options;
    if (this.#closed || this.#reading || this.#asked.length === 0) return;
    this.#next ??= clock.setTimer(this.#restsUntilMs - clock.now(), () => {
      this.#next = undefined;
      void this.#read();
    });
  }

  async #read(): Promise<void> {
    const { clock, events } = this.#options;
    const asked = this.#asked.splice(0);
    this.#reading = true;
    const beganMs = clock.now();
    try {
      const found = await this.#readAll(new Set(asked.map(({ plugin }) => plugin)));
      this.#failed = false;
      for (const { plugin, answer } of asked) answer.resolve(found.get(plugin) ?? []);
    } catch (error) {
      if (!this.#failed && !this.#closed) events?.tokensUnread?.(messageOf(error));
      this.#failed = true;
      for (const { answer } of asked) answer.reject(error);
    }
    this.#reading = false;
    this.#restsUntilMs = 2 * clock.now() - beganMs;
    this.#readSoon();
  }

  async #readAll(plugins: ReadonlySet<string>): Promise<ReadonlyMap<string, readonly HeldToken[]>> {
    const { parts, load, holderOf } = this.#options;
    const found = new Map<string, HeldToken[]>();
    for (let part = 0; part < parts; part++) {
      for (const kind of KINDS) {
        for await (const page of load(part, kind)) {
          if (this.#closed) throw closed();
          const holder = holderOf(part);
          const drawer = holder?.epoch ?? '';
          const turn = Number(holder?.tenure ?? 0);
          for (const [key, value] of page) {
            const token = tokenOf(key, value, plugins);
            if (token === undefined) continue;
            const { plugin, request, job } = token;
            getOrMake(found, plugin, () => []).push({ drawer, turn, request, job });
          }
        }
      }
    }
    return found;
  }
}

type Token = Pick<HeldToken, 'request' | 'job'> & { readonly plugin: string };

/** What a fact says of a token of one of these plugins. Throws as `decodeFact`. */
function tokenOf(key: FactKey, value: Buffer, plugins: ReadonlySet<string>): Token | undefined {
  const { kind, name = '' } = partsOfKey(key) ?? {};
  const read = isHolding(kind) ? decodeFact(kind, name, value) : undefined;
  if (read === undefined || !plugins.has(read.identity.plugin)) return undefined;
  const request = requestOf(name, read);
  if (request === undefined) return undefined;
  const meta = 'meta' in read ? read.meta : undefined;
  return { plugin: read.identity.plugin, request, job: meta && jobOf(meta) };
}

function isHolding(kind: FactKind | undefined): kind is (typeof KINDS)[number] {
  return (KINDS as readonly unknown[]).includes(kind);
}

function requestOf(id: TaskId, fact: FactsByKind[(typeof KINDS)[number]]): QuotaRequest | undefined {
  if ('holdsToken' in fact) return tokenOfOwed(fact, id);
  if ('looks' in fact) return tokenOfUnclear(fact, id);
  // Who takes the part looks for the job of a task that was deleted as it was created.
  if (fact.cancelling !== undefined) return tokenOfUnclear({ ...fact, leftBecause: undefined }, id);
  return tokenOfTask(fact, id, fact.identity);
}

function closed(): HostError {
  return new HostError('OWNER_AWAY', 'this replica ends, and reads no tokens any more');
}
