import { createRequire } from 'node:module';

/** What the types of the oldest supported Node do not know. */
interface Features {
  readonly require_module?: boolean;
}

/**
 * Loads a module of this package and all that it imports, as `require` does: one file after the other, with nothing between them.
 * An `import` reads each file by way of the thread pool, which for hundreds of small ones doubles the time of a start. The modules are
 * the same objects either way. None of them may await at its top level.
 *
 * `from` is the asker's import.meta.url; `otherwise` imports the same module, for a Node where that has been switched off.
 */
export function loadAtOnce<T extends object>(
  from: string,
  specifier: string,
  otherwise: () => Promise<T>,
): T | Promise<T> {
  if ((process.features as Features).require_module !== true) return otherwise();
  return createRequire(from)(specifier) as T;
}
