import { HostError, messageOf } from '../../errors/index.js';
import { buildLiteralMap, readNamedLiterals } from '../../idl/literal-map.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { TasksDeps } from '../deps.js';
import { failureState } from '../failures.js';

/**
 * What a success means once its outputs were checked: `ready` to be written into the store, or `write` first, because
 * they are too large to travel inline. An unusable success is `ready` as a failure, with `owesDelete`.
 */
export type CheckedOutputs =
  | { readonly kind: 'ready'; readonly state: PhaseState; readonly unusable: boolean }
  | { readonly kind: 'write'; readonly literalMap: Buffer; readonly state: PhaseState };

/** What the outputs are held against. */
export interface OutputTarget {
  /** Declared names; undefined when they are not known. */
  readonly outputNames: readonly string[] | undefined;
  readonly outputPrefix: string;
}

/** Checks the outputs of a SUCCESS by name against the declared ones; other phases pass. Pure. */
export function checkOutputs(
  target: OutputTarget,
  read: PhaseState,
  maxInlineBytes: number,
  dropped: (names: readonly string[]) => void,
): CheckedOutputs {
  if (read.phase !== 'SUCCESS') return { kind: 'ready', state: read, unusable: false };
  const declared = target.outputNames;
  const { outputs } = read;
  if (outputs.kind === 'prefix') return { kind: 'ready', state: read, unusable: false };
  if (outputs.kind === 'none') {
    if (declared === undefined || declared.length === 0) return { kind: 'ready', state: read, unusable: false };
    return unusable(`the task declares the outputs ${list(declared)}, the plugin reported success with none`);
  }
  let { literalMap } = outputs;
  if (declared !== undefined) {
    const missing = declared.filter((name) => !outputs.names.includes(name));
    if (missing.length > 0) {
      return unusable(`the outputs ${list(missing)} are declared and missing; the plugin gave ${list(outputs.names)}`);
    }
    const extra = outputs.names.filter((name) => !declared.includes(name));
    if (extra.length > 0) {
      dropped(extra);
      literalMap = buildLiteralMap(readNamedLiterals(literalMap).filter(({ name }) => !extra.includes(name)));
    }
  }
  const names = declared ?? outputs.names;
  // An empty map would make the engine overwrite what lies at the prefix.
  if (names.length === 0) return { kind: 'ready', state: { ...read, outputs: { kind: 'none' } }, unusable: false };
  if (literalMap.length + bytesBeside(read) > maxInlineBytes) return { kind: 'write', literalMap, state: read };
  return { kind: 'ready', state: { ...read, outputs: { kind: 'inline', literalMap, names } }, unusable: false };
}

/** At most this many bytes of an answer are taken by what comes with the outputs. A Struct may be six times its JSON text. */
function bytesBeside({ reason, error, logs, customInfo, externalResources }: PhaseState): number {
  const bytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
  const custom = [customInfo, ...externalResources.map((one) => one.customInfo)].filter((one) => one !== undefined);
  return bytes([reason, error, logs, externalResources]) + (custom.length === 0 ? 0 : 6 * bytes(custom));
}

/** What became of outputs that had to be written. `later`: the data store failed transiently; `state` ends the task, if it must. */
export type WrittenOutputs =
  | { readonly kind: 'ready'; readonly state: PhaseState; readonly unusable: boolean }
  | { readonly kind: 'later'; readonly state: PhaseState; readonly code: string; readonly message: string };

/** Puts outputs that are too large for an answer to the output prefix. Never rejects. */
export async function writeLargeOutputs(
  deps: Pick<TasksDeps, 'writeOutputs' | 'options'>,
  target: OutputTarget,
  checked: { readonly literalMap: Buffer; readonly state: PhaseState },
): Promise<WrittenOutputs> {
  const size = `the outputs are ${checked.literalMap.length} bytes, an answer may carry ${deps.options.maxInlineOutputBytes} with all that comes with them`;
  if (deps.writeOutputs === undefined || target.outputPrefix === '') {
    const lacks = target.outputPrefix === '' ? 'the engine gave no output prefix' : 'no data store is configured';
    return unusable(`${size}, and they cannot be written as a file: ${lacks}`);
  }
  try {
    await deps.writeOutputs(target.outputPrefix, checked.literalMap);
  } catch (error) {
    const message = `${size}, and writing them under ${target.outputPrefix} failed: ${messageOf(error)}`;
    if (!HostError.is(error) || !error.retryable) return unusable(message);
    const state = failureState('RETRYABLE_FAILURE', 'OUTPUTS_UNUSABLE', message, 'SYSTEM');
    return { kind: 'later', state, code: error.code, message };
  }
  return { kind: 'ready', state: { ...checked.state, outputs: { kind: 'prefix' } }, unusable: false };
}

function unusable(message: string): { kind: 'ready'; state: PhaseState; unusable: true } {
  return {
    kind: 'ready',
    state: failureState('PERMANENT_FAILURE', 'OUTPUTS_UNUSABLE', message, 'SYSTEM'),
    unusable: true,
  };
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => JSON.stringify(name));
  return names.length > 10 ? `${shown.join(', ')} and ${names.length - 10} more` : shown.join(', ') || 'nothing';
}
