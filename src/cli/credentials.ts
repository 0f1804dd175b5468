import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ClientTls } from '../client/index.js';
import { messageOf } from '../errors/index.js';
import { CliError } from './exit-codes.js';
import type { CliIo } from './io.js';

/** What a command shows of itself, and whom it trusts. */
export interface CredentialOptions {
  readonly tls?: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly tokenFile?: string;
}

export interface Credentials {
  /** Whether TLS was asked for. */
  readonly wanted: boolean;
  /** What it is spoken with, asked for or not. */
  readonly tls: ClientTls;
  readonly token: string | undefined;
}

/** Visible characters alone: anything else would end the header that it is sent in. */
const TOKEN = /^[\x21-\x7e]{1,4096}$/;

/** Reads what the options name, or else the environment. Throws CliError for a file that cannot be used. */
export function credentialsOf(options: CredentialOptions, io: CliIo): Credentials {
  const { env } = io;
  const ca = read('--ca', options.ca ?? env.PLUGIN_HOST_CA_FILE, io);
  const cert = read('--cert', options.cert ?? env.PLUGIN_HOST_CERT_FILE, io);
  const key = read('--key', options.key ?? env.PLUGIN_HOST_KEY_FILE, io);
  if ((cert === undefined) !== (key === undefined)) {
    throw new CliError(2, 'only one of --cert and --key is given; they go together');
  }
  const token = read('--token-file', options.tokenFile ?? env.PLUGIN_HOST_TOKEN_FILE, io)?.trim();
  if (token !== undefined && !TOKEN.test(token)) {
    throw new CliError(2, 'the file of --token-file holds no token: expected 1 to 4096 visible ASCII characters');
  }
  const serverName = options.serverName ?? (env.PLUGIN_HOST_SERVER_NAME || undefined);
  const wanted = options.tls === true || ca !== undefined || cert !== undefined;
  return { wanted, tls: { ca, cert, key, serverName }, token };
}

/** How an end that does not trust a certificate says so: Node's words, all of which say what is wrong with it. */
const DISTRUST = /certificate|altnames|issuer|self.signed/i;

/** What to do about a cause that is the daemon's certificate; undefined for any other. */
export function certificateHint(cause: string): string | undefined {
  if (!DISTRUST.test(cause)) return undefined;
  return 'what listens there shows a certificate that is not trusted: see --ca and --server-name, and the tls of the daemon';
}

function read(flag: string, file: string | undefined, { cwd }: CliIo): string | undefined {
  if (file === undefined || file === '') return undefined;
  try {
    return readFileSync(path.resolve(cwd, file), 'utf8');
  } catch (error) {
    throw new CliError(2, `the file of ${flag} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
