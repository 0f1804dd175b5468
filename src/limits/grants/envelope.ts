import type { Lane } from '../../model/plugin-methods.js';
import type { QuotaRequest, QuotaScope } from '../types.js';
import type { Draw, Grant } from './messages.js';
import type { Ordered } from './ordered-link.js';
import type { QuotaAsk, QuotaMessage, QuotaSaid } from './quota-messages.js';

/** What replicas say to each other about the limits of one plugin, as it goes over the network. */
export type Envelope = { readonly plugin: string } & (
  | { readonly kind: 'draw'; readonly lane: Lane; readonly message: Draw }
  | { readonly kind: 'grant'; readonly lane: Lane; readonly message: Grant }
  | { readonly kind: 'ask'; readonly message: QuotaMessage<QuotaAsk> }
  | { readonly kind: 'said'; readonly message: QuotaMessage<QuotaSaid> }
);

/** The bytes are none that a replica of this release would send. */
export class MalformedEnvelope extends Error {}

/** Of a name, in characters. Longer ones than the daemon takes from engines are none. */
const MAX_TEXT = 4_096;
/** Calls that one message may speak of. */
const MAX_COUNT = 1_000_000_000;
/** A slow rate makes long waits, and plugins say what bounds they like: what one replica sends another one takes. */
const MAX_NUMBER = Number.MAX_SAFE_INTEGER;
/** Of one stream. */
const MAX_ITEMS = 10_000;

export function encodeEnvelope(envelope: Envelope): Buffer {
  return Buffer.from(JSON.stringify(envelope));
}

/** Takes what it knows of the fields and nothing else. Throws MalformedEnvelope, which says what is wrong where. */
export function decodeEnvelope(bytes: Buffer): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new MalformedEnvelope('the bytes are no JSON');
  }
  const of = fields(value, 'envelope');
  const plugin = text(of, 'plugin');
  const kind = oneOf(of, 'kind', ['draw', 'grant', 'ask', 'said']);
  if (kind === 'draw') return { plugin, kind, lane: lane(of), message: draw(fields(of.message, kind)) };
  if (kind === 'grant') return { plugin, kind, lane: lane(of), message: grant(fields(of.message, kind)) };
  const message = fields(of.message, kind);
  if (kind === 'ask') return { plugin, kind, message: quotaMessage(message, ask) };
  return { plugin, kind, message: quotaMessage(message, said) };
}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown, where: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MalformedEnvelope(`${where} is no object`);
  }
  return value as Fields;
}

function text(of: Fields, name: string): string {
  const value = of[name];
  if (typeof value !== 'string' || value.length > MAX_TEXT) throw new MalformedEnvelope(`${name} is no short text`);
  return value;
}

function maybeText(of: Fields, name: string): string | undefined {
  return of[name] === undefined ? undefined : text(of, name);
}

/** A whole number from 0 on. */
function whole(of: Fields, name: string, most: number): number {
  const value = of[name];
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > most) {
    throw new MalformedEnvelope(`${name} is no count up to ${most}`);
  }
  return value as number;
}

function count(of: Fields, name: string): number {
  return whole(of, name, MAX_COUNT);
}

/** Of messages, which go on counting, and of tokens. */
function ordinal(of: Fields, name: string): number {
  return whole(of, name, MAX_NUMBER);
}

function ms(of: Fields, name: string): number {
  const value = of[name];
  if (typeof value !== 'number' || !(value >= 0 && value <= MAX_NUMBER)) {
    throw new MalformedEnvelope(`${name} is no time up to ${MAX_NUMBER} ms`);
  }
  return value;
}

function maybeMs(of: Fields, name: string): number | undefined {
  return of[name] === undefined ? undefined : ms(of, name);
}

function truth(of: Fields, name: string): boolean {
  const value = of[name];
  if (typeof value !== 'boolean') throw new MalformedEnvelope(`${name} is neither true nor false`);
  return value;
}

function oneOf<T extends string>(of: Fields, name: string, known: readonly T[]): T {
  const value = of[name];
  if (!known.includes(value as T)) throw new MalformedEnvelope(`${name} is none of ${known.join(', ')}`);
  return value as T;
}

