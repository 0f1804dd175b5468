import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { filesBelow } from './files.js';
import { importsOf } from './imports.js';
import { fromRoot } from './paths.js';

/** The table of scripts/rooms.mjs. */
export interface RoomTable {
  readonly allowedRooms: Readonly<Record<string, readonly string[]>>;
  readonly fileRooms: readonly string[];
  readonly vendorHomes: Readonly<Record<string, readonly string[]>>;
  readonly pluginVendors: readonly string[];
  readonly dynamicImportHome: string;
}

export async function loadRoomTable(): Promise<RoomTable> {
  return (await import(pathToFileURL(fromRoot('scripts', 'rooms.mjs')).href)) as RoomTable;
}

/** What a walk over src/ and plugins/ saw. */
export interface Walk {
  readonly files: number;
  readonly imports: number;
  /** `file:line what`, one a broken rule. */
  readonly violations: readonly string[];
  /** `upper -> lower`, one a pair of rooms of src/ that an import joins; sorted. */
  readonly grants: readonly string[];
  /** `library -> room`, in the same way. */
  readonly homes: readonly string[];
}

/** The package that a bare specifier names: `@scope/name/deep` -> `@scope/name`. */
function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] as string);
}

/** The room of a path relative to src/: its folder, or the name of a file at the top. */
export function roomOf(file: string): string {
  return (file.split('/')[0] as string).replace(/\.(ts|js)$/, '');
}

function homesOf(vendor: string, table: RoomTable): readonly string[] {
  const scope = `${vendor.split('/')[0]}/*`;
  return table.vendorHomes[vendor] ?? table.vendorHomes[scope] ?? [];
}

function checkSource(file: string, specifier: string | undefined, table: RoomTable): string | undefined {
  const room = roomOf(file);
  const allowed = table.allowedRooms[room];
  if (!allowed) return `is in no room of scripts/rooms.mjs`;
  if (specifier === undefined) {
    return room === table.dynamicImportHome
      ? undefined
      : `computes what it imports; only ${table.dynamicImportHome} may`;
  }
  if (isBuiltin(specifier)) {
    return specifier.startsWith('node:') ? undefined : `imports ${specifier} without node:`;
  }
  if (specifier.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    if (target.startsWith('..')) return `imports ${specifier}, outside src/`;
    const other = roomOf(target);
    return other === room || allowed.includes(other) ? undefined : `imports room ${other} from room ${room}`;
  }
  const vendor = packageOf(specifier);
  return homesOf(vendor, table).includes(room) ? undefined : `imports ${vendor}, whose home is not ${room}`;
}

function checkPlugin(file: string, specifier: string | undefined, table: RoomTable): string | undefined {
  if (specifier === undefined) return 'computes what it imports';
  if (specifier.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    return target.split('/')[0] === file.split('/')[0] ? undefined : `imports ${specifier}, outside its own folder`;
  }
  if (specifier.startsWith('node:') || table.pluginVendors.includes(specifier)) return undefined;
  return `imports ${specifier}`;
}

function noteUse(used: { grants: Set<string>; homes: Set<string> }, file: string, specifier: string): void {
  const room = roomOf(file);
  if (isBuiltin(specifier)) return;
  if (!specifier.startsWith('.')) used.homes.add(`${packageOf(specifier)} -> ${room}`);
  else {
    const other = roomOf(path.posix.join(path.posix.dirname(file), specifier));
    if (other !== room) used.grants.add(`${room} -> ${other}`);
  }
}

/** Walks every import below `root`/src and `root`/plugins and tells what breaks the table. */
export function walkImports(root: string, table: RoomTable): Walk {
  let files = 0;
  let imports = 0;
  const violations: string[] = [];
  const used = { grants: new Set<string>(), homes: new Set<string>() };
  for (const [top, check] of [
    ['src', checkSource],
    ['plugins', checkPlugin],
  ] as const) {
    for (const file of filesBelow(path.join(root, top), '.ts')) {
      files += 1;
      for (const { specifier, line } of importsOf(readFileSync(path.join(root, top, file), 'utf8'))) {
        imports += 1;
        const broken = check(file, specifier, table);
        if (top === 'src' && specifier !== undefined) noteUse(used, file, specifier);
        if (broken) violations.push(`${top}/${file}:${line} ${broken}`);
      }
    }
  }
  return { files, imports, violations, grants: [...used.grants].sort(), homes: [...used.homes].sort() };
}

/**
 * Files below `folder` that import each other in a circle, imports of types included, which no run shows and no reader can
 * take apart: each circle with all files that lie on it, sorted.
 */
export function circlesOf(folder: string): string[][] {
  const imports = new Map(
    filesBelow(folder, '.ts').map((file) => {
      const found = importsOf(readFileSync(path.join(folder, file), 'utf8')).map(({ specifier }) => specifier ?? '');
      const own = found.filter((specifier) => specifier.startsWith('.'));
      return [file, own.map((to) => path.posix.join(path.posix.dirname(file), to).replace(/\.js$/, '.ts'))] as const;
    }),
  );
  const reached = new Map([...imports.keys()].map((file) => [file, reachedFrom(file, imports)]));
  const circles = [...reached].flatMap(([file, files]) => {
    const circle = [...files].filter((other) => reached.get(other)?.has(file)).sort();
    return circle[0] === file ? [circle] : [];
  });
  return circles;
}

/** The file itself is among them only where a circle leads back to it. */
function reachedFrom(file: string, imports: ReadonlyMap<string, readonly string[]>): ReadonlySet<string> {
  const reached = new Set<string>();
  const open = [...(imports.get(file) ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (reached.has(next)) continue;
    reached.add(next);
    open.push(...(imports.get(next) ?? []));
  }
  return reached;
}
