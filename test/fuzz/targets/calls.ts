import { Client, credentials, type Client as GrpcClient, Metadata, status } from '@grpc/grpc-js';
import { loadPluginHost } from '../../../src/idl/load.js';
import { HandleKeys } from '../../../src/model/handle-keys.js';
import type { Dice } from '../../support/decisions.js';
import { below, mutateBytes, oneOf } from '../bytes.js';
import { HANDLE, type Request, requests } from '../corpus.js';
import { KEY, LoneDaemon } from '../lone-daemon.js';
import { Finding, type Target } from '../target.js';
import { hostileText } from '../values.js';
import { mutateMessage } from '../wire.js';
import { changedHandle, madeRight } from './handles.js';

const SIGNER = new HandleKeys([KEY]).signer!;
/** Of a call, and far above it what is a hang. */
const DEADLINE_MS = 3_000;
const HANG_MS = 30_000;
const KEPT_HANDLES = 200;
/** What a stranger's bytes must never bring about: they are faults of the daemon's own. */
const FAULTS: ReadonlySet<number> = new Set([status.UNKNOWN, status.INTERNAL, status.DATA_LOSS]);
const pass = (bytes: Buffer): Buffer => bytes;

interface Ended {
  readonly code: number;
  readonly details: string;
  readonly answers: readonly Buffer[];
}

/** Any kind of call as a conversation: its requests are sent, and everything that comes back is kept. */
function call(client: GrpcClient, path: string, bodies: readonly Buffer[], metadata: Metadata): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const hang = setTimeout(() => reject(new Finding('hang', `${path} did not end: ${shown(bodies)}`)), HANG_MS);
    const answers: Buffer[] = [];
    const stream = client.makeBidiStreamRequest(path, pass, pass, metadata, { deadline: Date.now() + DEADLINE_MS });
    stream.on('data', (answer: Buffer) => answers.push(answer));
    stream.on('error', () => undefined);
    stream.on('status', ({ code, details }) => {
      clearTimeout(hang);
      resolve({ code, details, answers });
    });
    for (const body of bodies) stream.write(body);
    stream.end();
  });
}

const shown = (bodies: readonly Buffer[]): string =>
  bodies.map((body) => body.subarray(0, 300).toString('hex')).join(' ');

/** Handles that the daemon answered, the newest ones. */
class Handles {
  readonly #kept: Buffer[] = [];

  keep(handle: Buffer): void {
    if (this.#kept.length < KEPT_HANDLES) this.#kept.push(handle);
    else this.#kept[handle[5]! % KEPT_HANDLES] = handle;
  }

  /** One of them, whole or changed, or one that is made up; with the signature that it should have, or without. */
  some(dice: Dice): Buffer {
    if (this.#kept.length === 0 || dice.chance(0.1)) return madeRight(changedHandle(dice), SIGNER);
    const handle = oneOf(dice, this.#kept);
    if (dice.chance(0.5)) return handle;
    const changed = mutateBytes(dice, handle, this.#kept);
    return dice.chance(0.7) ? madeRight(changed, SIGNER) : changed;
  }
}

function metadataOf(dice: Dice): Metadata {
  const metadata = new Metadata();
  for (let left = dice.chance(0.1) ? below(dice, 4) : 0; left > 0; left--) {
    try {
      metadata.add(oneOf(dice, ['x-a', 'grpc-timeout', 'traceparent', 'user-agent', 'x-b-bin']), hostileText(dice));
    } catch {
      // Not everything can be metadata.
    }
  }
  return metadata;
}

/** Now and then a method that there is not, under a name that a header can hold. */
function pathOf(dice: Dice, { path }: Request): string {
  if (dice.chance(0.95)) return path;
  const odd = hostileText(dice).replace(/[^!-~]/g, '%');
  return dice.chance(0.5) ? `/${odd}` : path + odd;
}

/** The request with a handle in the place of the one that stands for it. */
function withHandle(bytes: Buffer, codec: Request['codec'], handle: Buffer): Buffer {
  if (!bytes.includes(HANDLE)) return bytes;
  const fields = codec.decode(bytes);
  for (const [name, value] of Object.entries(fields)) {
    if (Buffer.isBuffer(value) && value.equals(HANDLE)) fields[name] = handle;
    else if (Array.isArray(value) && Buffer.isBuffer(value[0])) fields[name] = [handle];
  }
  return codec.encode(fields);
}

export const calls: Target = {
  name: 'calls',
  summary: 'every method of every service of a running daemon: a status each, none of which is a fault of its own',
  async open(undo) {
    const daemon = await LoneDaemon.start(undo);
    const address = `127.0.0.1:${daemon.grpcPort}`;
    const clients = Array.from(
      { length: 4 },
      () => new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
    );
    for (const client of clients) undo.after(() => client.close());
    const seeds = requests();
    const all = seeds.map(({ bytes }) => bytes);
    const created = loadPluginHost().codec('pluginhost.v1.CreateResponse');
    const handles = new Handles();
    const look = ({ path, codec }: Request, { code, details, answers }: Ended, bodies: readonly Buffer[]): void => {
      // Whoever has the key can sign a meta that its plugin cannot read.
      const isForged = details.includes('the resource meta is not usable');
      if (FAULTS.has(code) && !isForged)
        throw new Finding('wrong', `${path} (${codec.typeName}) answered ${status[code]} ${details}: ${shown(bodies)}`);
      const [answer] = answers;
      // A handle is the same in every protocol.
      if (answer !== undefined && path.endsWith('/Create')) handles.keep(created.decode(answer).handle);
    };
    return {
      width: 32,
      async one(dice) {
        const request = oneOf(dice, seeds);
        const filled = withHandle(request.bytes, request.codec, handles.some(dice));
        const change = () =>
          dice.chance(0.2)
            ? filled
            : dice.chance(0.8)
              ? mutateMessage(dice, filled, all)
              : mutateBytes(dice, filled, all);
        const bodies = Array.from({ length: request.requestStream ? 1 + below(dice, 3) : 1 }, change);
        const ended = await call(oneOf(dice, clients), pathOf(dice, request), bodies, metadataOf(dice));
        if (!daemon.runs) throw new Finding('crash', await daemon.ended());
        look(request, ended, bodies);
      },
      held: () => daemon.held(),
    };
  },
};