function list<T>(of: Fields, name: string, each: (value: unknown) => T): T[] {
  const value = of[name];
  if (!Array.isArray(value) || value.length > MAX_ITEMS) throw new MalformedEnvelope(`${name} is no short list`);
  return value.map(each);
}

function lane(of: Fields): Lane {
  return oneOf(of, 'lane', ['read', 'write']);
}

function draw(of: Fields): Draw {
  return {
    epoch: text(of, 'epoch'),
    drawer: text(of, 'drawer'),
    draw: ordinal(of, 'draw'),
    seen: ordinal(of, 'seen'),
    left: count(of, 'left'),
    busy: count(of, 'busy'),
    wanted: count(of, 'wanted'),
    throttledMs: maybeMs(of, 'throttledMs'),
  };
}

function grant(of: Fields): Grant {
  return {
    epoch: text(of, 'epoch'),
    drawer: text(of, 'drawer'),
    draw: ordinal(of, 'draw'),
    number: ordinal(of, 'number'),
    calls: count(of, 'calls'),
    pausedMs: maybeMs(of, 'pausedMs'),
    waitMs: ms(of, 'waitMs'),
    reportAfter: Math.max(1, count(of, 'reportAfter')),
  };
}

function quotaMessage<T>(of: Fields, item: (value: unknown) => T): QuotaMessage<T> {
  const ordered: Ordered<T> = {
    from: ordinal(of, 'from'),
    items: list(of, 'items', item),
    through: ordinal(of, 'through'),
  };
  // A release that had one link a tenancy does not say which.
  const link = of.link === undefined ? 1 : ordinal(of, 'link');
  return { epoch: text(of, 'epoch'), drawer: text(of, 'drawer'), link, ...ordered };
}

function ask(value: unknown): QuotaAsk {
  const of = fields(value, 'ask');
  const kind = oneOf(of, 'kind', [
    'want',
    'hold',
    'adopt',
    'handOver',
    'job',
    'close',
    'gone',
    'away',
    'unwritten',
    'told',
  ]);
  if (kind === 'told') return { kind };
  if (kind === 'close') return { kind, forMs: ms(of, 'forMs') };
  if (kind === 'gone' || kind === 'away' || kind === 'unwritten') return { kind, taskId: text(of, 'taskId') };
  if (kind === 'job') return { kind, taskId: text(of, 'taskId'), job: text(of, 'job') };
  const about = { turn: ordinal(of, 'turn'), request: request(fields(of.request, 'request')) };
  if (kind === 'want') return { kind, ask: ordinal(of, 'ask'), ...about };
  if (kind === 'hold') return { kind, ...about, job: maybeText(of, 'job') };
  if (kind === 'adopt') return { kind, ...about, job: text(of, 'job') };
  return { kind, from: text(of, 'from'), ...about };
}

function request(of: Fields): QuotaRequest {
  const plain = {
    taskId: text(of, 'taskId'),
    quotaNamespace: text(of, 'quotaNamespace'),
    project: text(of, 'project'),
    namespace: text(of, 'namespace'),
  };
  if (of.constraints === undefined) return plain;
  const within = fields(of.constraints, 'constraints');
  const bound = (name: 'project' | 'namespace') =>
    within[name] === undefined ? {} : { [name]: ordinal(within, name) };
  return { ...plain, constraints: { ...bound('project'), ...bound('namespace') } };
}

const SCOPES: readonly QuotaScope[] = ['capacity', 'quota', 'project', 'namespace'];

function said(value: unknown): QuotaSaid {
  const of = fields(value, 'said');
  const kind = oneOf(of, 'kind', ['granted', 'full', 'lacks', 'adopted', 'waited']);
  if (kind === 'waited') {
    const namespaces = list(of, 'namespaces', (name) => text({ name }, 'name'));
    return { kind, namespaces, all: truth(of, 'all') };
  }
  const taskId = text(of, 'taskId');
  if (kind === 'adopted') return { kind, taskId, granted: truth(of, 'granted') };
  if (kind === 'lacks') return { kind, taskId, ask: ordinal(of, 'ask'), lacks: oneOf(of, 'lacks', SCOPES) };
  return { kind, taskId, ask: ordinal(of, 'ask') };
}
