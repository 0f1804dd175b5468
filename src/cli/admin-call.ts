import { messageOf } from '../errors/index.js';
import { CliError } from './exit-codes.js';
import { adminAddress, type DaemonOptions } from './find-daemon.js';
import { type CliIo, printable } from './io.js';

const TIMEOUT_MS = 60_000;

/** Calls the daemon's admin port as its operator; answers the body. What it refuses is an error with its own code. */
export async function callAdmin<T>(
  options: DaemonOptions,
  io: CliIo,
  method: 'GET' | 'POST',
  path: string,
): Promise<T> {
  const { url, token } = adminAddress(options, io);
  let response: Response;
  let body: { code?: string; message?: string };
  try {
    response = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = (await response.json()) as typeof body;
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    const hint = 'name it with --admin, or with --config as for the daemon';
    throw new CliError(7, `the admin server at ${url} cannot be reached: ${messageOf(cause)}; ${hint}`, {
      cause: error,
    });
  }
  if (!response.ok) {
    const message = printable(body.message ?? `HTTP ${response.status}`);
    throw new CliError(7, message, body.code === undefined ? {} : { code: body.code });
  }
  return body as T;
}
