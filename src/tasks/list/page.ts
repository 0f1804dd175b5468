import { HostError, messageOf } from '../../errors/index.js';
import type { JsonObject } from '../../lib/json.js';
import type { Listed } from '../../lib/roll.js';
import type { Page, PageQuery } from '../../model/page.js';

/** Rows that one page looks at, wanted or not: a rare one must not hold the daemon up while it is searched. */
export const MAX_LOOKED_AT = 10_000;

type Row = Listed & { readonly id: string };

/** What a listing shows of what stands in a roll. */
export interface Listing<T extends Row> {
  after(place: number): Iterable<T>;
  readonly wanted?: (row: T) => boolean;
  readonly show: (row: T) => JsonObject;
}

/**
 * Pages by the place of the last row that was looked at, which stays good when that row goes. `mark` tells cursors of one
 * daemon's life from those of another, whose places mean other rows.
 */
export class Pages {
  readonly #mark: string;

  constructor(mark: string) {
    this.#mark = mark;
  }

  /** Throws REQUEST_FIELD_INVALID for a cursor that this daemon has not given. */
  of<T extends Row>({ after, wanted = () => true, show }: Listing<T>, query: PageQuery): Page {
    const rows: JsonObject[] = [];
    let place = this.#placeOf(query.after);
    let looked = 0;
    for (const row of after(place)) {
      const isWanted = wanted(row);
      if (looked === MAX_LOOKED_AT || (isWanted && rows.length === query.limit)) {
        return { rows, next: `${this.#mark}.${place}` };
      }
      if (isWanted) rows.push(shownOrTold(row, show));
      place = row.listedAt;
      looked += 1;
    }
    return { rows, next: undefined };
  }

  #placeOf(cursor: string): number {
    if (cursor === '') return 0;
    const [mark, place = '', more] = cursor.split('.');
    if (mark === this.#mark && /^\d{1,15}$/.test(place) && more === undefined) return Number(place);
    throw new HostError(
      'REQUEST_FIELD_INVALID',
      `after=${JSON.stringify(cursor.slice(0, 80))} is no place in this list, or one of before the daemon's last start; ` +
        'send `next` of the page before, or start again without it',
    );
  }
}

/** A row that cannot be shown is named with the reason, and breaks no listing (rule 15). */
export function shownOrTold<T extends { readonly id: string }>(row: T, show: (row: T) => JsonObject): JsonObject {
  try {
    return show(row);
  } catch (thrown) {
    return { id: row.id, unshown: messageOf(thrown) };
  }
}
