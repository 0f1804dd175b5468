import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { filesBelow, Markers } from './markers.js';

/**
 * The secrets of every suite, and the search for them in whatever a suite leaves: what processes print, metrics, listings, errors and files.
 * Who starts a daemon for a test gives it these secrets; who ends it, or removes its folder, has them looked for, and the
 * file of the test fails where one is shown. What was searched is noted for the end of the suite, which says how much it was (`SearchNotes`).
 */

/** The places in which a secret can be given. */
const WAYS = [
  'adminToken',
  'token',
  'handleKey',
  'storeKey',
  'secretFile',
  'secretVariable',
  'setVariable',
  'setting',
  'urlPassword',
  'connection',
  'databasePassword',
  'other',
] as const;
export type SuiteWay = (typeof WAYS)[number];

export const SUITE = new Markers(WAYS, 'Wj8xYkQdT');

/** A secret that was given in this way; visible ASCII, 30 to 50 characters. `which` tells several of one way apart. */
export function suiteSecret(way: SuiteWay, which = ''): string {
  return `${SUITE.core(way)}/${which}+1~23456789"&=`;
}

export type Searched = 'log' | 'metrics' | 'listing' | 'error' | 'state';

/** Where a suite's processes note what they searched, one JSON object a line; what is found is noted there, too. */
const NOTES = 'SECRETS_SEARCHED';

/** Secrets that others made, and lines of keys: their text is random, so it is remembered. The oldest give way. */
const made: string[] = [];
const MAX_MADE = 24;

/** A secret that is of nobody's making here, such as a token of a server, which nothing may show from now on. */
export function noteSecret(secret: string): void {
  made.push(secret);
  if (made.length > MAX_MADE) made.shift();
}

/** A private key, PEM, of which nothing may show a line. */
export function noteKey(pem: string): void {
  const line = pem.split(/\r?\n/)[2];
  if (line !== undefined && line.length >= 40) noteSecret(line);
}

/** Files, or folders of files, that hold what was given. */
const given = new Set<string>();

/** Names a file, or a folder, in which secrets were given; it is not searched. Answers it. */
export function givenIn(place: string): string {
  given.add(place);
  return place;
}

const isGiven = (file: string) => [...given].some((place) => file === place || file.startsWith(place + path.sep));

function found(bytes: Uint8Array): string | undefined {
  const shown = SUITE.find(bytes);
  if (shown !== undefined) return shown;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shows = (secret: string) => buffer.includes(secret) || buffer.includes(Buffer.from(secret, 'base64'));
  return made.some(shows) ? 'shows a secret that was made for the suite, or a private key' : undefined;
}

/** Fails where a secret of the suite is shown. */
export function searchFor(kind: Searched, where: string, content: string | Uint8Array): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const shown = found(bytes);
  const notes = process.env[NOTES];
  if (notes !== undefined && (bytes.length > 0 || shown !== undefined)) {
    appendFileSync(notes, `${JSON.stringify({ kind, where, bytes: bytes.length, shown })}\n`);
  }
  assert.equal(shown, undefined, `${where} ${shown}`);
}

/** For what is done when a test has ended: the file of the test fails, and all that is to be undone still is, as after a throw it would not be. */
export async function atTheEnd(search: () => void | Promise<void>): Promise<void> {
  for (const shown of await shownBy(search)) {
    console.error(shown);
    process.exitCode = 1;
  }
}

/** More of one file is not read. Bytes. */
const MOST_BYTES = 256 * 1024 * 1024;

/** Every file below a folder but those that hold what was given, and keys of certificates. */
export function searchFolder(folder: string, kind: (file: string) => Searched = () => 'state'): void {
  for (const file of filesIn(folder)) {
    if (isGiven(file)) continue;
    let bytes: Buffer;
    try {
      if (statSync(file).size > MOST_BYTES) continue;
      bytes = readFileSync(file);
    } catch {
      // It went meanwhile, or is another user's.
      continue;
    }
    if (bytes.length === 0 || bytes.subarray(0, 4_096).includes('-----BEGIN')) continue;
    searchFor(kind(file), file, bytes);
  }
}

function filesIn(folder: string): string[] {
  try {
    return filesBelow(folder);
  } catch {
    return [];
  }
}

/** The paths of the admin port that show something. */
const SHOWN: readonly [string, Searched][] = [
  ['/metrics', 'metrics'],
  ['/readyz', 'listing'],
  ['/v1/tasks', 'listing'],
  ['/v1/plugins', 'listing'],
  ['/v1/config', 'listing'],
  ['/v1/deletes', 'listing'],
  ['/v1/unclear-creates', 'listing'],
  ['/v1/orphans', 'listing'],
  ['/v1/no-such-path', 'error'],
];
/** Nothing is asked of a daemon that stands still. Milliseconds. */
const ASK_MS = 5_000;

