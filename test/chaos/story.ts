import type { Phase } from '../../src/plugin-api/phase.js';
import type { Decisions } from '../support/decisions.js';
import type { Flavour } from './fleet.js';

/** What an engine does with one attempt. */
export type Plan =
  /** Creates it and asks until it is over. */
  | 'plain'
  /** Repeats the create of a task that was answered long ago. */
  | 'repeat'
  /** Deletes it while it waits or runs. */
  | 'delete'
  /** Deletes it, creates the same attempt anew, and repeats the delete of the first. */
  | 'recreate'
  /** Gives the create up, and goes on to the next attempt of the node. */
  | 'supersede'
  /** Gives the create up, and never comes back. */
  | 'abandon'
  /** Runs a sync plugin by Do, and repeats it. */
  | 'do'
  /** Runs a sync plugin by Create. */
  | 'sync';

/** Decided before anything happens, from the seed and the number of the story. */
export interface StoryPlan {
  readonly index: number;
  readonly plan: Plan;
  readonly flavour: Flavour | 'sync';
  readonly name: string;
  readonly node: string;
  readonly project: string;
  /** 0 for none. */
  readonly textLength: number;
  readonly runMs: number;
  readonly end: 'done' | 'failed';
  /** Until the engine deletes, repeats or gives up. */
  readonly afterMs: number;
  readonly pollMs: number;
}

/** What is not ended by anybody but its engine. */
const FOREVER_MS = 10 ** 9;

const PLANS: Readonly<Record<Plan, number>> = {
  plain: 48,
  repeat: 10,
  delete: 14,
  recreate: 8,
  supersede: 6,
  abandon: 2,
  do: 7,
  sync: 5,
};

/** `plans`: how often each, instead of the usual. */
export function planStory(
  decisions: Decisions,
  index: number,
  plans: Partial<Record<Plan, number>> = PLANS,
): StoryPlan {
  const dice = decisions.of('story', index);
  const plan = dice.pick<Plan>(plans as Record<Plan, number>);
  const flavour = dice.pick<Flavour>({ keyed: 45, searched: 35, blind: 20 });
  const forever = plan === 'delete' || plan === 'recreate' || plan === 'supersede' || plan === 'abandon';
  const size = dice.pick({ none: 50, small: 42, large: 8 });
  const gaveUp = plan === 'supersede' || plan === 'abandon';
  return {
    index,
    plan,
    flavour: plan === 'do' || plan === 'sync' ? 'sync' : flavour,
    name: `chaos-${index}`,
    node: `n${index}`,
    project: dice.pick({ red: 3, green: 2, blue: 1 }),
    textLength: size === 'none' ? 0 : Math.round(size === 'small' ? dice.between(1, 2_000) : dice.between(2e5, 2e6)),
    runMs: forever ? FOREVER_MS : Math.round(dice.between(600, 5_000)),
    end: dice.chance(0.15) ? 'failed' : 'done',
    afterMs: Math.round(gaveUp ? dice.between(20, 900) : dice.between(0, 4_000)),
    pollMs: Math.round(dice.between(200, 900)),
  };
}

/** What an engine was told of a task at one time. */
export interface Seen {
  readonly life: number;
  readonly phase: Phase;
  readonly version: number;
  readonly code: string;
  /** The inline outputs, so that two answers can be compared. */
  readonly outputs: string;
}

/** One life of an attempt, from a create to its end or its delete. */
export interface Incarnation {
  handle: Buffer | undefined;
  readonly polled: Seen[];
  readonly watched: Seen[];
  deleted: 'no' | 'asked' | 'answered';
}

/** One attempt as its engine lived it. */
export class Attempt {
  readonly incarnations: Incarnation[] = [];
  readonly events: string[] = [];
  /** Jobs that its engine gave up before it had an answer: they are nobody's. */
  givenUp = false;
  finished = false;
  /** What Do answered, each time. */
  readonly runs: Seen[] = [];
  readonly plan: StoryPlan;
  readonly name: string;
  readonly number: number;
  readonly runMs: number;

  constructor(plan: StoryPlan, name: string, number: number, runMs: number) {
    this.plan = plan;
    this.name = name;
    this.number = number;
    this.runMs = runMs;
  }

  next(): Incarnation {
    const incarnation: Incarnation = { handle: undefined, polled: [], watched: [], deleted: 'no' };
    this.incarnations.push(incarnation);
    return incarnation;
  }
}
