import path from 'node:path';
import { isAlias, isMap, isSeq, LineCounter, parseAllDocuments } from 'yaml';
import { messageOf } from '../errors/index.js';
import { nearest } from '../lib/nearest.js';
import { yamlFlaw } from '../lib/yaml-flaw.js';
import type { AnyLeaf } from '../model/options/leaf.js';
import type { MapOf, Node, Section } from '../model/options/spec.js';
import { valueFromText } from '../model/options/values.js';
import { type CheckContext, check, checkInsideFree, checkMapKey, type Entry, MAP_KEY, unknownKey } from './check.js';
import { type ConfigProblem, keyText, seenText } from './problems.js';

/** What one source gave. */
export interface Layer {
  readonly entries: Entry[];
  readonly problems: ConfigProblem[];
}

const layer = (): Layer => ({ entries: [], problems: [] });

/** Largest config file that is read. */
const MAX_FILE_CHARS = 8 * 1024 * 1024;

/** Reads one JSON or YAML file. `readText` throws where there is no such file. */
export function readConfigFile(schema: Section, file: string, cwd: string, readText: (file: string) => string): Layer {
  const out = layer();
  const absolute = path.resolve(cwd, file);
  const unreadable = (message: string) => {
    out.problems.push({ code: 'CONFIG_FILE_UNREADABLE', origin: `file ${file}`, key: '', message });
    return out;
  };
  const extension = path.extname(file).toLowerCase();
  if (!['.json', '.yaml', '.yml'].includes(extension)) {
    return unreadable(`seen the extension ${JSON.stringify(extension)}, expected .json, .yaml or .yml`);
  }
  let text: string;
  try {
    text = readText(absolute);
    // Editors on Windows put a mark in front that JSON does not know.
    text = text.replace(/^\uFEFF/, '');
    if (text.length > MAX_FILE_CHARS) return unreadable(`larger than ${MAX_FILE_CHARS} characters`);
    if (extension === '.json') JSON.parse(text);
  } catch (error) {
    // Newer Nodes quote the text around a JSON error; it may hold a secret.
    return unreadable(messageOf(error).replace(/, (\.\.\.)?".*$/s, ''));
  }
  const lines = new LineCounter();
  // JSON is YAML; reading it with the same reader finds repeated keys, and the lines of all keys.
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: true });
  if (!Array.isArray(documents) || documents.length === 0) return out;
  if (documents.length > 1) return unreadable(`seen ${documents.length} YAML documents, expected one`);
  const document = documents[0]!;
  const flaw = document.errors[0] ?? document.warnings[0];
  if (flaw !== undefined) return unreadable(yamlFlaw(flaw));
  let tree: unknown;
  try {
    tree = document.toJS();
  } catch (error) {
    return unreadable(messageOf(error));
  }
  if (tree === null) return out;
  const origin = (at: readonly string[]) => {
    const line = lineOf(document.contents, at, lines);
    return line === undefined ? `file ${file}` : `file ${file}:${line}`;
  };
  check(schema, tree, [], { origin, baseDir: path.dirname(absolute), ...out });
  return out;
}

/** The line on which the key at this path stands, or the nearest enclosing one. */
function lineOf(contents: unknown, at: readonly string[], lines: LineCounter): number | undefined {
  let node = contents;
  let offset: number | undefined;
  for (const part of at) {
    if (isAlias(node)) break;
    if (isMap(node)) {
      const pair = node.items.find((item) => String((item.key as { value?: unknown })?.value) === part);
      if (pair === undefined) break;
      offset = (pair.key as { range?: [number] }).range?.[0];
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = (node as { range?: [number] } | undefined)?.range?.[0] ?? offset;
    } else break;
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}

const ENV_PREFIX = 'PLUGIN_HOST_';

/** Variables of this prefix that are not options: which files to read, and what client commands talk to. */
const RESERVED_VARIABLES = [
  'PLUGIN_HOST_CONFIG',
  'PLUGIN_HOST_DEFAULTS',
  'PLUGIN_HOST_ADDRESS',
  'PLUGIN_HOST_CA_FILE',
  'PLUGIN_HOST_CERT_FILE',
  'PLUGIN_HOST_KEY_FILE',
  'PLUGIN_HOST_SERVER_NAME',
  'PLUGIN_HOST_TOKEN_FILE',
] as const;

/** The variable of an option: PLUGIN_HOST_GRPC_MAX_CONNECTIONS for grpc.maxConnections. */
function variableOf(at: readonly string[]): string {
  return ENV_PREFIX + at.map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_');
}

/** Every option that has a variable: all outside of maps, and each outermost map as a whole. */
export function variables(schema: Section): Map<string, { path: readonly string[]; node: Node }> {
  const found = new Map<string, { path: readonly string[]; node: Node }>();
  const visit = (node: Node, at: readonly string[]) => {
    if (node.node === 'section') {
      for (const [key, child] of Object.entries(node.fields)) visit(child, [...at, key]);
    } else {
      found.set(variableOf(at), { path: at, node });
    }
  };
  visit(schema, []);
  return found;
}

/**
 * Kubernetes sets variables like these in every pod, for each Service; one named plugin-host would look like ours
 * (PLUGIN_HOST_PORT=tcp://…).
 */
function isServiceLink(name: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
    (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value))
  );
}

