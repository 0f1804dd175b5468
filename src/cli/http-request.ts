import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import type { ClientTls } from '../client/index.js';
import { Gathered } from '../lib/gathered.js';

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: ClientTls;
  readonly timeoutMs: number;
}

/** One request, whole; unlike `fetch` it takes authorities and a certificate of its own. Rejects with the cause itself. */
export function httpRequest(options: HttpRequest): Promise<{ readonly status: number; readonly text: string }> {
  const { method, url, headers, tls, timeoutMs } = options;
  const { ca, cert, key, serverName } = tls;
  const secure = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined || isIP(serverName) ? {} : { servername: serverName }),
  };
  const send = url.protocol === 'https:' ? https.request : http.request;
  return new Promise((resolve, reject) => {
    const common = { method, headers, agent: false as const, signal: AbortSignal.timeout(timeoutMs) };
    const request = send(url, { ...common, ...(url.protocol === 'https:' ? secure : {}) }, (response) => {
      const gathered = new Gathered();
      response.on('data', (chunk: Buffer) => gathered.add(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: gathered.all().toString() }));
    });
    request.on('error', (error) => reject(error.name === 'AbortError' ? error.cause : error));
    request.end();
  });
}
