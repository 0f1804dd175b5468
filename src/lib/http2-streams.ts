import { IdTable } from './id-table.js';

/** What a session knows of its streams. */
interface SessionState {
  streams: unknown;
  pendingStreams: unknown;
}

/**
 * Has an HTTP/2 session that was just made keep its streams where they leave nothing behind (see `IdTable`). Node has no API for that: a
 * release that keeps them otherwise goes on as it does, and false is answered.
 */
export function leaveNoStreamsBehind(session: object): boolean {
  const state = Object.getOwnPropertySymbols(session)
    .map((symbol) => (session as Record<symbol, unknown>)[symbol])
    .find(isState);
  if (state === undefined) return false;
  state.streams = new IdTable();
  state.pendingStreams = new FewMembers();
  return true;
}

function isState(value: unknown): value is SessionState {
  const { streams, pendingStreams } = (value ?? {}) as Partial<SessionState>;
  return isEmpty(streams, 'set') && isEmpty(pendingStreams, 'add');
}

/** Node's are no `instanceof` of `Map` and `Set`. */
function isEmpty(members: unknown, method: 'set' | 'add'): boolean {
  if (typeof members !== 'object' || members === null) return false;
  const has = members as Record<string, unknown>;
  return has.size === 0 && typeof has[method] === 'function';
}

/** As much of a `Set` as is used there; a stream is a member from its making to its number, so that there are few at a time. */
class FewMembers<T> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Each once: nobody looks whether it is one already. */
  add(member: T): this {
    this.#members.push(member);
    return this;
  }

  delete(member: T): boolean {
    const at = this.#members.indexOf(member);
    if (at < 0) return false;
    this.#members.splice(at, 1);
    return true;
  }

  forEach(tell: (member: T) => void): void {
    for (const member of [...this.#members]) tell(member);
  }
}
