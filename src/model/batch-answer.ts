import { type Mask, maskedFailure, maskedState } from './masked.js';
import { isPlainState, type PhaseState } from './phase-state.js';
import type { PluginOutcome } from './plugin-call.js';

type Outcome = PluginOutcome<PhaseState>;

/** A longer reason is hardly that of another task as well. */
const MAX_REPEATED_REASON = 256;

/**
 * The outcomes of a batch as they go over the channel: one whose state is plain, and said by an earlier one, is the number of that one.
 * Of a hundred jobs that run most say the same, which is written, parsed, checked and masked once.
 */
export function withoutRepeats(outcomes: readonly Outcome[]): readonly (Outcome | number)[] {
  const firsts = new Map<string, number>();
  return outcomes.map((outcome, at) => {
    if (!outcome.ok || !isPlainState(outcome.value) || outcome.value.reason.length > MAX_REPEATED_REASON) {
      return outcome;
    }
    const { phase, version, nextPollAfterMs, remotePhase, reason } = outcome.value;
    const said = `${phase} ${version} ${nextPollAfterMs} ${remotePhase.length} ${remotePhase}${reason}`;
    const first = firsts.get(said);
    if (first === undefined) firsts.set(said, at);
    return first ?? outcome;
  });
}

/** The reverse. `outcomeOf` takes one outcome that came over the channel. Throws Error for a number that `withoutRepeats` does not write. */
export function withRepeats(told: readonly unknown[], outcomeOf: (value: unknown) => Outcome): readonly Outcome[] {
  const outcomes: Outcome[] = [];
  for (let at = 0; at < told.length; at++) {
    const one = told[at];
    outcomes.push(typeof one === 'number' ? repeated(outcomes, one) : outcomeOf(one));
  }
  return outcomes;
}

function repeated(before: readonly Outcome[], at: number): Outcome {
  const first = before[at];
  if (first?.ok === true && isPlainState(first.value)) return first;
  throw new Error(`outcome ${before.length} repeats ${at}, where no plain state is before it`);
}

/** With the secrets taken out of every text that is shown. */
export function maskedOutcomes(outcomes: readonly Outcome[], mask: Mask): readonly Outcome[] {
  let before: Outcome | undefined;
  let shown: Outcome | undefined;
  return outcomes.map((outcome) => {
    if (outcome !== before || shown === undefined) {
      before = outcome;
      shown = outcome.ok
        ? { ok: true, value: maskedState(outcome.value, mask) }
        : { ok: false, failure: maskedFailure(outcome.failure, mask) };
    }
    return shown;
  });
}
