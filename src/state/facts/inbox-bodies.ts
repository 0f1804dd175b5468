import type { TaskPayload } from '../../model/task-record.js';
import { decodeValue, encodeValue, type Format } from './envelope.js';
import { decodeFact, encodeFact } from './facts.js';
import { bytes, record, text, unless } from './fields.js';
import type { DoFact } from './other-facts.js';
import type { TaskFact } from './task-facts.js';

/** A task that was accepted, and its handle answered. */
export interface CreateBody {
  readonly task: TaskFact;
  readonly payload: TaskPayload;
}

/** The delete that a caller ordered. */
export interface DeleteBody {
  readonly handle: Buffer;
  readonly reason: string;
  readonly outputPrefix: string;
}

/** Facts as they are encoded anywhere, each in its own format. */
export interface CreateFacts {
  readonly task: Buffer;
  readonly payload: Buffer;
}

const CREATE: Format<CreateFacts> = {
  version: 1,
  field: record<CreateFacts>({ task: bytes, payload: bytes }),
};

const DELETE: Format<DeleteBody> = {
  version: 1,
  field: record<DeleteBody>({ handle: bytes, reason: unless('', text), outputPrefix: unless('', text) }),
};

/** What a row's sum goes over besides its body. */
const nameOf = (kind: string, name: string) => `inbox/${kind}/${name}`;

export function encodeCreateBody(id: string, facts: CreateFacts): Buffer {
  return encodeValue(nameOf('create', id), CREATE, facts);
}

/** Throws STATE_DAMAGED or STATE_FORMAT_NEWER, as the other two. */
export function decodeCreateBody(id: string, body: Buffer): CreateBody {
  const { task, payload } = decodeValue(nameOf('create', id), CREATE, body);
  return { task: decodeFact('task', id, task), payload: decodeFact('payload', id, payload) };
}

/** `name`: that of the row. */
export function encodeDeleteBody(name: string, order: DeleteBody): Buffer {
  return encodeValue(nameOf('delete', name), DELETE, order);
}

export function decodeDeleteBody(name: string, body: Buffer): DeleteBody {
  return decodeValue(nameOf('delete', name), DELETE, body);
}

export function encodeDoBody(key: string, end: DoFact): Buffer {
  return encodeFact('do', key, end);
}

export function decodeDoBody(key: string, body: Buffer): DoFact {
  return decodeFact('do', key, body);
}
