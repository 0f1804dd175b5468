import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { ClientConfig, Pool, PoolClient, QueryResultRow } from 'pg';
import { HostError, messageOf } from '../../errors/index.js';
import { type PostgresPlace, usesTls } from './place.js';
import { databaseTrouble } from './trouble.js';

interface TlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** A connection is made anew after so long, so that rotated passwords and certificates are used. Seconds. */
const LIFETIME_S = 600;
const IDLE_MS = 60_000;
const GIVE_UP_MS = 1_000;

/**
 * Connections to one database. Nothing is done to a session: no settings, no prepared statements, no locks between two
 * statements, so that a pooler may stand between. Password and certificates are read for every new connection; a certificate
 * that cannot be read any more leaves the last good one in use.
 *
 * Made by `connect`; `close` is its only exit, after which every statement rejects.
 */
export class Connections {
  readonly #place: PostgresPlace;
  readonly #pool: Pool;

  private constructor(place: PostgresPlace, pool: Pool) {
    this.#place = place;
    this.#pool = pool;
  }

  /**
   * Connects to nothing yet. `onSecret` is told of each password and private key before it is used. Throws STATE_UNWRITABLE for a
   * file that cannot be read.
   */
  static async open(place: PostgresPlace, onSecret: (secret: string) => void = () => {}): Promise<Connections> {
    const { default: pg } = await import('pg');
    const readAll = () => {
      const files = readTls(place);
      if (files?.key !== undefined) onSecret(files.key.toString('utf8'));
      return files;
    };
    const password = async (file: string) => {
      const read = await passwordOf(file);
      onSecret(read);
      return read;
    };
    let tls = readAll();
    const fresh = () => {
      try {
        tls = readAll();
      } catch {
        // Files are being swapped, or gone: whether the last ones still do is the server's to say.
      }
      return tls;
    };
    if (place.passwordFile !== undefined) await password(place.passwordFile);
    class Client extends pg.Client {
      constructor(options: ClientConfig) {
        // The pool hides the password from who walks the options.
        super({ ...options, password: options.password, ssl: fresh() ?? false });
      }
    }
    const { passwordFile } = place;
    const pool = new pg.Pool({
      host: place.host,
      port: place.port,
      database: place.database,
      user: place.user,
      ...(passwordFile === undefined ? {} : { password: () => password(passwordFile) }),
      max: place.connections,
      connectionTimeoutMillis: place.connectTimeoutMs,
      // For a server that says nothing any more; else its own time-outs come first.
      query_timeout: place.statementTimeoutMs + GIVE_UP_MS,
      ...(place.pooled ? {} : timeouts(place)),
      idleTimeoutMillis: IDLE_MS,
      maxLifetimeSeconds: LIFETIME_S,
      keepAlive: true,
      application_name: 'webapi-plugin-host',
      Client: Client as never,
    });
    // Of a connection that breaks while nobody uses it; the next statement makes another.
    pool.on('error', () => undefined);
    return new Connections(place, pool);
  }

  /**
   * One statement, which is a transaction of its own. Bytes are Buffers both ways; they are answered as text in hexadecimal, since
   * the library reads its binary format as if it were UTF-8.
   */
  async run<R extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    try {
      return (await this.#pool.query<R>(text, [...values])).rows;
    } catch (error) {
      throw databaseTrouble(this.#place, error);
    }
  }

  /** Several statements in one transaction. `work` must not wait for anything but its statements. */
  async transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    let client: PoolClient | undefined;
    let broken = true;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      broken = false;
      return result;
    } catch (error) {
      throw databaseTrouble(this.#place, error);
    } finally {
      // What is in doubt is closed, which takes the transaction back.
      client?.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}

/**
 * Said as a connection is made, and kept by the server: what nobody waits for any more must end there too, or a table that is
 * locked for an hour gathers statements until the server takes no more connections.
 */
function timeouts({ statementTimeoutMs, lockTimeoutMs }: PostgresPlace): ClientConfig {
  return {
    statement_timeout: statementTimeoutMs,
    lock_timeout: lockTimeoutMs,
    idle_in_transaction_session_timeout: statementTimeoutMs,
  };
}

async function passwordOf(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    throw unreadable('passwordFile', file, error);
  }
}

function readTls(place: PostgresPlace): TlsFiles | undefined {
  if (!usesTls(place)) return undefined;
  const read = (option: 'caFile' | 'certFile' | 'keyFile'): Buffer | undefined => {
    const file = place[option];
    if (file === undefined) return undefined;
    try {
      return readFileSync(file);
    } catch (error) {
      throw unreadable(option, file, error);
    }
  };
  const [ca, cert, key] = [read('caFile'), read('certFile'), read('keyFile')];
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

function unreadable(option: string, file: string, error: unknown): HostError {
  return new HostError(
    'STATE_UNWRITABLE',
    `state.postgres.${option} ${JSON.stringify(file)} cannot be read: ${messageOf(error)}`,
    { cause: error },
  );
}
