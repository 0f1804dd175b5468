import { createHttpClient, type HttpErrorTable } from 'webapi-plugin-host';

export interface Sent {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

export interface Received {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Every status is Slurm's to explain; faults.ts reads what stands in the body. */
const AS_IT_COMES: HttpErrorTable = { '1xx': 'ok', '2xx': 'ok', '3xx': 'ok', '4xx': 'ok', '5xx': 'ok' };

/**
 * Sends requests to one slurmrestd, each on a connection of its own: what stands between may have dropped an idle one
 * without telling, and a submission on it would end without an answer. The header all the same offers to keep the
 * connection, since slurmrestd of 22.05 hangs up without an answer on `close`. Nothing is repeated here. Throws a
 * TransientError where there is no answer, or one larger than `maxBytes` (code HTTPAnswerTooLarge).
 */
export function sender(url: string, maxBytes: number): (path: string, sent: Sent) => Promise<Received> {
  const api = createHttpClient({ baseUrl: url, maxBytes, reuseConnections: false, errors: AS_IT_COMES });
  return async (path, { method, headers, body, signal }) => {
    const answer = await api.request({ signal }, method, path, {
      headers,
      as: 'text',
      idempotent: false,
      ...(body === undefined ? {} : { text: body }),
    });
    return { status: answer.status, headers: answer.headers, text: typeof answer.body === 'string' ? answer.body : '' };
  };
}
