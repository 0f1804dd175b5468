import type { MemberRow } from '../state/index.js';
import type { Seat } from './seat.js';

/** Which replica has which part of the state, as far as this one sees. */
export interface Owners {
  /** A power of two, for good. */
  readonly parts: number;
  /** `here`: this replica works on it. Undefined: nobody that is seen has it. `part` from 0 on. */
  ownerOf(part: number): MemberRow | 'here' | undefined;
  /** Calls back whenever an answer may have changed; answers how to end that. */
  onChange(listener: () => void): () => void;
}

/** Those of a seat. Who has all of a state, or nothing, is asked by its role. */
export function ownersOf(seat: Pick<Seat, 'role' | 'owner' | 'parts' | 'ownerOf' | 'onChange'>): Owners {
  const { parts } = seat;
  return {
    parts,
    ownerOf: (part) => {
      if (parts > 1) return seat.ownerOf(part);
      return seat.role === 'owner' ? 'here' : seat.owner;
    },
    onChange: (listener) => seat.onChange(listener),
  };
}