/** What its operator sees of a daemon: `url` of the admin port. One that is gone, or stands still, shows nothing. */
export async function searchAdmin(
  url: string,
  {
    token = suiteSecret('adminToken'),
    tls = {},
  }: { readonly token?: string; readonly tls?: https.RequestOptions } = {},
): Promise<void> {
  for (const [target, kind] of SHOWN) {
    let body: string;
    try {
      body = await ask(`${url}${target}`, token, tls);
    } catch {
      return;
    }
    searchFor(kind, target, body);
  }
}

async function ask(url: string, token: string, tls: https.RequestOptions): Promise<string> {
  const options = { agent: false, headers: { authorization: `Bearer ${token}` }, ...tls } as const;
  return new Promise<string>((resolve, reject) => {
    const send = url.startsWith('https:') ? https.request : http.request;
    const request = send(url, { ...options, signal: AbortSignal.timeout(ASK_MS) }, (response) => {
      text(response).then(resolve, reject);
    });
    request.on('error', reject).end();
  });
}

/** What each of the searches finds, in words; all of them are made. Throws what else they throw. */
export async function shownBy(...searches: readonly (() => void | Promise<void>)[]): Promise<string[]> {
  const shown: string[] = [];
  for (const search of searches) {
    try {
      await search();
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error;
      shown.push(error.message);
    }
  }
  return shown;
}

type Json = { readonly [key: string]: unknown };

let secretsDir: string | undefined;

/** A folder of secrets, as `secrets.dir` names it, that goes with this process. */
export function suiteSecretsDir(): string {
  if (secretsDir !== undefined) return secretsDir;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-secrets-'));
  secretsDir = dir;
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(path.join(dir, 'suite'));
  writeFileSync(path.join(dir, 'suite', 'key'), suiteSecret('secretFile'));
  return dir;
}

/** A daemon’s configuration with a log at trace and the secrets that it can be given unseen, each where it says nothing itself. */
export function withSecrets(config: Json): Json {
  const { admin = {}, log = {} } = config as Record<'admin' | 'log', Json | undefined>;
  const hasToken = 'token' in admin || 'tokenFile' in admin || 'tokens' in config;
  return {
    secrets: { dir: suiteSecretsDir() },
    ...config,
    log: { level: 'trace', ...log },
    admin: hasToken ? admin : { ...admin, token: suiteSecret('adminToken') },
    dataStore: {
      s3: { accessKeyId: 'the-key-of-the-suite', secretAccessKey: suiteSecret('storeKey') },
      ...(config.dataStore as Json | undefined),
    },
  };
}

/** Variables of a daemon: secrets for its plugins, and one that is nobody’s. */
export const SUITE_VARIABLES: Readonly<Record<string, string>> = {
  _FSEC_SUITE_KEY: suiteSecret('secretVariable'),
  SUITE_PASSPHRASE: suiteSecret('other'),
};

/** What the processes of a suite note of their searches; for the program that runs the suite. */
export class SearchNotes {
  readonly #folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-searched-'));

  constructor() {
    process.env[NOTES] = path.join(this.#folder, 'notes');
    process.on('exit', () => rmSync(this.#folder, { recursive: true, force: true }));
  }

  /** Searches what the suite itself printed, and sums up: one line, and whether nothing was shown. */
  close(printed = ''): { readonly line: string; readonly clean: boolean } {
    const shown: string[] = [];
    const counts = new Map<Searched, number>();
    let bytes = 0;
    try {
      searchFor('log', 'what the suite printed', printed);
    } catch {
      // It is among the notes.
    }
    for (const note of this.#notes()) {
      counts.set(note.kind, (counts.get(note.kind) ?? 0) + 1);
      bytes += note.bytes;
      if (note.shown !== undefined) shown.push(`${note.where} ${note.shown}`);
    }
    const sums = [...counts].sort().map(([kind, count]) => `${kind} ${count}`);
    const all = `secrets: searched ${sums.join(', ') || 'nothing'}; ${bytes} bytes`;
    const line = shown.length === 0 ? `${all}; none is shown` : [all, ...shown].join('\nFAILED secrets: ');
    return { line, clean: shown.length === 0 };
  }

  #notes(): { kind: Searched; where: string; bytes: number; shown?: string }[] {
    try {
      const lines = readFileSync(process.env[NOTES] as string, 'utf8').split('\n');
      return lines.filter(Boolean).map((line) => JSON.parse(line));
    } catch {
      return [];
    }
  }
}
