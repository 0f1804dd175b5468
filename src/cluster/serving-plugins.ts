/** So long a plugin may be away, as after a crash, before its parts go elsewhere. Milliseconds. */
const AWAY_MS = 30_000;
/** One that was away serves for so long before parts come back. */
const SETTLED_MS = 60_000;

/** `away`: it may be back by itself; `out`: it is not. */
export type Service = 'serving' | 'away' | 'out';

interface Seen {
  said: boolean;
  /** Since when it is otherwise than said. */
  otherwiseSinceMs: number | undefined;
  wasOut: boolean;
}

/**
 * Which plugins serve at a member, as it tells the others: parts move by it, which costs more than a process that is started again. Pure:
 * time is handed in.
 *
 * States of a plugin: unknown → said, as soon as it serves → not said, once it is out, or was away for a time → said again, once it has
 * served for a time.
 */
export class ServingPlugins {
  readonly #plugins = new Map<string, Seen>();

  saw(plugin: string, service: Service, nowMs: number): void {
    const serves = service === 'serving';
    const seen = this.#plugins.get(plugin) ?? { said: false, otherwiseSinceMs: undefined, wasOut: false };
    this.#plugins.set(plugin, seen);
    if (serves === seen.said) {
      seen.otherwiseSinceMs = undefined;
      return;
    }
    seen.otherwiseSinceMs ??= nowMs;
    if (nowMs - seen.otherwiseSinceMs < patienceMs(service, seen)) return;
    seen.said = serves;
    seen.otherwiseSinceMs = undefined;
    if (!serves) seen.wasOut = true;
  }

  get said(): readonly string[] {
    return [...this.#plugins]
      .filter(([, { said }]) => said)
      .map(([plugin]) => plugin)
      .sort();
  }
}

function patienceMs(service: Service, { wasOut }: Seen): number {
  if (service === 'out') return 0;
  if (service === 'away') return AWAY_MS;
  return wasOut ? SETTLED_MS : 0;
}
