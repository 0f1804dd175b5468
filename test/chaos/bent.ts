import type { Flavour, Fleet } from './fleet.js';
import { FLEET } from './fleet.js';
import type { Plan } from './story.js';

/** What ends a life of the daemon. */
export const KILLS = {
  early: 10,
  opening: 6,
  time: 44,
  submit: 10,
  submitted: 10,
  cancel: 5,
  cancelled: 5,
  answer: 10,
} as const;
export type Kill = keyof typeof KILLS;

/** How a run differs from the usual one, so that one bug is met often. What is left out is as usual. */
export interface Bent {
  /** How often engines do each thing, instead of the usual weights. */
  readonly plans?: Partial<Record<Plan, number>>;
  /** How often a life ends by each, instead of the usual weights. */
  readonly kills?: Partial<Record<Kill, number>>;
  /** An event ends a life when it happens for the n-th time, n up to this. */
  readonly most?: number;
  /** Limits and quotas of the remotes. */
  readonly fleet?: Partial<Record<Flavour, Partial<Fleet>>>;
}

export function fleetOf({ fleet = {} }: Bent): Readonly<Record<Flavour, Fleet>> {
  return {
    keyed: { ...FLEET.keyed, ...fleet.keyed },
    searched: { ...FLEET.searched, ...fleet.searched },
    blind: { ...FLEET.blind, ...fleet.blind },
  };
}
