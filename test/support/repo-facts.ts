/** The major version of Node in the default of a Dockerfile's BASE_IMAGE; throws when it has none. */
export function nodeMajorOfDockerfile(text: string): number {
  const found = text.match(/^ARG BASE_IMAGE=(?:[\w.-]+\/)*node:(\d+)/m);
  if (!found) throw new Error('the Dockerfile has no ARG BASE_IMAGE=node:<major>');
  return Number(found[1]);
}

/** The npm scripts that a document tells its reader to run. */
export function scriptsMentioned(text: string): string[] {
  const named = [...text.matchAll(/\bnpm run (?:-s |--silent )?([a-z][\w:.-]*\w)/g)].map((match) => match[1] as string);
  const short = [...text.matchAll(/\bnpm (test|start)\b/g)].map((match) => match[1] as string);
  return [...named, ...short];
}

/** Those of them that the manifest lacks. */
export function findUnknownScripts(text: string, scripts: Readonly<Record<string, string>>): string[] {
  return [...new Set(scriptsMentioned(text))].filter((name) => !(name in scripts));
}

/**
 * The commands in a document's code that fetch a package by its name from the registry and run or install it: whoever
 * claims the name there decides what runs. `npx --no-install NAME` takes what is installed; names under a scope of the
 * registry's (`@scope/name`) and paths are nobody's to claim.
 */
export function findFetchedByName(markdown: string, own: readonly string[]): string[] {
  const fences = [...markdown.matchAll(/^ *```[^\n]*\n([\s\S]*?)^ *```/gm)].map(([, code]) => code as string);
  const spans = [...markdown.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/`([^`\n]+)`/g)].map(
    ([, code]) => code as string,
  );
  const found: string[] = [];
  for (const code of [...fences, ...spans]) {
    for (const [command, , name] of code.matchAll(FETCHES_AND_RUNS)) {
      if (!/^[@./]/.test(name as string)) found.push(command);
    }
    for (const [command, , names = ''] of code.matchAll(INSTALLS)) {
      if (names.split(/\s+/).some((name) => own.includes(name.replace(/@.*$/, '')))) found.push(command);
    }
  }
  return found;
}

const FETCHES_AND_RUNS =
  /\b(npx|bunx|pnpx|npm (?:exec|x)|pnpm dlx|yarn dlx)\s+(?:(?:-y|--yes|--)\s+)*(?!-)([\w@./-]+)/g;
const INSTALLS = /\b((?:npm|pnpm|yarn|bun) (?:i|install|add))((?:[ \t]+[\w@./:-]+)+)/g;

// Written in parts, so that this file does not find itself.
const traces = [
  new RegExp(`/${'work'}/(?:main|wt|shared|\\.library)\\b`),
  new RegExp(`(?<![\\w.\${}-])/${'root'}/\\S`),
  new RegExp(`(?<![\\w.\${}-])/${'home'}/[a-z]`),
  new RegExp(`\\b(?:registry\\.${'npmjs'}|registry\\.${'yarnpkg'})\\b`),
  new RegExp(`\\b(?:deb|security)\\.${'debian'}\\.org\\b`),
  new RegExp(`\\b(?:files\\.${'pythonhosted'}|proxy\\.${'golang'})\\.org\\b`),
  new RegExp(`\\b${'pypi'}\\.org/simple\\b`),
];

/** Paths of one machine and hosts of package registries, as they stand in a text. */
export function findMachineTraces(text: string): string[] {
  return traces.map((trace) => text.match(trace)?.[0]).filter((found) => found !== undefined);
}
