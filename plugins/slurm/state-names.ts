/**
 * The states that Slurm says a job is in, in every form its API has: one name before v0.0.40 (where a flag hides the base
 * state), a list of the base state and the flags from then on, with `+` or a comma between them in its other tools.
 * Undefined where the record says nothing of the kind.
 */
export function stateNamesOf(raw: unknown): string[] | undefined {
  const parts = typeof raw === 'string' || typeof raw === 'number' ? [raw] : raw;
  if (!Array.isArray(parts)) return undefined;
  const names = (parts as unknown[])
    .slice(0, MOST)
    .flatMap((part) => (typeof part === 'string' || typeof part === 'number' ? String(part).split(/[+,|]/) : []))
    // 'CANCELLED by 1000'
    .map((name) => (name.trim().split(/\s/, 1)[0] ?? '').toUpperCase().slice(0, MAX_LENGTH))
    .filter((name) => name !== '');
  return [...new Set(names)];
}

const MOST = 32;
const MAX_LENGTH = 64;

/** Base states of a job that is not over. */
const LIVE: ReadonlySet<string> = new Set(['RUNNING', 'SUSPENDED', 'PENDING']);
/** Base states of a job that is over. */
const ENDED: ReadonlySet<string> = new Set([
  'BOOT_FAIL',
  'CANCELLED',
  'COMPLETED',
  'DEADLINE',
  'FAILED',
  'NODE_FAIL',
  'OUT_OF_MEMORY',
  'PREEMPTED',
  'TIMEOUT',
]);
/** While one of these flags is set the job is not over, whatever its base state says: it ends just now, or begins anew. */
const UNFINISHED = [
  'COMPLETING',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'SPECIAL_EXIT',
  'RESV_DEL_HOLD',
  'STAGE_OUT',
];
/** Flags that tell more of a job that is not over; beside an end they say nothing. */
const DETAILS = ['CONFIGURING', 'POWER_UP_NODE', 'STOPPED', 'RESIZING', 'SIGNALING'];
/** Flags that tell more of a failed end than its base state does. */
const CAUSES = ['LAUNCH_FAILED', 'RECONFIG_FAIL'];

/**
 * The one name that decides, `UNKNOWN` where there is none. The order of a list means nothing here. A revoked sibling of a
 * federation is over on its cluster unless its base state tells an end of its own, which the cluster that ran it reports.
 */
export function decisiveState(names: readonly string[]): string {
  const pick = (from: Iterable<string>) => [...from].find((name) => names.includes(name));
  const unfinished = pick(UNFINISHED);
  if (unfinished !== undefined) return unfinished;
  const live = pick(LIVE);
  const ended = pick(ENDED);
  if (names.includes('REVOKED')) {
    return live === undefined && ended !== undefined && ended !== 'CANCELLED' ? ended : 'REVOKED';
  }
  if (live !== undefined) return pick(DETAILS) ?? live;
  if (ended !== undefined) return ended === 'FAILED' ? (pick(CAUSES) ?? ended) : ended;
  return pick(DETAILS) ?? pick(CAUSES) ?? names[0] ?? 'UNKNOWN';
}
