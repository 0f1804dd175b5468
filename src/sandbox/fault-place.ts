import { readFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Files of a plugin that are looked through at most. */
const MAX_FILES = 50;
/** Largest file that is looked at, in bytes; a bundle above it costs too long. */
const MAX_BYTES = 4 * 1024 * 1024;
/** Longest line that is quoted, in characters. */
const QUOTED = 120;

/**
 * Where the fault of an import lies, as `FILE:LINE` with that line's text where it cannot be parsed; undefined where nothing
 * tells. For what code threw, the stack has it. Of a file that cannot be parsed Node keeps the place to itself when the
 * error is caught, so the files are parsed once more here, and none of them is run. Never rejects.
 */
export async function placeOfFault(thrown: unknown, url: string): Promise<string | undefined> {
  try {
    return await find(thrown, url);
  } catch {
    // What was thrown may throw again when it is looked at.
    return undefined;
  }
}

async function find(thrown: unknown, url: string): Promise<string | undefined> {
  const stack = thrown instanceof Error && typeof thrown.stack === 'string' ? thrown.stack.slice(0, 32 * 1024) : '';
  const told = placeIn(stack) ?? frameIn(stack);
  if (told !== undefined || !(thrown instanceof SyntaxError) || !url.startsWith('file:')) return told;
  return unparsable(fileURLToPath(url));
}

/** Looks through the file and those that it imports by a path, the nearest first. */
async function unparsable(entry: string): Promise<string | undefined> {
  const { parse } = await import('acorn');
  const files = new Set([entry]);
  for (const file of files) {
    const bytes = await readFile(file).catch(() => Buffer.alloc(0));
    if (bytes.length > MAX_BYTES || !/\.[cm]?js$/.test(file)) continue;
    const text = bytes.toString('utf8');
    try {
      parse(text, { ecmaVersion: 'latest', sourceType: 'module', allowHashBang: true });
    } catch (error) {
      const line = (error as { loc?: { line?: number } }).loc?.line;
      return line === undefined ? undefined : placeText(file, line, text.split('\n')[line - 1] ?? '');
    }
    for (const path of importsOf(text, file)) if (files.size < MAX_FILES) files.add(path);
  }
  return undefined;
}

function importsOf(text: string, file: string): string[] {
  const paths = text.matchAll(/\b(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"\n]{1,500})['"]/g);
  return [...paths].map(([, path]) => fileURLToPath(new URL(path as string, pathToFileURL(file))));
}

/**
 * The place that Node puts above an error of linking or of TypeScript: `FILE:LINE`, the line itself, which TypeScript's has
 * others before, and a mark below what is wrong.
 */
function placeIn(text: string): string | undefined {
  const found = /^(file:\/\/\/\S+|(?:\/|[A-Za-z]:[\\/]).*):(\d+)\n(?:.*\n){0,3}?(.*)\n *\^/m.exec(text);
  if (found === null) return undefined;
  const [, file = '', line = '', code = ''] = found;
  return placeText(plainPath(file), Number(line), code);
}

function placeText(file: string, line: number, code: string): string {
  const quoted = code.trim().slice(0, QUOTED);
  return quoted === '' ? `${file}:${line}` : `${file}:${line}: ${quoted}`;
}

/** The first frame of code that is neither Node's nor the host's. */
function frameIn(stack: string): string | undefined {
  for (const [, file = '', line = ''] of stack.matchAll(/^\s+at .*?\(?(file:\/\/\/[^\s)]+):(\d+):\d+\)?$/gm)) {
    if (!file.startsWith(OWN_FOLDER)) return `${plainPath(file)}:${line}`;
  }
  return undefined;
}

/** `…/dist/src/`: a plugin that ships with the host lies beside it. */
const OWN_FOLDER = new URL('..', import.meta.url).href;

function plainPath(file: string): string {
  if (!file.startsWith('file:')) return file;
  const bare = file.replace(/[?#].*$/, '');
  return URL.canParse(bare) ? fileURLToPath(bare) : bare;
}
