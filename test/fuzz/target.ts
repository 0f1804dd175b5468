import type { Dice } from '../support/decisions.js';
import type { Cleanup } from '../support/temp.js';

/** Something that takes input from strangers. */
export interface Target {
  readonly name: string;
  /** What is fed, and what must hold. */
  readonly summary: string;
  /** `seed`: what the target draws once, before the first input, follows from it too. */
  open(undo: Cleanup, seed: string): Subject | Promise<Subject>;
}

/** A target that is ready for input. */
export interface Subject {
  /** Inputs under way at a time, for those that are answered later; one unless given. */
  readonly width?: number;
  /** Makes one input of these decisions and looks at what came of it. What it throws is a finding. */
  one(dice: Dice): void | Promise<void>;
  /** Bytes that are held when all garbage is collected; of this process unless given. */
  held?(): Promise<number>;
}

export type FindingKind = 'crash' | 'hang' | 'wrong';

export class Finding extends Error {
  readonly kind: FindingKind;

  constructor(kind: FindingKind, message: string) {
    super(message);
    this.kind = kind;
  }
}
