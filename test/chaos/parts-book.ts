import { machineMs, systemClock } from '../../src/lib/clock.js';
import { PostgresMembers, type PostgresPlace } from '../../src/state/index.js';
import type { PostgresServer } from '../postgres/server.js';

/** A row of owners came to say that a replica has a part, or that nobody has (undefined). By the machine's monotonic clock. */
export interface PartMove {
  readonly part: number;
  readonly replica: number | undefined;
  readonly tenure: number;
  readonly atMs: number;
}

/** Facts of a part that a replica wrote, and counted, while the row of owners said another one's name, or nobody's. */
export interface ForeignWrite {
  readonly part: number;
  readonly replica: number;
  readonly owner: number | undefined;
  readonly facts: number;
}

/**
 * What the database saw of who has which part, and of who wrote what: by triggers in a schema of their own, so that neither the fence of commits
 * nor what replicas say of themselves is believed. It knows replicas by the roles that they log in as, which may all do what the tables' owner may.
 */
const BOOK = `
  CREATE SCHEMA book;
  CREATE TABLE book.moves (id bigserial PRIMARY KEY, part int, tenure bigint, replica text, at timestamptz DEFAULT clock_timestamp());
  CREATE INDEX ON book.moves (part, id);
  CREATE TABLE book.foreign_writes (part int, replica text, owner text, key text);
  CREATE FUNCTION book.moved() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO book.moves (part, tenure, replica)
        VALUES (NEW.part, NEW.tenure, CASE WHEN NEW.epoch IS NULL THEN NULL ELSE session_user END);
      RETURN NULL;
    END $$;
  CREATE FUNCTION book.wrote() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      fact text := coalesce(NEW.key, OLD.key);
      its_part int := split_part(split_part(fact, '/', 1), '.', 2);
      its_owner text := (SELECT replica FROM book.moves WHERE part = its_part ORDER BY id DESC LIMIT 1);
    BEGIN
      IF its_owner IS DISTINCT FROM session_user THEN
        INSERT INTO book.foreign_writes VALUES (its_part, session_user, its_owner, fact);
      END IF;
      RETURN NULL;
    END $$;`;

const role = (replica: number) => `replica_${replica}`;
const replicaOf = (name: string) => (name === '' ? undefined : Number(name.replace(/^replica_/, '')));

export class PartsBook {
  readonly #server: PostgresServer;

  private constructor(server: PostgresServer) {
    this.#server = server;
  }

  /** Brings the schema up, divided into so many parts, and opens the book before any daemon starts. */
  static async open(server: PostgresServer, place: PostgresPlace, parts: number, replicas: number): Promise<PartsBook> {
    const patience = { place, clock: systemClock, random: Math.random, onSecret: () => undefined };
    const members = new PostgresMembers(patience, parts);
    await members.open();
    await members.close();
    const tables = (name: string) => `"${place.schema}".${name}`;
    server.sql(BOOK);
    server.sql(`CREATE TRIGGER moved AFTER UPDATE ON ${tables('owner')} FOR EACH ROW
      WHEN (NEW.epoch IS DISTINCT FROM OLD.epoch OR NEW.tenure <> OLD.tenure) EXECUTE FUNCTION book.moved()`);
    for (const table of ['facts', 'payloads']) {
      server.sql(
        `CREATE TRIGGER wrote AFTER INSERT OR UPDATE OR DELETE ON ${tables(table)} FOR EACH ROW EXECUTE FUNCTION book.wrote()`,
      );
    }
    for (let replica = 0; replica < replicas; replica++) {
      server.sql(`CREATE ROLE ${role(replica)} LOGIN IN ROLE ${place.user}`);
      server.sql(`ALTER ROLE ${role(replica)} SET role = '${place.user}'`);
    }
    return new PartsBook(server);
  }

  /** By whom a replica reaches the database. */
  userOf(replica: number): string {
    return role(replica);
  }

  moves(): PartMove[] {
    const bornMs = Date.now() - machineMs();
    const ms = '(extract(epoch FROM at) * 1000)::float8';
    return this.#rows(`SELECT part, replica, tenure, ${ms} FROM book.moves ORDER BY id`).map(
      ([part, replica = '', tenure, at]) => {
        return { part: Number(part), replica: replicaOf(replica), tenure: Number(tenure), atMs: Number(at) - bornMs };
      },
    );
  }

  foreignWrites(): ForeignWrite[] {
    const groups = 'SELECT part, replica, owner, count(*) FROM book.foreign_writes GROUP BY 1, 2, 3 ORDER BY 1, 2, 3';
    return this.#rows(groups).map(([part, replica, owner = '', facts]) => {
      return {
        part: Number(part),
        replica: replicaOf(String(replica)) as number,
        owner: replicaOf(owner),
        facts: Number(facts),
      };
    });
  }

  #rows(statement: string): string[][] {
    const text = this.#server.sql(statement);
    return text === '' ? [] : text.split('\n').map((line) => line.split('|'));
  }
}
