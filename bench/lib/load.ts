import type { Idl } from '../../src/idl/idl.js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../../src/idl/load.js';
import type { GeneratorRequest, RoundResult, Width } from './generator.js';
import { Worker } from './processes.js';
import type { Protocol } from './protocols.js';

/** Creates and deletes are made this many at a time over the generator's channel. */
const CHUNK = 5000;

const pathOf = ({ service, method }: Protocol): string => `/${service}/${method}`;

/** A key of 80 characters, as an engine's generated names with their prefix are long. */
function nameOf(run: string, index: number): string {
  const head = `flytesnacks-development-${run}-`;
  return `${head}${String(index).padStart(80 - head.length, '0')}`;
}

interface CreateAnswer {
  readonly handle: Buffer;
  readonly status: { readonly phaseInfo: { readonly phase: string } };
}

export interface Created {
  readonly handles: Buffer[];
  /** The phase that each Create answered. */
  readonly phases: string[];
  readonly rounds: RoundResult[];
}

/** The load's side of the bench: speaks the native API from a process of its own. */
export class Load {
  readonly #idl: Idl = loadPluginHost();
  readonly #worker = new Worker(new URL('./generator.js', import.meta.url));
  readonly #width: Width;
  readonly #run: string;
  #created = 0;

  /** `run`: what tells its tasks' names from those of another one; of twelve characters. */
  constructor(width: Width, run = 'f3a9c0d1e2b4') {
    this.#width = width;
    this.#run = run;
  }

  /** Creates tasks, so many in one round, and answers their handles. Throws where one fails. */
  async create(port: number, count: number, atOnce = CHUNK): Promise<Created> {
    const request = this.#idl.codec('pluginhost.v1.CreateRequest');
    const answer = this.#idl.codec<CreateAnswer>('pluginhost.v1.CreateResponse');
    const messages = Array.from({ length: count }, () => {
      this.#created += 1;
      return request.encode({
        task: {
          generatedName: nameOf(this.#run, this.#created),
          template: { type: 'bench', interface: { outputs: { variables: {} } } },
          outputPrefix: `s3://flyte-metadata/propeller/flytesnacks-development-f${this.#created}/n0/data/0`,
          metadata: {
            // Long enough for a handle of some 250 bytes.
            namespace: 'flytesnacks-development-of-a-team-with-a-rather-long-name-x',
            taskExecutionId: {
              nodeExecutionId: {
                executionId: { project: 'flytesnacks', domain: 'development', name: `f${this.#created}` },
              },
            },
          },
        },
      });
    });
    const rounds = await this.#rounds(port, `/${PLUGIN_HOST_SERVICE}/Create`, messages, atOnce);
    const answers = rounds.flatMap((round) => round.answers!.map((body) => answer.decode(body!)));
    return {
      handles: answers.map(({ handle }) => handle),
      phases: answers.map(({ status }) => status.phaseInfo.phase),
      rounds,
    };
  }

  async delete(port: number, handles: readonly Buffer[]): Promise<RoundResult[]> {
    const request = this.#idl.codec('pluginhost.v1.DeleteRequest');
    return this.#each(
      port,
      'Delete',
      handles.map((handle) => request.encode({ handle, reason: 'bench' })),
    );
  }

  /** The encoded answer about one task. */
  async status(port: number, protocol: Protocol, handle: Buffer): Promise<Uint8Array> {
    const [round] = await this.#rounds(port, pathOf(protocol), [protocol.request(handle)]);
    return round!.answers![0]!;
  }

  /** Makes the state of these tasks, asked for in this protocol, what `statusCalls` steps through. */
  async loadStatus(port: number, protocol: Protocol, handles: readonly Buffer[]): Promise<void> {
    const messages = handles.map((handle) => protocol.request(handle));
    await this.#ask({ kind: 'load', port, path: pathOf(protocol), messages });
  }

  async statusCalls(port: number, calls: number): Promise<RoundResult> {
    const round = await this.#ask({ kind: 'steps', port, calls, ...this.#width });
    if (round.errors > 0) throw new Error(`${round.errors} of ${calls} calls for a state failed`);
    return round;
  }

  /** So many calls a second for so long, whether they are answered in time or not. */
  async statusOpen(port: number, perSecond: number, seconds: number): Promise<RoundResult> {
    const round = await this.#ask({ kind: 'open', port, perSecond, seconds, ...this.#width });
    if (round.errors > 0) throw new Error(`${round.errors} of ${round.calls + round.errors} calls for a state failed`);
    return round;
  }

  async stop(): Promise<void> {
    await this.#worker.stop();
  }

  #each(port: number, method: string, messages: readonly Buffer[]): Promise<RoundResult[]> {
    return this.#rounds(port, `/${PLUGIN_HOST_SERVICE}/${method}`, messages);
  }

  async #rounds(port: number, path: string, messages: readonly Buffer[], atOnce = CHUNK): Promise<RoundResult[]> {
    const rounds: RoundResult[] = [];
    for (let at = 0; at < messages.length; at += atOnce) {
      const part = messages.slice(at, at + atOnce);
      const round = await this.#ask({ kind: 'each', port, path, messages: part, ...this.#width });
      if (round.errors > 0) throw new Error(`${round.errors} of ${part.length} calls of ${path} failed`);
      rounds.push(round);
    }
    return rounds;
  }

  #ask(request: GeneratorRequest): Promise<RoundResult> {
    return this.#worker.ask<RoundResult>(request);
  }
}
