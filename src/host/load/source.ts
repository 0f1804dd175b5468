import { readFileSync, type Stats, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { HostError, messageOf } from '../../errors/index.js';
import { assertHandles, isShortage } from '../../lib/shortage.js';
import type { PluginSource } from '../../model/options/plugin.js';

export interface ResolvedSource {
  /** As configured, for messages and the load report. */
  readonly label: string;
  /** file: URL of the module to import. */
  readonly url: string;
  /** Absolute path of the folder that is the plugin's own: its package, the folder that is configured, or that of its file. */
  readonly folder: string;
}

const SUFFIXES = ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'];
const TYPESCRIPT = new Set(['.ts', '.mts', '.cts']);
const PATH_LIKE = /^(?:\.{1,2}(?:[/\\]|$)|[/\\]|[A-Za-z]:[/\\])/;
/** Of a folder without a package.json, in this order. */
const INDEX_FILES = SUFFIXES.map((suffix) => `index${suffix}`);

/** Whether this Node runs .ts files by stripping their types. Handed in so that a test can ask for either. */
export function stripsTypes(): boolean {
  return Boolean((process.features as { readonly typescript?: unknown }).typescript);
}

/**
 * Finds the module of a source without loading it. Throws PLUGIN_SOURCE_NOT_FOUND or PLUGIN_SOURCE_UNSUPPORTED, and what
 * isShortage tells where the machine is too short of something to look.
 * `baseDir` is absolute.
 */
export function resolveSource(source: PluginSource | string, baseDir: string, canStripTypes: boolean): ResolvedSource {
  const told = typeof source === 'string' ? guessSource(source, baseDir) : source;
  if ('file' in told) {
    const file = existing(told.file, baseDir, 'file');
    return { label: told.file, url: supported(told.file, file, canStripTypes), folder: path.dirname(file) };
  }
  if ('folder' in told) {
    const folder = existing(told.folder, baseDir, 'folder');
    return {
      label: told.folder,
      url: supported(told.folder, moduleOfFolder(told.folder, folder), canStripTypes),
      folder,
    };
  }
  const { file, folder } = moduleOfPackage(told.package, baseDir);
  return { label: told.package, url: supported(told.package, file, canStripTypes), folder };
}

/** The source as configured, for messages. */
export function sourceLabel(source: PluginSource | string): string {
  if (typeof source === 'string') return source;
  return 'file' in source ? source.file : 'folder' in source ? source.folder : source.package;
}

function guessSource(text: string, baseDir: string): PluginSource {
  const pathLike = PATH_LIKE.test(text) || SUFFIXES.includes(path.extname(text));
  if (!pathLike) return { package: text };
  return stat(path.resolve(baseDir, text))?.isDirectory() === true ? { folder: text } : { file: text };
}

function existing(given: string, baseDir: string, kind: 'file' | 'folder'): string {
  const full = path.resolve(baseDir, given);
  const stats = stat(full);
  if (stats === undefined) throw notFound(given, `there is no ${kind} ${full}`);
  if (kind === 'file' ? !stats.isFile() : !stats.isDirectory()) throw notFound(given, `${full} is not a ${kind}`);
  return full;
}

function stat(full: string): Stats | undefined {
  try {
    return statSync(full);
  } catch (error) {
    if (isShortage(error)) throw error;
    return undefined;
  }
}

/** A package.json decides as for any package; else the index file. */
function moduleOfFolder(given: string, folder: string): string {
  const manifestFile = path.join(folder, 'package.json');
  if (stat(manifestFile) !== undefined) {
    const entry = entryOfManifest(given, manifestFile);
    if (entry !== undefined) {
      const full = path.resolve(folder, entry);
      if (stat(full)?.isFile() === true) return full;
      throw notFound(given, `its package.json names ${entry}, which does not exist`);
    }
  }
  const index = INDEX_FILES.map((name) => path.join(folder, name)).find((file) => stat(file)?.isFile() === true);
  if (index !== undefined) return index;
  throw notFound(
    given,
    `${folder} has neither a package.json with exports or main nor one of ${INDEX_FILES.join(', ')}`,
  );
}

function entryOfManifest(given: string, manifestFile: string): string | undefined {
  let manifest: { readonly exports?: unknown; readonly main?: unknown } | null;
  try {
    manifest = JSON.parse(readFileSync(manifestFile, 'utf8')) as typeof manifest;
  } catch (error) {
    if (isShortage(error)) throw error;
    throw new HostError('PLUGIN_SOURCE_NOT_FOUND', `${given}: its package.json is not readable: ${messageOf(error)}`);
  }
  const exported = mainExport(manifest?.exports);
  if (exported !== undefined) return exported;
  return typeof manifest?.main === 'string' ? manifest.main : undefined;
}

/** The file behind the main export (`.`) under the conditions that `import` has. */
function mainExport(exports: unknown): string | undefined {
  if (typeof exports === 'string') return exports;
  if (Array.isArray(exports)) return exports.map(mainExport).find((entry) => entry !== undefined);
  if (typeof exports !== 'object' || exports === null) return undefined;
  const table = exports as Record<string, unknown>;
  if (Object.hasOwn(table, '.')) return mainExport(table['.']);
  for (const [condition, target] of Object.entries(table)) {
    if (!['node', 'import', 'module-sync', 'default', 'require'].includes(condition)) continue;
    const found = mainExport(target);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Finds a package as Node does: the nearest node_modules upwards that has it. Its folder is read here, since neither
 * require.resolve (no `import` condition) nor import.meta.resolve (no other starting point on Node 20) can be used.
 */
function moduleOfPackage(name: string, baseDir: string): { readonly file: string; readonly folder: string } {
  const parts = name.split('/');
  const packageName = parts.slice(0, name.startsWith('@') ? 2 : 1).join('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw notFound(name, 'it is neither a path nor the name of a package');
  }
  const require = createRequire(path.join(baseDir, 'resolve-from-here.js'));
  if (packageName !== name) {
    try {
      const file = require.resolve(name);
      return { file, folder: packageAbove(file, packageName) };
    } catch (error) {
      assertHandles();
      throw notFound(name, `no such module in a package, seen from ${baseDir}: ${messageOf(error).split('\n')[0]}`);
    }
  }
  for (const modules of require.resolve.paths(packageName) ?? []) {
    const folder = path.join(modules, packageName);
    if (stat(folder)?.isDirectory() === true) return { file: moduleOfFolder(name, folder), folder };
  }
  throw notFound(name, `no package of this name is installed for ${baseDir}`);
}

/** The package's folder that a file of it lies in, however the package manager has linked it; else that of the file. */
function packageAbove(file: string, packageName: string): string {
  const inside = path.join('node_modules', packageName) + path.sep;
  const at = file.lastIndexOf(path.sep + inside);
  return at < 0 ? path.dirname(file) : file.slice(0, at + inside.length);
}

/** The URL of a module of a kind that this Node loads. */
function supported(label: string, file: string, canStripTypes: boolean): string {
  const suffix = path.extname(file);
  if (!SUFFIXES.includes(suffix)) {
    throw new HostError(
      'PLUGIN_SOURCE_UNSUPPORTED',
      `plugin ${label}: ${path.basename(file)} is not a module; expected one of ${SUFFIXES.join(', ')}`,
    );
  }
  if (TYPESCRIPT.has(suffix) && !canStripTypes) {
    throw new HostError(
      'PLUGIN_SOURCE_UNSUPPORTED',
      `plugin ${label}: Node ${process.versions.node} cannot load ${suffix} files; use Node 22.18 or newer, or compile it to JavaScript`,
    );
  }
  return pathToFileURL(file).href;
}

function notFound(label: string, why: string): HostError {
  return new HostError('PLUGIN_SOURCE_NOT_FOUND', `plugin ${label}: ${why}; check the source of the entry`);
}
