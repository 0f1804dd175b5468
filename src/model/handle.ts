import { crc32 } from 'node:zlib';
import { HostError } from '../errors/index.js';
import { isFitName } from '../lib/text.js';
import type { AttemptKey } from './attempt-key.js';
import {
  isPluginId,
  isQuotaNamespace,
  isTaskTypeVersion,
  isWhole,
  MAX_NAME_BYTES,
  MAX_OUTPUT_NAMES,
  MAX_SCOPE_BYTES,
} from './identity-check.js';

/** What a task is, apart from how it is doing; everything the daemon needs to take a task up again from its handle. */
export interface TaskIdentity {
  readonly plugin: string;
  readonly taskType: string;
  readonly taskTypeVersion: number;
  readonly key: AttemptKey;
  readonly incarnation: number;
  readonly project: string;
  readonly domain: string;
  /** The engine's namespace. */
  readonly namespace: string;
  /** The quota namespace whose token the task holds; empty when it holds none. */
  readonly quotaNamespace: string;
  readonly createdAtMs: number;
  /** Names of the declared outputs; undefined when they did not fit (then completeness is not checked after a restart). */
  readonly outputNames: readonly string[] | undefined;
}

/** A handle is either `accepted` (nothing is created yet, there is no meta) or `created`. */
export interface Handle {
  readonly identity: TaskIdentity;
  /** The encoded resource meta; undefined while accepted. */
  readonly meta: Buffer | undefined;
}

/** Largest size of a handle without its meta, in bytes (design 1a). Names of outputs give way first. */
export const MAX_HANDLE_OVERHEAD = 300;
/** Above this a plugin's meta is warned about: engines keep it in one object with all nodes of the workflow. */
export const META_WARN_BYTES = 1024;
/** Above this a plugin's meta is refused. */
export const META_MAX_BYTES = 16 * 1024;

/** Far above what deletes can count up, and short enough for an idempotency key of 48 characters. */
const MAX_INCARNATION = 1e12;
/** The end of the year 9999, the last one that a google.protobuf.Timestamp may hold. */
const MAX_TIME_MS = 253_402_300_799_999;
const KEY = /^[0-9a-z]{1,32}$/;

const MAGIC = Buffer.from('wph1', 'latin1');
const FIXED = MAGIC.length + 4 + 2; // magic, CRC-32 of the rest, length of the header

/**
 * Layout: `wph1`, CRC-32 (4 bytes, big endian) of all that follows, header length (2 bytes), header (a JSON array),
 * meta. The header's first element says `a`ccepted or `c`reated. Deterministic: equal handles are equal bytes.
 */
export function encodeHandle(handle: Handle): Buffer {
  const { identity: id, meta } = handle;
  const parts: unknown[] = [
    meta === undefined ? 'a' : 'c',
    id.plugin,
    id.taskType,
    id.taskTypeVersion,
    id.key,
    id.incarnation,
    id.project,
    id.domain,
    id.namespace,
    id.quotaNamespace,
    Math.round(id.createdAtMs),
  ];
  let header = Buffer.from(JSON.stringify(id.outputNames === undefined ? parts : [...parts, id.outputNames]));
  if (header.length + FIXED > MAX_HANDLE_OVERHEAD && id.outputNames !== undefined) {
    header = Buffer.from(JSON.stringify(parts));
  }
  const bytes = Buffer.concat([Buffer.alloc(FIXED), header, meta ?? Buffer.alloc(0)]);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16BE(header.length, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4);
  return bytes;
}

/** Whether these bytes claim to be a handle of this daemon; foreign resource metas do not. */
export function looksLikeHandle(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x77 && bytes[1] === 0x70 && bytes[2] === 0x68;
}

/**
 * Reads a handle of any origin. What passes is one that `encodeHandle` could have made, every field within its bounds, so
 * that equal handles are equal bytes both ways. Throws HANDLE_MALFORMED or HANDLE_VERSION_UNKNOWN.
 */
