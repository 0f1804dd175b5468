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
