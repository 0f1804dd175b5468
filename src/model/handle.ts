import { hash } from 'node:crypto';
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

/** What of an identity many tasks have in common. */
export type TaskScope = Omit<TaskIdentity, 'key' | 'createdAtMs'>;

/** A handle is either `accepted` (nothing is created yet, there is no meta) or `created`. */
export interface Handle {
  readonly identity: TaskIdentity;
  /** The encoded resource meta; undefined while accepted. */
  readonly meta: Buffer | undefined;
  /** Of the task's node, from 0 to 255: `partitionOf`. That of the attempt key unless given. */
  readonly partition?: number;
}

/** A handle as it was read. Whether its signature is to be trusted is for `HandleTrust` to say. */
export interface ReadHandle extends Handle {
  readonly partition: number;
  /** The id of the key that it says it is signed with; undefined where it is not signed. */
  readonly signedWith: number | undefined;
}

/** What a handle is signed with: a MAC over all of its other bytes. */
export interface HandleSigner {
  /** Which key it is, from 1 to 2^32 - 1. */
  readonly keyId: number;
  /** At least `MAC_BYTES` of MAC over the parts, one after the other. */
  mac(...parts: readonly Uint8Array[]): Buffer;
}

/**
 * Largest size of a handle without its meta, in bytes (design 1a), for names that have 193 together. Names of outputs give way first;
 * a task cannot be taken up again without the others, which are kept whole however long they are.
 */
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

const MAGIC = Buffer.from('wph2', 'latin1');
/** Magic and CRC-32; the checksum is of what follows. */
const CHECKED = MAGIC.length + 4;
/** And id of the key, partition, length of the header. */
const HEAD = CHECKED + 4 + 1 + 2;
export const MAC_BYTES = 16;
const SIGNED_HEAD = HEAD + MAC_BYTES;
/** Of a handle of the first format, which had neither key nor partition. */
const HEAD_V1 = CHECKED + 2;
/** The id of no key: there is no MAC then. */
const UNSIGNED = 0;

/** Partitions of node keys (design 7). */
export const PARTITIONS = 256;

/**
 * One of `PARTITIONS`, of the node key where there is one, else of the attempt key: attempts of one node lie in
 * one.
 */
export function partitionOf(key: string): number {
  return hash('sha256', key, 'buffer')[0] as number;
}

/** Which of `parts` (a power of two, 256 at most, fixed for a state) a partition belongs to. Throws RangeError for another number. */
export function partOf(partition: number, parts: number): number {
  if (parts < 1 || parts > PARTITIONS || !Number.isInteger(Math.log2(parts))) {
    throw new RangeError(`${parts} parts; expected a power of two, ${PARTITIONS} at most`);
  }
  return Math.floor((partition * parts) / PARTITIONS);
}

/**
 * The partition of a task that these bytes stand for: what a handle of this daemon says, unread and unchecked but for that; of any
 * other bytes a hash, so that the same ones always lie in the same.
 */
export function partitionOfHandle(bytes: Buffer): number {
  if (bytes.length >= HEAD && looksLikeHandle(bytes) && bytes[3] === 0x32) return bytes.readUInt8(CHECKED + 4);
  const key = keyOfV1(bytes);
  return key === undefined ? (hash('sha256', bytes, 'buffer')[0] as number) : partitionOf(key);
}

function keyOfV1(bytes: Buffer): string | undefined {
  if (bytes.length < HEAD_V1 || !looksLikeHandle(bytes) || bytes[3] !== 0x31) return undefined;
  try {
    return decodeV1(bytes).identity.key;
  } catch {
    return undefined;
  }
}

/**
 * Layout: `wph2`, CRC-32 of all that follows (4 bytes, big endian as all numbers), id of the signing key (4 bytes; 0: unsigned),
 * partition (1 byte), header length (2 bytes), for a signed one the MAC of all that comes after the checksum (16 bytes), header
 * (a JSON array), meta. The header's first element says `a`ccepted or `c`reated. Deterministic: equal handles under one key are
 * equal bytes.
 */
export function encodeHandle(handle: Handle, signer?: HandleSigner): Buffer {
  const { identity, meta, partition = partitionOf(identity.key) } = handle;
  const header = headerOf(handle);
  const from = signer === undefined ? HEAD : SIGNED_HEAD;
  const bytes = Buffer.alloc(from + header.length + (meta?.length ?? 0));
  MAGIC.copy(bytes, 0);
  bytes.writeUInt32BE(signer?.keyId ?? UNSIGNED, CHECKED);
  bytes.writeUInt8(partition, CHECKED + 4);
  bytes.writeUInt16BE(header.length, CHECKED + 5);
  header.copy(bytes, from);
  if (meta !== undefined) bytes.set(meta, from + header.length);
  if (signer !== undefined) macOf(bytes, signer).copy(bytes, HEAD, 0, MAC_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(CHECKED)), MAGIC.length);
  return bytes;
}

