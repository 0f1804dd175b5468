import type { Clock } from '../lib/clock.js';
import { EmbeddedEngine, PostgresEngine, placeText, type StateEngine } from '../state/index.js';
import type { StatePlace } from './state-place.js';

export interface EngineParts {
  readonly clock: Clock;
  readonly random: () => number;
  readonly maxBytes: number;
  /** Told of each secret by which the state is reached, before it is used. */
  readonly onSecret?: (secret: string) => void;
}

/** What keeps a state there; undefined for nowhere. */
export function engineOf(
  place: StatePlace,
  { clock, random, maxBytes, onSecret }: EngineParts,
): StateEngine | undefined {
  if (place.in === 'folder') return new EmbeddedEngine({ dir: place.dir, clock, maxBytes });
  return place.in === 'postgres' ? new PostgresEngine({ place: place.place, clock, random, onSecret }) : undefined;
}

/** For people; a database is named without its password. */
export function placeName(place: StatePlace): string {
  if (place.in === 'folder') return place.dir;
  return place.in === 'postgres' ? `PostgreSQL at ${placeText(place.place)}` : 'nowhere';
}
