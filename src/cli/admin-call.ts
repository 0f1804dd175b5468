import { messageOf } from '../errors/index.js';
import { certificateHint } from './credentials.js';
import { CliError } from './exit-codes.js';
import { adminAddress, type DaemonOptions } from './find-daemon.js';
import { httpRequest } from './http-request.js';
import { type CliIo, printable } from './io.js';

const TIMEOUT_MS = 60_000;
const HINT = 'name it with --admin, or with --config as for the daemon';

/** Calls the daemon's admin port as its operator; answers the body. What it refuses is an error with its own code. */
export async function callAdmin<T>(
  options: DaemonOptions,
  io: CliIo,
  method: 'GET' | 'POST',
  path: string,
): Promise<T> {
  const { url, token, tls } = adminAddress(options, io);
  let status: number;
  let text: string;
  try {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await httpRequest({ method, url: new URL(path, url), headers, tls, timeoutMs: TIMEOUT_MS });
    ({ status, text } = answer);
  } catch (error) {
    const why = /^Parse Error/.test(messageOf(error))
      ? 'what listens there speaks no HTTP; is it the gRPC port?'
      : messageOf(error);
    const hint = certificateHint(why) ?? HINT;
    throw new CliError(7, `the admin server at ${url} cannot be reached: ${why}; ${hint}`, { cause: error });
  }
  const body = jsonOf(text);
  const ok = status >= 200 && status < 300;
  if (ok && body !== undefined) return body as T;
  const { code, message } = (body ?? {}) as { code?: unknown; message?: unknown };
  if (!ok && typeof code === 'string') throw new CliError(7, printable(String(message)), { code });
  throw new CliError(7, `what answers at ${url} is no admin server of a daemon (HTTP ${status}); ${HINT}`);
}

/** Undefined for what is none. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