/** What the MAC of a signed handle must be under this key. */
export function macOf(bytes: Buffer, signer: HandleSigner): Buffer {
  return signer.mac(bytes.subarray(CHECKED, HEAD), bytes.subarray(SIGNED_HEAD));
}

/** The MAC that a signed handle carries. */
export function carriedMac(bytes: Buffer): Buffer {
  return bytes.subarray(HEAD, SIGNED_HEAD);
}

/** Whether two handles are of one job of one incarnation: they say the same but for the time, and names that may have given way. */
export function sameJob(a: Handle, b: Handle): boolean {
  const said = ({ identity, meta }: Handle) =>
    headerOf({ identity: { ...identity, createdAtMs: 0, outputNames: undefined }, meta });
  if (a.meta === undefined || b.meta === undefined) return false;
  return said(a).equals(said(b)) && a.meta.equals(b.meta);
}

function headerOf({ identity: id, meta }: Handle, head = SIGNED_HEAD): Buffer {
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
  if (id.outputNames !== undefined) {
    parts.push(id.outputNames);
    const whole = Buffer.from(JSON.stringify(parts));
    if (whole.length + head <= MAX_HANDLE_OVERHEAD) return whole;
    parts.pop();
  }
  return Buffer.from(JSON.stringify(parts));
}

/** Whether these bytes claim to be a handle of this daemon; foreign resource metas do not. */
export function looksLikeHandle(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x77 && bytes[1] === 0x70 && bytes[2] === 0x68;
}

/**
 * Reads a handle of any origin. What passes is one that a daemon could have made, every field within its bounds, so that equal
 * handles are equal bytes both ways; of a signed one the MAC is not looked at. Throws HANDLE_MALFORMED or
 * HANDLE_VERSION_UNKNOWN.
 */
export function decodeHandle(input: Uint8Array): ReadHandle {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  if (!looksLikeHandle(bytes)) {
    throw malformed(`its first bytes are not those of a handle of this daemon (${bytes.length} bytes seen)`);
  }
  if (bytes[3] === 0x32) return decode(bytes);
  if (bytes[3] === 0x31) return decodeV1(bytes);
  throw new HostError(
    'HANDLE_VERSION_UNKNOWN',
    `the handle has format version ${JSON.stringify(String.fromCharCode(bytes[3] ?? 0))}, this daemon knows versions 1 and 2; run the daemon version that made it`,
  );
}

/**
 * The attempt that a handle names which was taken before, by its bytes or by `decodeHandle`: nothing of it is checked. Throws
 * SyntaxError or RangeError for other bytes.
 */
export function attemptIn(handle: Buffer): Pick<TaskIdentity, 'key' | 'incarnation'> {
  const first = handle[3] === 0x31;
  const head = first ? HEAD_V1 : handle.readUInt32BE(CHECKED) === UNSIGNED ? HEAD : SIGNED_HEAD;
  const length = handle.readUInt16BE(first ? CHECKED : CHECKED + 5);
  const header: unknown[] = JSON.parse(handle.toString('utf8', head, head + length));
  return { key: header[4] as string, incarnation: header[5] as number };
}

function decode(bytes: Buffer): ReadHandle {
  if (bytes.length < HEAD) throw cutAt(bytes.length);
  const keyId = bytes.readUInt32BE(CHECKED);
  const signedWith = keyId === UNSIGNED ? undefined : keyId;
  const head = signedWith === undefined ? HEAD : SIGNED_HEAD;
  const handle = checked(bytes, head, head + bytes.readUInt16BE(CHECKED + 5), SIGNED_HEAD);
  return { ...handle, partition: bytes.readUInt8(CHECKED + 4), signedWith };
}

/** Handles of the first format are read for as long as tasks of its daemons may run. */
function decodeV1(bytes: Buffer): ReadHandle {
  if (bytes.length < HEAD_V1) throw cutAt(bytes.length);
  const handle = checked(bytes, HEAD_V1, HEAD_V1 + bytes.readUInt16BE(CHECKED), HEAD_V1);
  return { ...handle, partition: partitionOf(handle.identity.key), signedWith: undefined };
}

/** `room` is what the head took when names of outputs had to give way. */
function checked(bytes: Buffer, head: number, headerEnd: number, room: number): Handle {
  if (bytes.length > headerEnd + META_MAX_BYTES) throw malformed(`${bytes.length} bytes are more than any handle has`);
  if (crc32(bytes.subarray(CHECKED)) !== bytes.readUInt32BE(MAGIC.length)) {
    throw malformed('its checksum does not fit, it was truncated or altered');
  }
  if (headerEnd > bytes.length) throw malformed('its header is longer than the handle');
  const header = bytes.subarray(head, headerEnd);
  const handle = parse(header, bytes.subarray(headerEnd));
  if (!headerOf(handle, room).equals(header)) throw malformed('its header is not written as this daemon writes it');
  return handle;
}

function cutAt(length: number): HostError {
  return malformed(`it ends after ${length} bytes`);
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
  if (mark === 'a' && meta.length > 0) throw malformed('it is of an accepted task, and carries a resource meta');
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
