import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';

export interface Sent {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
  readonly maxBytes: number;
}

export interface Received {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

/** The answer was larger than what is read. */
export class AnswerTooLarge extends Error {}

/**
 * Sends one request on a connection of its own: what stands between may have dropped an idle one without telling, and a
 * submission on it would end without an answer. The header all the same offers to keep the connection, since slurmrestd
 * of 22.05 hangs up without an answer on `close`. Redirects are not followed: one would carry the token to wherever it
 * points. Rejects with what Node says of the connection.
 */
export async function sendAlone(address: string, sent: Sent): Promise<Received> {
  const { method, body, signal, maxBytes } = sent;
  const module = address.startsWith('https:') ? https : http;
  const agent = new module.Agent(agentOptions());
  try {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const headers = { ...sent.headers, ...length, connection: 'keep-alive' };
    const request = module.request(address, { method, headers, agent, signal });
    request.end(body);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    // a socket that breaks later rejects the reading of the body
    request.on('error', () => undefined);
    return { status: response.statusCode ?? 0, headers: response.headers, text: await readText(response, maxBytes) };
  } finally {
    agent.destroy();
  }
}

/** Node's own way to a proxy (from 22.21 and 24.5 on), which it takes for its global agents alone. */
function agentOptions(): http.AgentOptions {
  const options = { keepAlive: false, proxyEnv: process.env };
  return process.env.NODE_USE_ENV_PROXY === '1' ? options : { keepAlive: false };
}

async function readText(response: http.IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    // leaving the loop ends the connection
    if (size > maxBytes) throw new AnswerTooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
