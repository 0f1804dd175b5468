import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { HostError } from '../errors/index.js';
import type { DataCallOptions, SecretManager } from '../plugin-api/data.js';
import { throwIfAborted } from './stores/abort.js';

/** Where secrets are looked up, in this order: the request's own, the environment, files (FIELD 21). */
export interface SecretOptions {
  /** Tried in order: the variable `<prefix><GROUP>_<KEY>`, group and key in capitals. */
  readonly envPrefixes: readonly string[];
  /** Folder with `<group>/<key>` files; undefined turns files off. */
  readonly dir?: string | undefined;
}

export interface SecretSources {
  /** The environment of the plugin's process. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /**
   * Secrets that came with the request (Flyte 2's Connection), by name. A secret is found under `<group>_<key>`,
   * `<group>/<key>`, or its key alone, in this order.
   */
  readonly requestSecrets?: Readonly<Record<string, string>> | undefined;
}

const MAX_FILE_BYTES = 1024 * 1024;
/** What a name may consist of, so that it can be neither a path nor another variable. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$/;

/** Absent, or not to be read: neither tells more than that the search goes on. */
const PASSED_OVER = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG']);

async function readSecretFile(file: string): Promise<string | undefined> {
  try {
    // A pipe would hold up the reader until somebody writes to it.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) return undefined;
      const { size } = stat;
      if (size > MAX_FILE_BYTES) {
        throw new HostError('DATA_TOO_LARGE', `The secret file ${file} has ${size} bytes; at most 1 MiB is read.`);
      }
      // Editors and `echo` end a file with a line break, which is no part of the secret.
      return (await handle.readFile('utf8')).replace(/\r?\n$/, '');
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (HostError.is(thrown)) throw thrown;
    if (code !== undefined && PASSED_OVER.has(code)) return undefined;
    const problem = `The secret file ${file} is there and cannot be read (${code ?? 'unknown error'}).`;
    throw new HostError('DATA_ACCESS_DENIED', problem);
  }
}

class LayeredSecrets implements SecretManager {
  // Private in the language's own way, so that neither a log line nor an inspected object shows what is inside.
  readonly #options: SecretOptions;
  readonly #sources: SecretSources;

  constructor(options: SecretOptions, sources: SecretSources) {
    this.#options = options;
    this.#sources = sources;
  }

  async get(group: string, key: string, options: DataCallOptions = {}): Promise<string> {
    assertName('group', group, true);
    assertName('key', key, false);
    const looked: string[] = [];
    const found = this.#fromRequest(group, key, looked) ?? this.#fromEnvironment(group, key, looked);
    if (found !== undefined) return found;
    for (const file of this.#files(group, key)) {
      throwIfAborted(options.signal, `secret ${group}/${key}`);
      looked.push(`file ${file}`);
      const secret = await readSecretFile(file);
      if (secret !== undefined) return secret;
    }
    throw new HostError(
      'SECRET_NOT_FOUND',
      `Secret ${JSON.stringify(key)} of group ${JSON.stringify(group)} is in none of: ${looked.join(', ') || 'no place is configured'}.`,
      { details: { group, key } },
    );
  }

  #fromRequest(group: string, key: string, looked: string[]): string | undefined {
    const secrets = this.#sources.requestSecrets;
    if (secrets === undefined) return undefined;
    const names = group === '' ? [key] : [`${group}_${key}`, `${group}/${key}`, key];
    looked.push(`the request's secrets (${names.join(', ')})`);
    const name = names.find((candidate) => Object.hasOwn(secrets, candidate));
    return name === undefined ? undefined : secrets[name];
  }

  #fromEnvironment(group: string, key: string, looked: string[]): string | undefined {
    const { environment } = this.#sources;
    const name = [group, key]
      .filter((part) => part !== '')
      .join('_')
      .toUpperCase();
    for (const prefix of this.#options.envPrefixes) {
      looked.push(`variable ${prefix}${name}`);
      const value = Object.hasOwn(environment, prefix + name) ? environment[prefix + name] : undefined;
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /** As written first; then in small letters, as Flyte's own components mount them. */
  #files(group: string, key: string): string[] {
    const { dir } = this.#options;
    if (dir === undefined) return [];
    const exact = path.join(dir, group, key);
    const small = path.join(dir, group.toLowerCase(), key.toLowerCase());
    return exact === small ? [exact] : [exact, small];
  }
}

function assertName(what: string, name: unknown, mayBeEmpty: boolean): void {
  if (typeof name === 'string' && (NAME.test(name) || (mayBeEmpty && name === ''))) return;
  throw new HostError(
    'SECRET_NOT_FOUND',
    `A secret's ${what} has letters, digits, dots, dashes and underscores only, and ${JSON.stringify(name)} cannot be one.`,
  );
}

/** A secret manager over these places. Reads files anew at each call, so that rotated secrets are seen. */
export function makeSecretManager(options: SecretOptions, sources: SecretSources): SecretManager {
  return new LayeredSecrets(options, sources);
}
