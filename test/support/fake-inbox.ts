import type { FactKey, Inbox, InboxRow, KeptOfKey, NewInboxRow } from '../../src/state/index.js';

/** An inbox in the memory of a test, beside the facts of one part, whose tenure the test changes. */
export class FakeInbox {
  readonly #facts: ReadonlyMap<FactKey, Buffer>;
  #rows: InboxRow[] = [];
  #ids = 0;
  tenure = '1';
  owner: string | undefined;
  /** Rows that there may be. */
  max = 10_000;
  /** Awaited before each read, put and settle. */
  before: (what: 'read' | 'put' | 'settle') => Promise<void> | void = () => {};

  constructor(facts: ReadonlyMap<FactKey, Buffer> = new Map()) {
    this.#facts = facts;
  }

  /** In order. */
  get rows(): readonly InboxRow[] {
    return this.#rows;
  }

  /** In the commit that writes what they lead to. */
  drop(ids: Iterable<string>): void {
    const gone = new Set(ids);
    this.#rows = this.#rows.filter(({ id }) => !gone.has(id));
  }

  /** Puts another one in a row's place. */
  alter(id: string, change: Partial<InboxRow>): void {
    this.#rows = this.#rows.map((row) => (row.id === id ? { ...row, ...change } : row));
  }

  /** As one replica has it. */
  of(epoch: string): Inbox {
    return {
      read: async (_part, key) => {
        await this.before('read');
        return this.#kept(key);
      },
      put: async (row, tenure) => {
        await this.before('put');
        if (tenure !== this.tenure) return 'moved';
        if (this.#find(row) !== undefined) return 'stands';
        if (this.#rows.length >= this.max) return 'full';
        this.#ids += 1;
        this.#rows.push({ ...row, id: `${this.#ids}`, epoch });
        return 'put';
      },
      settle: async (part, key, body) => {
        await this.before('settle');
        const row = this.#find({ part, kind: 'do', key, name: '' });
        if (row?.epoch !== epoch) return false;
        if (body === undefined) this.drop([row.id]);
        else this.alter(row.id, { body });
        return true;
      },
      reclaim: async (part, key, from) => {
        const row = this.#find({ part, kind: 'do', key, name: '' });
        if (row === undefined || row.epoch !== from || row.body !== undefined) return false;
        this.alter(row.id, { epoch });
        return true;
      },
      look: async (parts, behind = '0') =>
        this.#rows.filter(({ part, id }) => parts.includes(part) && Number(id) > Number(behind)),
      waiting: () => Promise.reject(new Error('nobody asks here')),
    };
  }

  #find(one: Pick<NewInboxRow, 'part' | 'kind' | 'key' | 'name'>): InboxRow | undefined {
    return this.#rows.find(
      ({ part, kind, key, name }) => part === one.part && kind === one.kind && key === one.key && name === one.name,
    );
  }

  #kept(key: string): KeptOfKey {
    const isOf = (name: FactKey) =>
      name === 'birth' ||
      name === 'handleKey' ||
      name === `mark/${key}` ||
      name === `do/${key}` ||
      ['task', 'owed', 'unclear', 'outputs'].some((kind) => name.startsWith(`${kind}/${key}-`));
    return {
      tenure: this.tenure,
      owner: this.owner,
      facts: [...this.#facts].filter(([name]) => isOf(name)),
      rows: this.#rows.filter((row) => row.key === key),
    };
  }
}
