import type { TaskIdentity } from '../../model/handle.js';
import type { NodeAttempt, ReadFailure } from '../../model/task-record.js';
import {
  bytes,
  type Field,
  flag,
  list,
  optional,
  optionalList,
  real,
  record,
  text,
  texts,
  unless,
  whole,
} from './fields.js';
import { type InlineOutputs, inlineOutputs, type SmallState, smallState } from './phase-fields.js';
import { identity, nodeAttempt, readFailure } from './task-facts.js';

/** A delete that the daemon owes, without the secrets that came with it. */
export interface OwedFact {
  readonly identity: TaskIdentity;
  readonly node: NodeAttempt | undefined;
  readonly meta: Buffer;
  readonly outputPrefix: string;
  readonly reason: string;
  readonly sinceMs: number;
  readonly attempts: number;
  readonly lastError: ReadFailure | undefined;
  /** The handle of a task of which nobody knows whether it is over: its job is read first. */
  readonly readFirst: Buffer | undefined;
  readonly jobOver: boolean;
  readonly fromHandle: boolean;
  /** The task still holds its quota token. */
  readonly holdsToken: boolean;
  /** How long its tries have failed so far. */
  readonly failingForMs: number;
  readonly hadConnection: boolean;
}

/** A create of unclear outcome; what its looks need stays under `payload/`. */
export interface UnclearFact {
  readonly identity: TaskIdentity;
  readonly node: NodeAttempt | undefined;
  readonly outputPrefix: string;
  readonly sinceMs: number;
  readonly looks: number;
  readonly leftBecause: string | undefined;
  readonly lastError: ReadFailure;
  /** Its task was deleted while a create was under way, and holds its token; a call may reach the remote for so long. */
  readonly sentBoundMs: number | undefined;
  /** A look may be under way, and may reach the remote for so long after its send; milliseconds. */
  readonly lookBoundMs: number | undefined;
  readonly hadConnection: boolean;
}

/** How the incarnations of one attempt ended. */
export interface MarkFact {
  /** When the last of them was written, epoch milliseconds. */
  readonly atMs: number;
  readonly incarnations: readonly {
    readonly incarnation: number;
    readonly deleted: boolean;
    readonly ended: boolean;
    readonly failure: SmallState | undefined;
    readonly next: number | undefined;
  }[];
}

/** What is known of a lane of a plugin's calls: what its bucket held at a clean stop, and how its remote was. */
export interface BucketFact {
  /** Tokens; may be fractional. What the time of the daemon's absence would have refilled is none, nor is what a crash left. */
  readonly level: number;
  /** End of a pause that the remote asked for, milliseconds since the epoch; the time of the daemon's absence is part of it. */
  readonly pausedUntilMs: number | undefined;
  /** For how long such calls have failed at the remote, where it is down; milliseconds of a daemon that ran. */
  readonly failingForMs: number | undefined;
}

/** How a run of `do` ended. */
export interface DoFact {
  readonly state: SmallState;
  readonly outputs: InlineOutputs | undefined;
  readonly endedAtMs: number;
}

/** What the last run served, or would have, had a plugin not failed. */
export interface RoutesFact {
  readonly plugins: readonly {
    readonly id: string;
    /** It had failed when this was written, and served none of it then. */
    readonly failed: boolean;
    readonly kind: string;
    readonly isDefault: boolean;
    readonly taskTypes: readonly { readonly name: string; readonly versions: readonly number[] | undefined }[];
  }[];
  /** Which plugin serves a task type that several of them serve. */
  readonly defaultForTaskTypes: Readonly<Record<string, string>>;
}

/** What handles are signed with where the operator gives no keys; a secret that is in no export. */
export interface HandleKeyFact {
  readonly signingKey: string;
}

/** Of the state as a whole. */
export interface BirthFact {
  /** Since when the state knows every end, epoch milliseconds. */
  readonly completeSinceMs: number;
  /** Since when no end was forgotten within the replay window; where that is not said, since the state is complete. */
  readonly endsKnownSinceMs: number | undefined;
  /** Names this state; another one's handles are none of it. */
  readonly id: string;
  /** Starts that went on from it. */
  readonly starts: number;
}

export const owedFact: Field<OwedFact> = record<OwedFact>({
  identity,
  node: optional(nodeAttempt),
  meta: bytes,
  outputPrefix: unless('', text),
  reason: unless('', text),
  sinceMs: real,
  attempts: unless(0, whole),
  lastError: optional(readFailure),
  readFirst: optional(bytes),
  jobOver: unless(false, flag),
  fromHandle: unless(false, flag),
  holdsToken: unless(false, flag),
  failingForMs: unless(0, real),
  hadConnection: unless(false, flag),
});

export const unclearFact: Field<UnclearFact> = record<UnclearFact>({
  identity,
  node: optional(nodeAttempt),
  outputPrefix: unless('', text),
  sinceMs: real,
  looks: unless(0, whole),
  leftBecause: optional(text),
  lastError: readFailure,
  sentBoundMs: optional(real),
  lookBoundMs: optional(real),
  hadConnection: unless(false, flag),
});

export const markFact: Field<MarkFact> = record<MarkFact>({
  atMs: real,
  incarnations: list(
    record<MarkFact['incarnations'][number]>({
      incarnation: whole,
      deleted: unless(false, flag),
      ended: unless(false, flag),
      failure: optional(smallState),
      next: optional(whole),
    }),
  ),
});

export const bucketFact: Field<BucketFact> = record<BucketFact>({
  level: real,
  pausedUntilMs: optional(real),
  failingForMs: optional(real),
});

export const doFact: Field<DoFact> = record<DoFact>({
  state: smallState,
  outputs: optional(inlineOutputs),
  endedAtMs: real,
});

export const routesFact: Field<RoutesFact> = record<RoutesFact>({
  plugins: list(
    record<RoutesFact['plugins'][number]>({
      id: text,
      failed: unless(false, flag),
      kind: text,
      isDefault: unless(false, flag),
      taskTypes: list(
        record<RoutesFact['plugins'][number]['taskTypes'][number]>({ name: text, versions: optionalList(whole) }),
      ),
    }),
  ),
  defaultForTaskTypes: texts,
});

export const handleKeyFact: Field<HandleKeyFact> = record<HandleKeyFact>({ signingKey: text });

export const birthFact: Field<BirthFact> = record<BirthFact>({
  completeSinceMs: real,
  endsKnownSinceMs: optional(real),
  id: text,
  starts: whole,
});