export function decodeHandle(input: Uint8Array): Handle {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  if (!looksLikeHandle(bytes)) {
    throw malformed(`its first bytes are not those of a handle of this daemon (${bytes.length} bytes seen)`);
  }
  if (bytes[3] !== 0x31) {
    throw new HostError(
      'HANDLE_VERSION_UNKNOWN',
      `the handle has format version ${JSON.stringify(String.fromCharCode(bytes[3] ?? 0))}, this daemon knows version 1; run the daemon version that made it`,
    );
  }
  if (bytes.length < FIXED) throw malformed(`it ends after ${bytes.length} bytes`);
  const headerEnd = FIXED + bytes.readUInt16BE(8);
  if (bytes.length > headerEnd + META_MAX_BYTES) throw malformed(`${bytes.length} bytes are more than any handle has`);
  if (crc32(bytes.subarray(8)) !== bytes.readUInt32BE(4)) {
    throw malformed('its checksum does not fit, it was truncated or altered');
  }
  if (headerEnd > bytes.length) throw malformed('its header is longer than the handle');
  const handle = parse(bytes.subarray(FIXED, headerEnd), bytes.subarray(headerEnd));
  if (!encodeHandle(handle).equals(bytes)) throw malformed('its header is not written as this daemon writes it');
  return handle;
}

function parse(headerBytes: Buffer, meta: Buffer): Handle {
  let header: unknown;
  try {
    header = JSON.parse(headerBytes.toString('utf8'));
  } catch {
    throw malformed('its header is not JSON');
  }
  if (!Array.isArray(header)) throw malformed('its header is not a list');
  const [mark, plugin, taskType, taskTypeVersion, key, incarnation, project, domain, namespace] = header as unknown[];
  const [quotaNamespace, createdAtMs, outputNames] = header.slice(9) as unknown[];
  if (mark !== 'a' && mark !== 'c') throw malformed('it is neither of an accepted nor of a created task');
  const scopes = { project, domain, namespace, quotaNamespace };
  const identity = { plugin, taskType, taskTypeVersion, key, incarnation, ...scopes, createdAtMs, outputNames };
  const problem = identityProblem(identity);
  if (problem !== undefined) throw malformed(`its ${problem} is none that this daemon could have written`);
  return { identity: identity as TaskIdentity, meta: mark === 'c' ? Buffer.from(meta) : undefined };
}

function malformed(what: string): HostError {
  return new HostError('HANDLE_MALFORMED', `not a handle of this daemon: ${what}; send the bytes that Create answered`);
}

/**
 * What is wrong with an identity of unknown origin, each field in itself; undefined when nothing is. What passes can be
 * encoded, counted and shown everywhere (rule 15).
 */
export function identityProblem(id: Readonly<Record<keyof TaskIdentity, unknown>>): string | undefined {
  const problems: readonly [field: string, ok: boolean][] = [
    ['plugin', isPluginId(id.plugin)],
    ['task type', isName(id.taskType, MAX_NAME_BYTES) && id.taskType !== ''],
    ['task type version', isTaskTypeVersion(id.taskTypeVersion)],
    ['key', typeof id.key === 'string' && KEY.test(id.key)],
    ['incarnation', isWhole(id.incarnation, 1, MAX_INCARNATION)],
    ['project', isName(id.project, MAX_SCOPE_BYTES)],
    ['domain', isName(id.domain, MAX_SCOPE_BYTES)],
    ['namespace', isName(id.namespace, MAX_SCOPE_BYTES)],
    ['quota namespace', id.quotaNamespace === '' || isQuotaNamespace(id.quotaNamespace)],
    ['creation time', isWhole(id.createdAtMs, 0, MAX_TIME_MS)],
    ['list of output names', id.outputNames === undefined || areOutputNames(id.outputNames)],
  ];
  return problems.find(([, ok]) => !ok)?.[0];
}

function isName(value: unknown, maxBytes: number): boolean {
  return typeof value === 'string' && Buffer.byteLength(value) <= maxBytes && isFitName(value);
}

/** Names of outputs may hold anything that has UTF-8; engines take it as it is. */
function areOutputNames(value: unknown): boolean {
  if (!Array.isArray(value) || value.length > MAX_OUTPUT_NAMES) return false;
  return value.every((name) => typeof name === 'string' && !/\p{Cs}/u.test(name));
}
