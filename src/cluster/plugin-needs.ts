import { newerOf } from './versions.js';

/** A plugin that a part needs, and the oldest version of it that may work there; undefined where none is too old. */
export interface PluginNeed {
  readonly id: string;
  readonly least: string | undefined;
}

/** As the row of a part says it: `<id>`, or `<id>@<version>`. */
export function needText({ id, least }: PluginNeed): string {
  return least === undefined ? id : `${id}@${least}`;
}

export function needOf(text: string): PluginNeed {
  const at = text.indexOf('@');
  return at < 0 ? { id: text, least: undefined } : { id: text.slice(0, at), least: text.slice(at + 1) };
}

/** What a part needs of these plugins, where it was known to need others, and its owner has these versions. */
export function needsOf(
  ids: readonly string[],
  known: readonly string[],
  versions: Readonly<Record<string, string>>,
): readonly string[] {
  const before = new Map(known.map(needOf).map(({ id, least }) => [id, least]));
  return ids.map((id) => needText({ id, least: newerOf(before.get(id), versions[id]) }));
}
