import { NotFoundError, PermanentError, ThrottledError, TransientError } from 'webapi-plugin-host';

/** Calls the demo remote and turns what goes wrong into the errors of the plugin contract. */
export async function callRemote(
  url: string,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  signal: AbortSignal,
  body?: unknown,
): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(new URL(path, url), {
      method,
      signal,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new TransientError(`${method} ${path}: the remote cannot be reached`, { cause });
  }
  const text = await response.text();
  if (response.ok) return text === '' ? undefined : JSON.parse(text);
  throw errorOf(response, `${method} ${path}: HTTP ${response.status} ${messageIn(text)}`);
}

function errorOf(response: Response, message: string): Error {
  const retryAfter = response.headers.get('retry-after');
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  if (response.status === 429 || (response.status === 503 && retryAfter !== null)) {
    return new ThrottledError(message, Number.isFinite(seconds) ? { retryAfterMs: seconds * 1000 } : {});
  }
  if (response.status === 404) return new NotFoundError(message);
  if (response.status >= 500 || response.status === 408) return new TransientError(message);
  return new PermanentError(message, { code: `HTTP${response.status}` });
}

function messageIn(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === 'string') return error;
  } catch {
    // Not JSON: the text itself is all there is.
  }
  return text.slice(0, 200);
}