export function readEnvironment(
  schema: Section,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): Layer {
  const out = layer();
  const known = variables(schema);
  for (const name of Object.keys(env).sort()) {
    const value = env[name];
    if (!name.startsWith(ENV_PREFIX) || value === undefined) continue;
    if ((RESERVED_VARIABLES as readonly string[]).includes(name) || isServiceLink(name, value)) continue;
    const origin = `environment variable ${name}`;
    const option = known.get(name);
    if (option === undefined) {
      const near = nearest(name, [...known.keys(), ...RESERVED_VARIABLES]);
      const message = `no option has this variable${near === undefined ? '' : `; did you mean ${near}?`}`;
      out.problems.push({ code: 'CONFIG_KEY_UNKNOWN', origin, key: '', message });
      continue;
    }
    checkText(option.node, value, option.path, { origin: () => origin, baseDir: cwd, ...out });
  }
  return out;
}

/** A setting given on the command line. */
export interface FlagSetting {
  /** As the user wrote it, for messages: `--set grpc.port` or `--port`. */
  readonly flag: string;
  /** Dotted key, quotes around parts that hold dots. */
  readonly key: string;
  readonly text: string;
}

export function readFlags(schema: Section, flags: readonly FlagSetting[], cwd: string): Layer {
  const out = layer();
  for (const { flag, key, text } of flags) {
    const origin = `flag ${flag}`;
    const at = splitKey(key);
    if (at === undefined) {
      const message = `seen the key ${seenText(key)}, expected names separated by dots, such as grpc.port=8000`;
      out.problems.push({ code: 'CONFIG_KEY_UNKNOWN', origin, key: '', message });
      continue;
    }
    assign(schema, at, text, { origin: () => origin, baseDir: cwd, ...out });
  }
  return out;
}

/** `a."b.c".d` → a, b.c, d; undefined where it is none. */
export function splitKey(key: string): string[] | undefined {
  const parts: string[] = [];
  const part = /(?:"((?:[^"\\]|\\.)*)"|([^."]+))(\.|$)/y;
  while (part.lastIndex < key.length) {
    const match = part.exec(key);
    if (match === null) return undefined;
    try {
      parts.push(match[1] === undefined ? (match[2] as string) : (JSON.parse(`"${match[1]}"`) as string));
    } catch {
      return undefined;
    }
    if (part.lastIndex === key.length && match[3] === '.') return undefined;
  }
  return parts.length === 0 ? undefined : parts;
}

/** Finds the node that a key addresses and checks the text against it. */
function assign(schema: Section, at: readonly string[], text: string, context: CheckContext): void {
  let node: Node = schema;
  for (const [index, part] of at.entries()) {
    const here = at.slice(0, index + 1);
    if (node.node === 'section') {
      const child: Node | undefined = Object.hasOwn(node.fields, part) ? node.fields[part] : undefined;
      if (child === undefined) {
        unknownKey(node, here, context);
        return;
      }
      node = child;
    } else if (node.node === 'map') {
      if (!checkMapKey(node as MapOf, part, here, context)) return;
      node = node.value;
      if (node.node === 'section') {
        context.entries.push({ path: here, value: MAP_KEY, origin: context.origin(at), leaf: undefined });
      }
    } else if (node.node === 'free') {
      if (at.includes('__proto__')) checkInsideFree(node, { ['__proto__']: 0 }, at.slice(0, -1), context);
      else checkInsideFree(node, untypedValue(text), at, context);
      return;
    } else {
      const message = `there is no such key; ${at.slice(0, index).join('.')} is a single value`;
      context.problems.push({ code: 'CONFIG_KEY_UNKNOWN', origin: context.origin(at), key: here.join('.'), message });
      return;
    }
  }
  checkText(node, text, at, context);
}

/** Where no type is declared, text that is JSON is taken as JSON, everything else as text. */
function untypedValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Checks a text by the declared type of its option; sections, maps and settings are written as JSON. */
function checkText(node: Node, text: string, at: readonly string[], context: CheckContext): void {
  const raw = node.node === 'leaf' ? valueFromText(node as AnyLeaf, text) : untypedValue(text);
  if (node.node !== 'leaf' && raw === text) {
    const message = 'seen a text that is not JSON, expected an object written as JSON';
    context.problems.push({ code: 'CONFIG_VALUE_INVALID', origin: context.origin(at), key: keyText(at), message });
    return;
  }
  check(node, raw, at, context);
}
