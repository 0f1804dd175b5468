import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';

/** One request that reached the proxy, whether or not slurmrestd was there to answer it. */
export interface CountedRequest {
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  /** What the plugin made it for, from its User-Agent. */
  readonly purpose: string;
  readonly token: string;
  /** 0 while slurmrestd is away. */
  status: number;
  /** A read that a broken connection made the plugin's HTTP helper send again, within the same call. */
  readonly repeats: boolean;
}

/** The helper repeats at once; what comes later is another call. */
const REPEATED_WITHIN_MS = 500;

/**
 * Stands between the daemon and slurmrestd and writes down every request. A slurmrestd that is away shows as a broken
 * connection; on demand the answers of submissions get lost after Slurm has taken the job.
 */
export class CountingProxy {
  readonly requests: CountedRequest[] = [];
  /** Submissions whose answer was lost so far. */
  lostAnswers = 0;
  #answersToLose = 0;
  /** Requests whose connection broke before an answer. */
  readonly #broken = new WeakSet<CountedRequest>();
  readonly #server: Server;

  private constructor(private readonly upstream: URL) {
    this.#server = createServer((request, response) => this.#forward(request, response));
  }

  static async start(upstream: string): Promise<CountingProxy> {
    const proxy = new CountingProxy(new URL(upstream));
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy is not listening');
    return `http://127.0.0.1:${address.port}`;
  }

  /** Loses the answers of the next `count` submissions that Slurm accepts. */
  loseAnswers(count: number): void {
    this.#answersToLose = count;
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const seen = {
      atMs: performance.now(),
      method: request.method ?? '',
      path: request.url ?? '',
      purpose: /\((\w+)\)$/.exec(request.headers['user-agent'] ?? '')?.[1] ?? '',
    };
    const counted: CountedRequest = {
      ...seen,
      token: String(request.headers['x-slurm-user-token'] ?? ''),
      status: 0,
      repeats: this.#repeats(seen),
    };
    this.requests.push(counted);
    const outgoing = httpRequest(
      {
        host: this.upstream.hostname,
        port: this.upstream.port,
        method: request.method,
        path: request.url,
        headers: request.headers,
        agent: false,
      },
      (answer) => {
        counted.status = answer.statusCode ?? 0;
        if (counted.method === 'POST' && counted.status === 200 && this.#answersToLose > 0) {
          this.#answersToLose--;
          this.lostAnswers++;
          response.destroy();
          answer.resume();
          return;
        }
        response.writeHead(counted.status, answer.headers);
        answer.pipe(response);
        answer.on('error', () => response.destroy());
      },
    );
    outgoing.on('error', () => {
      if (counted.status === 0) this.#broken.add(counted);
      response.destroy();
    });
    response.on('close', () => outgoing.destroy());
    request.pipe(outgoing);
  }

  #repeats({ atMs, method, path, purpose }: Omit<CountedRequest, 'token' | 'status' | 'repeats'>): boolean {
    const last = this.requests.findLast((one) => one.method === method && one.path === path && one.purpose === purpose);
    if (method !== 'GET' || last === undefined || last.repeats) return false;
    return this.#broken.has(last) && atMs - last.atMs <= REPEATED_WITHIN_MS;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export interface WindowVerdict {
  readonly requests: number;
  /** Most that came in any second. */
  readonly mostInOneSecond: number;
  /** By how much the fullest window would have to be longer for `burst + qps * W`, in seconds; 0 when none is over. */
  readonly overSeconds: number;
}

/** Looks at every window that begins and ends with a request: in W seconds at most `burst + qps * W`. */
export function checkWindows(
  timesMs: readonly number[],
  limit: { readonly qps: number; readonly burst: number },
): WindowVerdict {
  const sorted = [...timesMs].sort((a, b) => a - b);
  let overSeconds = 0;
  let most = 0;
  for (let first = 0; first < sorted.length; first++) {
    for (let last = first; last < sorted.length; last++) {
      const seconds = ((sorted[last] as number) - (sorted[first] as number)) / 1000;
      const count = last - first + 1;
      if (seconds <= 1) most = Math.max(most, count);
      overSeconds = Math.max(overSeconds, (count - limit.burst) / limit.qps - seconds);
    }
  }
  return { requests: sorted.length, mostInOneSecond: most, overSeconds };
}
