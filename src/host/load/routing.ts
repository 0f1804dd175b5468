import { HostError } from '../../errors/index.js';
import { getOrMake } from '../../lib/get-or-make.js';
import type { ServedTaskType } from '../../model/plugin-facts.js';

/** What a plugin claims to serve. */
export interface Claims {
  readonly id: string;
  readonly taskTypes: readonly ServedTaskType[];
  readonly isDefault: boolean;
}

/** What routing needs to know of a plugin. */
export interface Routable extends Claims {
  /**
   * Whether its definition was read. One that failed before claims what `defaultForTaskTypes` gives it, and of what it served in an
   * earlier run (`before`) what nobody else claims.
   */
  readonly defined: boolean;
  readonly before?: Claims | undefined;
}

/** Plugins that serve one task type: one for every version, or one per version. */
interface TypeRoutes {
  every: string | undefined;
  readonly byVersion: Map<number, string>;
}

export interface Routes {
  /** The id of the plugin that serves this. Throws TASK_TYPE_UNKNOWN or TASK_TYPE_VERSION_UNKNOWN. */
  lookup(taskType: string, version: number): string;
}

/** Names listed in a message; more are counted. */
const SHOWN = 20;

/**
 * Who serves which task type. Several plugins may share a type if their versions differ; where they overlap,
 * `defaultForTaskTypes` decides, else it is a conflict. Answers every conflict at once; with conflicts the routes hold
 * what is undisputed.
 */
export function buildRoutes(
  known: readonly Routable[],
  defaultForTaskTypes: Readonly<Record<string, string>>,
): { routes: Routes; errors: readonly HostError[] } {
  const errors: HostError[] = [];
  const plugins = known.map((plugin) => (plugin.defined ? plugin : withGiven(plugin, defaultForTaskTypes)));
  const types = new Map<string, TypeRoutes>();
  for (const [name, claims] of claimsByType(plugins)) {
    types.set(
      name,
      settle(name, claims, Object.hasOwn(defaultForTaskTypes, name) ? defaultForTaskTypes[name] : undefined, errors),
    );
  }
  for (const { before } of plugins) if (before !== undefined) keepClaims(types, before);
  for (const [name, id] of Object.entries(defaultForTaskTypes)) {
    const plugin = plugins.find((candidate) => candidate.id === id);
    if (plugin?.taskTypes.some((type) => type.name === name) === true) continue;
    const ids = plugins.map((candidate) => candidate.id);
    const why =
      plugin === undefined ? `there is no plugin ${id} (there are: ${list(ids)})` : `plugin ${id} does not serve it`;
    errors.push(
      new HostError(
        'ROUTE_TARGET_UNKNOWN',
        `defaultForTaskTypes.${name}: ${why}; name a plugin that lists the task type`,
      ),
    );
  }
  const defaults = plugins.filter((plugin) => plugin.isDefault).map((plugin) => plugin.id);
  if (defaults.length > 1) {
    errors.push(
      new HostError(
        'ROUTE_CONFLICT',
        `several plugins claim to be the default for unknown task types: ${list(defaults)}; keep one`,
      ),
    );
  }
  const fallback = defaults.length === 0 ? plugins.find(({ before }) => before?.isDefault)?.id : onlyOne(defaults);
  const silent = plugins.filter((plugin) => !plugin.defined).map((plugin) => plugin.id);
  const table = { types, fallback, silent };
  return { routes: { lookup: (taskType, version) => lookup(table, taskType, version) }, errors };
}

function withGiven(plugin: Routable, defaultForTaskTypes: Readonly<Record<string, string>>): Routable {
  const given = Object.keys(defaultForTaskTypes).filter((name) => defaultForTaskTypes[name] === plugin.id);
  return {
    id: plugin.id,
    defined: false,
    taskTypes: given.map((name) => ({ name, versions: undefined })),
    isDefault: false,
    before: plugin.before,
  };
}

function onlyOne(ids: readonly string[]): string | undefined {
  return ids.length === 1 ? ids[0] : undefined;
}

