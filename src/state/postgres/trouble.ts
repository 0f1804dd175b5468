import { type ErrorCode, HostError, messageOf } from '../../errors/index.js';
import { type PostgresPlace, placeText } from './place.js';

/** SQLSTATE (all of it, or its class), or the errno of a socket, to what it means for the state and what to do. */
const SIGNS: readonly { readonly code: ErrorCode; readonly signs: RegExp; readonly advice?: string }[] = [
  { code: 'STATE_DISK_FULL', signs: /^53100$/, advice: 'make room for the database' },
  { code: 'STATE_READ_ONLY', signs: /^25006$/, advice: 'let state.postgres name the primary' },
  { code: 'STATE_SLOW', signs: /^(57014|55P03|40P01|40001)$/ },
  { code: 'STATE_DAMAGED', signs: /^XX00[12]$/, advice: 'the database has to be put back from a backup' },
  {
    code: 'STATE_UNREACHABLE',
    signs:
      /^(08...|57P0.|53300|ECONN(REFUSED|RESET|ABORTED)|EPIPE|E(TIMEDOUT|NOTFOUND|AI_AGAIN|HOSTUNREACH|NETUNREACH)|ENOENT)$/,
  },
  {
    code: 'STATE_UNTRUSTED',
    signs: /^(.*CERT.*|.*ALTNAME.*|UNABLE_TO_.*|ERR_SSL_.*|ERR_TLS_.*)$/,
    advice: 'look at tls, caFile, certFile and keyFile of state.postgres',
  },
  {
    code: 'STATE_UNWRITABLE',
    signs: /^(28...|3D000)$/,
    advice: 'look at user, database and passwordFile of state.postgres, and at the server’s pg_hba.conf',
  },
  {
    code: 'STATE_UNWRITABLE',
    signs: /^42501$/,
    advice: 'give the role a schema of its own, or CREATE on the database',
  },
];

/** What `pg` says where no code comes with it. */
const WORDS: readonly { readonly code: ErrorCode; readonly words: RegExp }[] = [
  { code: 'STATE_UNTRUSTED', words: /certificate|does not support SSL/i },
  { code: 'STATE_SLOW', words: /query read timeout/i },
  {
    code: 'STATE_UNREACHABLE',
    words: /connection terminated|timeout (expired|exceeded)|connection ended|not queryable|after calling end/i,
  },
];

/** The error of the catalogue for what a statement, or making a connection, ended with. */
export function databaseTrouble(place: PostgresPlace, error: unknown): HostError {
  if (HostError.is(error)) return error;
  const text = messageOf(error) || String((error as { code?: unknown } | undefined)?.code ?? 'unknown error');
  // A name with several addresses fails with one error for each.
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const sign = String((first as { code?: unknown } | undefined)?.code ?? '');
  const known = SIGNS.find(({ signs }) => signs.test(sign)) ?? WORDS.find(({ words }) => words.test(text));
  const advice = known !== undefined && 'advice' in known ? `; ${known.advice}` : '';
  const what = first === error ? text : messageOf(first);
  return new HostError(
    known?.code ?? 'STATE_UNWRITABLE',
    `the state in PostgreSQL at ${placeText(place)}: ${what}${advice}`,
    {
      cause: error,
    },
  );
}
