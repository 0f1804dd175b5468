import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { encodeHandle, type Handle } from '../../src/model/handle.js';

/** A handle that somebody else wrote: any header and meta under a checksum that fits. */
export function forge(header: unknown, meta: Uint8Array = Buffer.from('{"job":1}'), format: 1 | 2 = 2): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(format === 1 ? 10 : 15);
  head.write(`wph${format}`, 'latin1');
  head.writeUInt16BE(text.length, format === 1 ? 8 : 13);
  return withChecksum(Buffer.concat([head, text, meta]));
}

/** The same bytes under the checksum that fits them. */
export function withChecksum(bytes: Buffer): Buffer {
  if (bytes.length > 8) bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4);
  return bytes;
}

/** What is told, as if whoever signed `seen` had told it. */
export function underSignatureOf(seen: Buffer, told: Handle): Buffer {
  const made = encodeHandle(told);
  return withChecksum(
    Buffer.concat([
      made.subarray(0, 8),
      seen.subarray(8, 12),
      made.subarray(12, 15),
      seen.subarray(15, 31),
      made.subarray(15),
    ]),
  );
}

export function headerOf({ identity: id, meta }: Handle): unknown[] {
  const names = id.outputNames === undefined ? [] : [id.outputNames];
  const scopes = [id.project, id.domain, id.namespace, id.quotaNamespace];
  const mark = meta === undefined ? 'a' : 'c';
  return [
    mark,
    id.plugin,
    id.taskType,
    id.taskTypeVersion,
    id.key,
    id.incarnation,
    ...scopes,
    id.createdAtMs,
    ...names,
  ];
}

const nasty = fc.oneof(
  fc.constantFrom<unknown>(
    '\ud800',
    'x\udfff',
    'x\u0000',
    'a\nb',
    '\u0085',
    '__proto__',
    'constructor',
    '',
    'n'.repeat(70),
    'n'.repeat(2_000),
    -5,
    0,
    1e300,
    1.5,
    2 ** 53,
    -0,
    8.64e15 + 1,
    null,
    true,
    {},
    [],
    ['\ud800'],
    [1],
  ),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.double(),
  fc.integer(),
);

/** Handles made up field by field from one that is good: some fields are replaced, added or taken away. */
export function madeUp(good: Handle): fc.Arbitrary<Buffer> {
  const header = headerOf(good);
  const changes = fc.array(fc.tuple(fc.nat(header.length), nasty), { minLength: 1, maxLength: 3 });
  const format = fc.constantFrom<1 | 2>(1, 2);
  return fc.tuple(changes, fc.boolean(), format).map(([fields, cut, version]) => {
    const altered = [...header];
    for (const [at, value] of fields) altered[at] = value;
    return forge(cut ? altered.slice(0, -1) : altered, good.meta, version);
  });
}

/** Handles altered byte by byte, with a checksum that fits again. */
export function mutated(good: Handle): fc.Arbitrary<Buffer> {
  const bytes = encodeHandle(good);
  const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
  return fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    const altered = Buffer.from(bytes);
    for (const [at, value] of changes) if (at >= 8) altered[at] = value;
    return withChecksum(altered);
  });
}
