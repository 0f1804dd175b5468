import { systemClock } from '../../src/lib/clock.js';
import { PostgresMembers, type PostgresPlace } from '../../src/state/index.js';
import type { PostgresServer } from '../postgres/server.js';

/** What the database saw of the inbox: how often replicas promised something in an owner's place, by a trigger in a schema of its own. */
const BOOK = `
  CREATE SCHEMA inbox_book;
  CREATE TABLE inbox_book.promises (kind text);
  CREATE FUNCTION inbox_book.promised() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
      INSERT INTO inbox_book.promises VALUES (NEW.kind);
      RETURN NULL;
    END $$;`;

const KINDS = ['create', 'delete', 'do'] as const;

export class InboxBook {
  readonly #server: PostgresServer;
  readonly #inbox: string;

  private constructor(server: PostgresServer, inbox: string) {
    this.#server = server;
    this.#inbox = inbox;
  }

  /** Brings the schema up, divided into so many parts, and opens the book before any daemon starts. */
  static async open(server: PostgresServer, place: PostgresPlace, parts: number): Promise<InboxBook> {
    const members = new PostgresMembers(
      { place, clock: systemClock, random: Math.random, onSecret: () => undefined },
      parts,
    );
    await members.open();
    await members.close();
    const inbox = `"${place.schema}".inbox`;
    server.sql(BOOK);
    server.sql(`CREATE TRIGGER promised AFTER INSERT ON ${inbox} FOR EACH ROW EXECUTE FUNCTION inbox_book.promised()`);
    return new InboxBook(server, inbox);
  }

  /** How many of each kind were put. */
  promised(): Readonly<Record<`promised_${(typeof KINDS)[number]}s`, number>> {
    const rows = this.#server.sql('SELECT kind, count(*) FROM inbox_book.promises GROUP BY 1').split('\n');
    const counts = new Map(rows.map((row) => row.split('|') as [string, string]));
    const of = (kind: (typeof KINDS)[number]) => Number(counts.get(kind) ?? 0);
    return { promised_creates: of('create'), promised_deletes: of('delete'), promised_dos: of('do') };
  }

  /** What waits still, in words. */
  waiting(): readonly string[] {
    const what = `kind || ' ' || name || ' of ' || key || ', part ' || part || ', put by ' || epoch`;
    const text = this.#server.sql(`SELECT ${what} FROM ${this.#inbox} ORDER BY id`);
    return text === '' ? [] : text.split('\n');
  }
}
