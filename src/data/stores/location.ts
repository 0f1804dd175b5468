import { fileURLToPath } from 'node:url';
import { HostError, messageOf } from '../../errors/index.js';

/** Where a URI points, before anything is allowed or opened. */
export type Location =
  | { readonly scheme: 'file'; readonly path: string /** Whether it was written as file://. */; readonly url: boolean }
  | { readonly scheme: 's3'; readonly bucket: string; readonly key: string };

const MAX_URI = 4096;
/** S3's own rule for bucket names, with the capitals that old buckets have. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;

export function unsupported(uri: string, problem: string, cause?: unknown): HostError {
  return new HostError('DATA_LOCATION_UNSUPPORTED', `${shown(uri)}: ${problem}.`, cause === undefined ? {} : { cause });
}

/** A URI for messages: without user info and query, which may be credentials, and not endlessly long. */
export function shown(uri: string): string {
  const plain = uri.replace(/^([a-z0-9+.-]+:\/\/)[^/@]*@/i, '$1').replace(/\?.*$/s, '?…');
  const text = JSON.stringify(plain.slice(0, 300));
  return plain.length > 300 ? `${text}…` : text;
}

function parseS3(uri: string): Location {
  const rest = uri.slice('s3://'.length);
  const slash = rest.indexOf('/');
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  const key = slash < 0 ? '' : rest.slice(slash + 1);
  if (!BUCKET.test(bucket)) throw unsupported(uri, 'expected s3://bucket/key with a valid bucket name');
  // Clients and proxies on the way may fold such segments, and then the key is another one.
  if (key.split('/').some((segment) => segment === '.' || segment === '..')) {
    throw unsupported(uri, 'a key must not have the segments "." or ".."');
  }
  return { scheme: 's3', bucket, key };
}

function parseFile(uri: string): Location {
  let path: string;
  try {
    path = fileURLToPath(uri);
  } catch (thrown) {
    throw unsupported(uri, `expected file:///absolute/path (${messageOf(thrown)})`, thrown);
  }
  if (path.includes('\0')) throw unsupported(uri, 'a path must not hold a zero byte');
  return { scheme: 'file', path, url: true };
}

/** Throws DATA_LOCATION_UNSUPPORTED for a scheme that no store here serves, and for URIs that are malformed. */
export function parseLocation(uri: string): Location {
  if (typeof uri !== 'string' || uri === '') throw unsupported(String(uri), 'expected a URI, got nothing');
  if (uri.length > MAX_URI) throw unsupported(uri, `longer than ${MAX_URI} characters`);
  if (uri.includes('\0')) throw unsupported(uri, 'a URI must not hold a zero byte');
  if (/^s3a?:\/\//i.test(uri)) return parseS3(uri.replace(/^s3a?/i, 's3'));
  if (/^file:/i.test(uri)) return parseFile(uri);
  if (uri.startsWith('/')) return { scheme: 'file', path: uri, url: false };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(uri)?.[1];
  if (scheme === undefined) throw unsupported(uri, 'expected s3://…, file:///… or an absolute path');
  throw unsupported(uri, `no data store serves ${scheme}://; s3://, file:/// and absolute paths are`);
}

/** The URI of `name` in the folder `prefix`. */
export function joinUri(prefix: string, name: string): string {
  return `${prefix.replace(/\/+$/, '')}/${name}`;
}
