/**
 * A part needs a plugin for so long after its last task of it. Where tasks come and go, the part that is well elsewhere without them would go
 * there, and come back with the next one. Milliseconds.
 */
const NEEDED_MS = 10 * 60_000;

/** Which plugins the parts of one member need. Pure: time is handed in. */
export class PartPlugins {
  /** By part: when each plugin was last needed. */
  readonly #parts = new Map<number, Map<string, number>>();

  /**
   * `working`: plugins that have work left in the part. `known`: those that the part is said to need, as by its last owner. Answers those
   * that it needs, by name.
   */
  needed(part: number, working: Iterable<string>, known: Iterable<string>, nowMs: number): readonly string[] {
    const plugins = this.#parts.get(part) ?? new Map<string, number>();
    this.#parts.set(part, plugins);
    for (const plugin of known) if (!plugins.has(plugin)) plugins.set(plugin, nowMs);
    for (const plugin of working) plugins.set(plugin, nowMs);
    return [...plugins]
      .filter(([, atMs]) => nowMs - atMs < NEEDED_MS)
      .map(([plugin]) => plugin)
      .sort();
  }

  /** Those that are not among these are another's. */
  keep(parts: readonly number[]): void {
    for (const part of this.#parts.keys()) if (!parts.includes(part)) this.#parts.delete(part);
  }
}
