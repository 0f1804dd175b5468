import { HostError, messageOf } from '../errors/index.js';
import { decodeCreateBody, decodeDeleteBody, decodeDoBody, type InboxRow, wholeState } from '../state/index.js';
import { GONE_MS } from '../store/restore.js';
import type { CreateTask } from './accept/create.js';
import type { DoTask } from './accept/do.js';
import type { TasksDeps } from './deps.js';
import { deleteTask } from './end/delete.js';
import type { DeleteList } from './end/delete-list.js';
import type { UnclearLooks } from './end/unclear-looks.js';
import type { Handles } from './read/handles.js';

export interface TakeInParts {
  readonly creates: CreateTask;
  readonly deletes: DeleteList;
  readonly doing: DoTask;
  readonly handles: Handles;
  readonly unclear: UnclearLooks;
}

/**
 * Makes what stand-ins have promised, and run, the owner's own, in the order in which it was put. The effect of a row and its end are one
 * turn of the store, so that one commit has both.
 *
 * States of a row: waits → taken in, or *left* where it cannot be read, or carried out, by this release: it is tried again each time that it
 * is shown, and those behind it about the same key wait for it. A run that is still under way elsewhere waits as well, and holds up none.
 */
export class TakeIn {
  readonly #deps: TasksDeps;
  readonly #parts: TakeInParts;
  /** By what they are about, each with its id. */
  readonly #left = new Map<string, string>();

  constructor(deps: TasksDeps, parts: TakeInParts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  /** False where the row stays. `putterIsGone`: who put it is dead, so that it runs nothing any more. */
  take(row: InboxRow, putterIsGone = false): boolean {
    const about = row.kind === 'do' ? `do/${row.key}` : row.key;
    const before = this.#left.get(about);
    if (before !== undefined && before !== row.id) return false;
    try {
      if (!this.#carryOut(row, putterIsGone)) return false;
    } catch (error) {
      this.#leave(row, about, error);
      return false;
    }
    this.#left.delete(about);
    this.#deps.store.consumed(row.id);
    this.#deps.events.tookIn?.(row.kind);
    return true;
  }

  #leave({ kind, id }: InboxRow, about: string, error: unknown): void {
    if (this.#left.get(about) === id) return;
    this.#left.set(about, id);
    const code = HostError.is(error) ? error.code : 'INTERNAL';
    this.#deps.events.leftInInbox?.(kind, id, code, messageOf(error));
  }

  #carryOut(row: InboxRow, putterIsGone: boolean): boolean {
    if (row.kind === 'do') return this.#ran(row, putterIsGone);
    if (row.body === undefined) throw new HostError('STATE_DAMAGED', `row ${row.id} of the inbox has no body`);
    if (row.kind === 'create') this.#create(row.name, row.body);
    else this.#delete(row.name, row.body);
    return true;
  }

  #create(id: string, body: Buffer): void {
    const { task, payload } = decodeCreateBody(id, body);
    const { identity, outputPrefix, node, answeredHandle, hadConnection } = task;
    if (answeredHandle === undefined) throw new HostError('STATE_DAMAGED', `${id} in the inbox has no handle`);
    const connectionUntilMs = hadConnection ? GONE_MS : 0;
    this.#parts.creates.takeIn({ identity, outputPrefix, node, answeredHandle, payload, connectionUntilMs });
  }

  #delete(name: string, body: Buffer): void {
    const { handle, reason, outputPrefix } = decodeDeleteBody(name, body);
    const ordered = deleteTask(this.#deps, this.#parts, handle, reason, { outputPrefix, connection: undefined }, true);
    ordered.catch((error: unknown) => this.#deps.events.fault?.('delete', error));
  }

  #ran({ key, body }: InboxRow, putterIsGone: boolean): boolean {
    const { replays } = this.#deps;
    const { doing } = this.#parts;
    if (body !== undefined) {
      const { state, outputs, endedAtMs } = decodeDoBody(key, body);
      const whole = wholeState(state, outputs);
      if (whole === undefined) throw new HostError('STATE_DAMAGED', `the end of ${key} in the inbox lacks its outputs`);
      replays.takeOn(key, { state: whole, endedAtMs });
    } else if (!putterIsGone && replays.end(key) === undefined) {
      doing.runsElsewhere(key);
      return false;
    }
    doing.overElsewhere(key);
    return true;
  }
}