/** Task types that nobody else claims are still whose they were: code that could not be read may claim them yet. */
function keepClaims(types: Map<string, TypeRoutes>, { id, taskTypes }: Claims): void {
  for (const { name, versions } of taskTypes) {
    const routes = getOrMake(types, name, (): TypeRoutes => ({ every: undefined, byVersion: new Map() }));
    if (routes.every !== undefined) continue;
    if (versions === undefined) routes.every = id;
    else for (const version of versions) if (!routes.byVersion.has(version)) routes.byVersion.set(version, id);
  }
}

interface Claim {
  readonly id: string;
  readonly versions: readonly number[] | undefined;
}

function claimsByType(plugins: readonly Routable[]): Map<string, Claim[]> {
  const claims = new Map<string, Claim[]>();
  for (const plugin of plugins) {
    for (const { name, versions } of plugin.taskTypes) {
      claims.set(name, [...(claims.get(name) ?? []), { id: plugin.id, versions }]);
    }
  }
  return claims;
}

function settle(
  name: string,
  claims: readonly Claim[],
  preferred: string | undefined,
  errors: HostError[],
): TypeRoutes {
  const routes: TypeRoutes = { every: undefined, byVersion: new Map() };
  // The preferred one first: it keeps all it claims, and the others get what is left.
  const ordered = [...claims].sort((a, b) => Number(b.id === preferred) - Number(a.id === preferred));
  for (const claim of ordered) {
    const rivals = overlapping(routes, claim).filter((id) => id !== claim.id);
    const disputed = rivals.filter((id) => id !== preferred);
    if (disputed.length > 0) {
      errors.push(
        new HostError(
          'ROUTE_CONFLICT',
          `task type ${name} is claimed by ${list([...new Set([...disputed, claim.id])])} in the same versions; say which one in defaultForTaskTypes`,
        ),
      );
      continue;
    }
    if (claim.versions === undefined) routes.every ??= claim.id;
    else
      for (const version of claim.versions)
        if (!taken(routes, version, preferred)) routes.byVersion.set(version, claim.id);
  }
  return routes;
}

/** Ids that already hold a version which this claim wants. */
function overlapping(routes: TypeRoutes, claim: Claim): string[] {
  const holders =
    claim.versions === undefined ? [...routes.byVersion.values()] : claim.versions.map((v) => routes.byVersion.get(v));
  return [...holders, routes.every].filter((id) => id !== undefined);
}

function taken(routes: TypeRoutes, version: number, preferred: string | undefined): boolean {
  return routes.byVersion.has(version) || (routes.every !== undefined && routes.every === preferred);
}

interface Table {
  readonly types: ReadonlyMap<string, TypeRoutes>;
  /** For task types that nobody claims. */
  readonly fallback: string | undefined;
  /** Plugins that failed before they told their task types. */
  readonly silent: readonly string[];
}

function lookup({ types, fallback, silent }: Table, taskType: string, version: number): string {
  const routes = types.get(taskType);
  const id = routes === undefined ? fallback : (routes.byVersion.get(version) ?? routes.every);
  if (id !== undefined) return id;
  if (routes === undefined) {
    const served = `served are: ${list([...types.keys()].sort())}`;
    const failed = silent.length === 0 ? '' : `; failed before they told their task types: ${list(silent)}`;
    throw new HostError(
      'TASK_TYPE_UNKNOWN',
      `no plugin serves task type ${JSON.stringify(taskType.slice(0, 128))}; ${served}${failed}`,
    );
  }
  const versions = [...routes.byVersion.keys()].sort((a, b) => a - b);
  throw new HostError(
    'TASK_TYPE_VERSION_UNKNOWN',
    `no plugin serves version ${version} of task type ${taskType}; served versions are: ${list(versions.map(String))}`,
  );
}

function list(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  const shown = names.slice(0, SHOWN).join(', ');
  return names.length > SHOWN ? `${shown} and ${names.length - SHOWN} more` : shown;
}
