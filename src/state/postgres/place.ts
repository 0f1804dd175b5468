/** Where and how a PostgreSQL server is reached: `state.postgres` of the config. Times in milliseconds. */
export interface PostgresPlace {
  /** A name or address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly passwordFile: string | undefined;
  /** Unless set: off for a socket and for this machine, `verify` for everything else. */
  readonly tls: 'off' | 'verify' | undefined;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly schema: string;
  /** A pooler stands between, which takes no time-outs as a connection is made. */
  readonly pooled: boolean;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly leaseMs: number;
}

/** For messages: never with a password. */
export function placeText({ host, port, database, schema }: PostgresPlace): string {
  const at = host.includes(':') ? `[${host}]` : host;
  return `${at}:${port}/${database}, schema ${schema}`;
}

const THIS_MACHINE = /^(\/|localhost$|127\.|::1$)/;

export function usesTls({ tls, host }: PostgresPlace): boolean {
  return (tls ?? (THIS_MACHINE.test(host) ? 'off' : 'verify')) === 'verify';
}
