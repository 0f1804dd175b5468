import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { TransientError } from '../errors.js';
import { AnswerTooLarge, type RawAnswer } from './transport.js';

type Unpack = (packed: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>;

/** None is asked for; some servers and proxies use one all the same. */
const UNPACK: ReadonlyMap<string, Unpack> = new Map([
  ['gzip', promisify(gunzip) as Unpack],
  ['x-gzip', promisify(gunzip) as Unpack],
  ['deflate', promisify(inflate) as Unpack],
  ['br', promisify(brotliDecompress) as Unpack],
]);

/**
 * The body without its content encodings, at most `maxBytes` long. What cannot be unpacked is empty where the status says
 * enough.
 *
 * @throws TransientError for a success that cannot be unpacked; AnswerTooLarge
 */
export async function unpacked(raw: RawAnswer, what: string, maxBytes: number): Promise<Buffer> {
  const names = (raw.headers['content-encoding'] ?? '').toLowerCase().split(',');
  const encodings = names.map((name) => name.trim()).filter((name) => name !== '' && name !== 'identity');
  let body = raw.body;
  if (body.length === 0) return body;
  for (const name of encodings.reverse()) {
    const unpack = UNPACK.get(name);
    try {
      if (unpack === undefined) throw new Error('an encoding that is not known here');
      body = await unpack(body, { maxOutputLength: maxBytes });
    } catch (cause) {
      if (raw.status >= 300) return Buffer.alloc(0);
      if ((cause as { readonly code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') {
        throw new AnswerTooLarge(`the answer is larger than ${maxBytes} bytes`);
      }
      throw new TransientError(`${what}: the answer cannot be unpacked from ${name.slice(0, 40)}`, { cause });
    }
  }
  return body;
}

/**
 * The text of a body in the charset that it is said to have, UTF-8 unless said, without a byte order mark. Of a success
 * undefined where it is not in that charset; of what is only quoted the nearest text.
 */
export function decodedText(body: Buffer, contentType: string | undefined, success: boolean): string | undefined {
  const label = /;\s*charset\s*=\s*"?([\w.:-]{1,40})/i.exec(contentType ?? '')?.[1] ?? 'utf-8';
  const decode = (charset: string) => new TextDecoder(charset, { fatal: success }).decode(body);
  try {
    return decode(label);
  } catch (error) {
    // A RangeError is a charset that nobody knows.
    if (error instanceof RangeError) {
      try {
        return decode('utf-8');
      } catch {
        return undefined;
      }
    }
    return undefined;
  }
}

/** Stands for a text that is no JSON; no JSON text is parsed to it. */
export const NOT_JSON = Symbol('not JSON');

export function parseJson(text: string): unknown {
  try {
    return text.trim() === '' ? undefined : JSON.parse(text);
  } catch {
    return NOT_JSON;
  }
}

/** The values of a text with one JSON value a line; NOT_JSON where one is none, such as a last line that was cut. */
export function parseLines(text: string): unknown {
  const values = text.split('\n').map(parseJson);
  return values.includes(NOT_JSON) ? NOT_JSON : values.filter((value) => value !== undefined);
}
