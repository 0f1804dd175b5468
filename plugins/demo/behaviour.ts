import type { IncomingMessage } from 'node:http';

/** One call that reached the remote. */
export interface RemoteCall {
  readonly kind: 'create' | 'read' | 'readMany' | 'cancel' | 'logs' | 'run' | 'admin' | 'unknown';
  readonly atMs: number;
  /** What was answered; 0 where the connection was dropped. */
  status: number;
  /** Jobs that a readMany asked for; 1 otherwise. */
  readonly items: number;
  /** Names of the tasks the call was about, where they are known. */
  names: readonly string[];
}

/** How the remote misbehaves; each knob stays until it is turned back, or is used up where it counts. */
export interface Misbehaviour {
  /** Calls that are answered 429 with this Retry-After in seconds. */
  throttle: { calls: number; retryAfterSeconds: number };
  /** Answers 503 to everything but admin calls. */
  down: boolean;
  /** Refuses creates with 400 and this message; empty accepts them. */
  rejectCreates: string;
  /** Waits before each answer, in milliseconds. */
  delayMs: number;
  /** Does what is asked for but drops the connection instead of answering, this many times. */
  dropAnswers: number;
  /** Answers 500, this many times. */
  failCalls: number;
}

export const WELL_BEHAVED: Misbehaviour = {
  throttle: { calls: 0, retryAfterSeconds: 1 },
  down: false,
  rejectCreates: '',
  delayMs: 0,
  dropAnswers: 0,
  failCalls: 0,
};

const MAX_BODY = 4 * 1024 * 1024;

/** What a request is about. */
export function kindOf(method: string, url: URL): RemoteCall['kind'] {
  const [, root, rest, id, part] = url.pathname.split('/');
  if (root === 'admin') return 'admin';
  if (root !== 'v1') return 'unknown';
  if (method === 'POST' && rest === 'run') return 'run';
  if (rest !== 'jobs') return 'unknown';
  if (method === 'POST' && id === undefined) return 'create';
  if (method === 'GET' && id === undefined) return 'readMany';
  if (method === 'GET' && part === 'logs') return 'logs';
  if (method === 'GET' && part === undefined) return 'read';
  return method === 'DELETE' ? 'cancel' : 'unknown';
}

/** The body as JSON; throws where it is none or larger than 4 MiB. */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error(`the body is larger than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  return size === 0 ? undefined : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown);
}
