import type { Config } from '../config/index.js';
import { readSmall } from '../lib/read-small.js';

/** More than any of these files holds. Bytes. */
const MOST_BYTES = 1024 * 1024;

/**
 * The secrets in the files that a configuration names, for who loads plugins and serves nobody: tokens, handle keys, private keys, the
 * database’s password. A file that cannot be read holds none. Never rejects.
 */
export async function fileSecrets({ tokens, handles, grpc, admin, state }: Config): Promise<string[]> {
  const { passwordFile, keyFile } = state.postgres;
  const lists = [...Object.values(tokens).map(({ file }) => file), handles.keysFile, passwordFile];
  const keys = [grpc.tls.keyFile, admin.tls.keyFile, keyFile];
  const [lines, texts] = await Promise.all([lists, keys].map((files) => Promise.all(files.map(textOf))));
  return [...lines!.flatMap((text) => text.split(/\r?\n/)), ...texts!].filter((text) => text !== '');
}

async function textOf(file: string | undefined): Promise<string> {
  return file === undefined ? '' : readSmall(file, MOST_BYTES).catch(() => '');
}
