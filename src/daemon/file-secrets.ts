import { readFileSync } from 'node:fs';
import type { Config } from '../config/index.js';

/** More than any of these files holds. Bytes. */
const MOST_BYTES = 1024 * 1024;

/**
 * The secrets in the files that a configuration names, for who loads plugins and serves nobody: tokens, handle keys, private keys, the
 * database’s password. A file that cannot be read holds none.
 */
export function fileSecrets({ tokens, handles, grpc, admin, state }: Config): string[] {
  const { passwordFile, keyFile } = state.postgres;
  const lists = [...Object.values(tokens).map(({ file }) => file), handles.keysFile, passwordFile];
  const keys = [grpc.tls.keyFile, admin.tls.keyFile, keyFile];
  return [...lists.flatMap((file) => textOf(file).split(/\r?\n/)), ...keys.map(textOf)].filter((text) => text !== '');
}

function textOf(file: string | undefined): string {
  if (file === undefined) return '';
  try {
    const bytes = readFileSync(file);
    return bytes.length > MOST_BYTES ? '' : bytes.toString('utf8');
  } catch {
    return '';
  }
}
