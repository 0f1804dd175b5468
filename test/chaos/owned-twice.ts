import { partitionOfHandle, partOf } from '../../src/model/handle.js';
import type { Violation } from './judge.js';
import type { ForeignWrite, PartMove } from './parts-book.js';
import type { Job } from './remote.js';
import type { Attempt } from './story.js';

/** Who had which part of the state, and what was written of parts by others; `replicaOf` a process. */
export interface OwnersBook {
  readonly parts: number;
  readonly moves: readonly PartMove[];
  readonly foreignWrites: readonly ForeignWrite[];
  replicaOf(pid: number): number | undefined;
}

/** The database says by another clock, on the same machine, when a part moved. Milliseconds. */
const SLACK_MS = 50;

/**
 * Effects of a replica on a part that was not its own: facts that it wrote, and jobs that it made, by the time of sending. What was sent before the part
 * was another's may come late, and be found.
 */
export function* ownedTwice(
  jobs: readonly Job[],
  attempts: ReadonlyMap<string, Attempt>,
  { parts, moves, foreignWrites, replicaOf }: OwnersBook,
): Iterable<Violation> {
  for (const { part, replica, owner = 'nobody', facts } of foreignWrites) {
    const what = `part ${part}: replica ${replica} wrote ${facts} facts while ${owner} had it`;
    yield { kind: 'owned_twice', what, keys: [] };
  }
  for (const { id, key, task, sentAtMs, sentBy } of jobs) {
    const attempt = attempts.get(task);
    const handle = attempt?.incarnations.find((each) => each.handle !== undefined)?.handle;
    const replica = replicaOf(sentBy);
    if (handle === undefined || replica === undefined) continue;
    const part = partOf(partitionOfHandle(handle), parts);
    const own = moves.filter((move) => move.part === part);
    const had = own.some((move, index) => {
      const endsAtMs = own[index + 1]?.atMs ?? Number.POSITIVE_INFINITY;
      return move.replica === replica && move.atMs - SLACK_MS <= sentAtMs && sentAtMs <= endsAtMs + SLACK_MS;
    });
    if (had) continue;
    const last = own.filter(({ atMs }) => atMs <= sentAtMs).at(-1);
    const owner = last?.replica ?? 'nobody';
    const what = `${id} of ${task}, part ${part}: sent by replica ${replica} while ${owner} had it since ${(sentAtMs - (last?.atMs ?? 0)).toFixed(0)} ms`;
    yield { kind: 'owned_twice', what, keys: [key], attempt };
  }
}
