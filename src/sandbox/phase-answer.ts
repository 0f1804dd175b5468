import type { JsonObject, JsonValue } from '../lib/json.js';
import { show } from '../lib/show.js';
import {
  MAX_CODE,
  MAX_CUSTOM_DEPTH,
  MAX_CUSTOM_INFO,
  MAX_DURATION_MS,
  MAX_EXTERNAL,
  MAX_EXTERNAL_TEXT,
  MAX_LOGS,
  MAX_LOGS_TEXT,
  MAX_TEXT,
  MAX_VERSION,
} from '../model/answer-bounds.js';
import { maskedJson } from '../model/masked.js';
import { type Outputs, type PhaseState, phaseState } from '../model/phase-state.js';
import type { LiteralInput } from '../plugin-api/literals.js';
import {
  type ExecutionError,
  type ExternalResource,
  isTerminal,
  PHASES,
  type Phase,
  type TaskLog,
} from '../plugin-api/phase.js';
import { InvalidAnswer } from './invalid-answer.js';
import { jsonLoss } from './json-loss.js';
import { bounded } from './plain-fields.js';

export interface PhaseAnswerContext {
  /** The method that answered, for messages. */
  readonly method: string;
  /** Whether the output writer put outputs at the prefix during this call. */
  readonly outputsWritten: boolean;
  encodeOutputs(values: Readonly<Record<string, LiteralInput>>): Buffer;
  redact(text: string): string;
}

const FORMATS: readonly unknown[] = ['UNKNOWN', 'CSV', 'JSON'];
const FAILURES: ReadonlySet<Phase> = new Set(['RETRYABLE_FAILURE', 'PERMANENT_FAILURE', 'ABORTED']);

type Fields = Record<string, unknown>;

/**
 * A PhaseInfo as the daemon's plain data. Everything is checked, since what is wrong here would travel to an engine:
 * an unknown or UNDEFINED phase, a wrong type, outputs beside another phase than SUCCESS. Throws InvalidAnswer;
 * LITERAL_UNCONVERTIBLE for outputs that no literal can hold.
 */
export function toPhaseState(answer: unknown, context: PhaseAnswerContext): PhaseState {
  const check = new Check(context.method, context.redact);
  if (typeof answer !== 'object' || answer === null) throw check.wrong('the answer', answer, 'a PhaseInfo');
  const info = answer as Fields;
  const phase = check.phase(info.phase, 'phase');
  if (phase === 'UNDEFINED') throw check.wrong('phase', phase, 'a phase; UNDEFINED is never answered');
  const text = (key: string): string => bounded(check.text(info[key], key), MAX_TEXT);
  const logs = check.list(info.logs, 'logs', MAX_LOGS).map((log, i) => checkLog(log, `logs[${i}]`, check));
  check.size(logs, 'logs', MAX_LOGS_TEXT);
  const externalResources = check
    .list(info.externalResources, 'externalResources', MAX_EXTERNAL)
    .map((item, i) => checkExternal(item, `externalResources[${i}]`, check));
  check.size(externalResources, 'externalResources', MAX_EXTERNAL_TEXT);
  return phaseState(phase, {
    reason: text('reason'),
    error: checkError(info.error, phase, check),
    logs,
    customInfo: check.json(info.customInfo, 'customInfo'),
    externalResources,
    outputs: outputsOf(info.outputs, phase, check, context),
    remotePhase: text('remotePhase'),
    version: check.number(info.version, 'version', MAX_VERSION, true) ?? 0,
    nextPollAfterMs: check.number(info.nextPollAfterMs, 'nextPollAfterMs', Number.MAX_SAFE_INTEGER, false),
  });
}

/** For `do`: the engine takes nothing but an end. Throws InvalidAnswer. */
export function assertTerminal(state: PhaseState, method: string): PhaseState {
  if (isTerminal(state.phase)) return state;
  throw new InvalidAnswer(`${method}() answered phase ${state.phase}; a sync plugin must answer a terminal phase`);
}

function checkError(value: unknown, phase: Phase, check: Check): ExecutionError | undefined {
  if (!FAILURES.has(phase)) {
    if (value !== undefined) throw check.wrong('error', value, `no error in phase ${phase}`);
    return undefined;
  }
  if (value === undefined && phase === 'ABORTED') return undefined;
  const error = check.object(value, 'error');
  const kind = error.kind;
  if (kind !== 'USER' && kind !== 'SYSTEM') throw check.wrong('error.kind', kind, 'USER or SYSTEM');
  const code = check.text(error.code, 'error.code');
  if (code === '' || code.length > MAX_CODE) throw check.wrong('error.code', code, `1 to ${MAX_CODE} characters`);
  return { code, message: bounded(check.text(error.message, 'error.message'), MAX_TEXT), kind };
}

function checkLog(value: unknown, path: string, check: Check): TaskLog {
  const log = check.object(value, path);
  const format = log.messageFormat;
  if (format !== undefined && !FORMATS.includes(format)) {
    throw check.wrong(`${path}.messageFormat`, format, FORMATS.join(', '));
  }
  return compact({
    uri: check.text(log.uri, `${path}.uri`),
    name: check.optionalText(log.name, `${path}.name`),
    messageFormat: format as TaskLog['messageFormat'],
    ttlMs: check.number(log.ttlMs, `${path}.ttlMs`, MAX_DURATION_MS, false),
    showWhilePending: check.optionalFlag(log.showWhilePending, `${path}.showWhilePending`),
    hideOnceFinished: check.optionalFlag(log.hideOnceFinished, `${path}.hideOnceFinished`),
  });
}

function checkExternal(value: unknown, path: string, check: Check): ExternalResource {
  const item = check.object(value, path);
  const logs = item.logs;
  return compact({
    externalId: check.text(item.externalId, `${path}.externalId`),
    index: check.number(item.index, `${path}.index`, MAX_VERSION, true),
    retryAttempt: check.number(item.retryAttempt, `${path}.retryAttempt`, MAX_VERSION, true),
    phase: item.phase === undefined ? undefined : check.phase(item.phase, `${path}.phase`),
    logs:
      logs === undefined
        ? undefined
        : check.list(logs, `${path}.logs`, MAX_LOGS).map((log, i) => checkLog(log, `${path}.logs[${i}]`, check)),
    customInfo: check.json(item.customInfo, `${path}.customInfo`),
  });
}

function outputsOf(value: unknown, phase: Phase, check: Check, context: PhaseAnswerContext): Outputs {
  if (phase !== 'SUCCESS') {
    if (value !== undefined) throw check.wrong('outputs', value, `no outputs in phase ${phase}`);
    return { kind: 'none' };
  }
  if (value === 'at-prefix') return { kind: 'prefix' };
  if (value === undefined) return context.outputsWritten ? { kind: 'prefix' } : { kind: 'none' };
  const outputs = check.object(value, 'outputs') as Record<string, LiteralInput>;
  return { kind: 'inline', literalMap: context.encodeOutputs(outputs), names: Object.keys(outputs) };
}

/** Without the keys whose value is undefined; exactOptionalPropertyTypes tells the two apart. */
function compact<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}

/**
 * Checks of single values; messages name the method, the field, what was seen and what was expected. Every text that
 * passes is masked, wherever it stands: engines keep and show all of it (rule 14).
 */
class Check {
  constructor(
    readonly method: string,
    readonly redact: (text: string) => string,
  ) {}

  wrong(field: string, seen: unknown, expected: string): InvalidAnswer {
    return new InvalidAnswer(`${this.method}(): ${field} is ${show(seen)}; expected ${expected}`);
  }

  object(value: unknown, field: string): Fields {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
    throw this.wrong(field, value, 'an object');
  }

  text(value: unknown, field: string): string {
    if (value === undefined && !field.endsWith('uri') && !field.endsWith('externalId')) return '';
    if (typeof value === 'string') return this.redact(value);
    throw this.wrong(field, value, 'a text');
  }

  optionalText(value: unknown, field: string): string | undefined {
    return value === undefined ? undefined : this.text(value, field);
  }

  optionalFlag(value: unknown, field: string): boolean | undefined {
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.wrong(field, value, 'true or false');
  }

  number(value: unknown, field: string, max: number, whole: boolean): number | undefined {
    if (value === undefined) return undefined;
    if (typeof value === 'number' && value >= 0 && value <= max && (!whole || Number.isInteger(value))) return value;
    throw this.wrong(field, value, `a ${whole ? 'whole ' : ''}number from 0 to ${max}`);
  }

  list(value: unknown, field: string, max: number): readonly unknown[] {
    if (value === undefined) return [];
    if (Array.isArray(value) && value.length <= max) return value;
    throw this.wrong(field, value, `a list of at most ${max}`);
  }

  phase(value: unknown, field: string): Phase {
    if (PHASES.includes(value as Phase)) return value as Phase;
    throw this.wrong(field, value, `one of ${PHASES.slice(1).join(', ')}`);
  }

  /** Of a list as a whole; its items are bounded one by one. */
  size(list: readonly unknown[], field: string, max: number): void {
    if (list.length > 0) this.#bound(JSON.stringify(list), field, max);
  }

  #bound(text: string, field: string, max: number): void {
    if (text.length <= max) return;
    throw new InvalidAnswer(
      `${this.method}(): ${field} has ${text.length} characters of JSON; expected at most ${max}`,
    );
  }

  /** By way of its JSON text, so that what is sent is what an engine will see. */
  json(value: unknown, field: string): JsonObject | undefined {
    if (value === undefined) return undefined;
    this.object(value, field);
    let text: string;
    try {
      text = JSON.stringify(value);
    } catch {
      throw new InvalidAnswer(`${this.method}(): ${field} cannot be written as JSON; expected plain data`);
    }
    this.#bound(text, field, MAX_CUSTOM_INFO);
    const plain = this.object(JSON.parse(text) as JsonValue, field) as JsonObject;
    const lost = jsonLoss(value, plain, field);
    if (lost !== undefined) throw new InvalidAnswer(`${this.method}(): ${lost} does not survive JSON; use plain data`);
    if (isDeeper(plain, MAX_CUSTOM_DEPTH)) {
      throw new InvalidAnswer(`${this.method}(): ${field} is nested deeper than ${MAX_CUSTOM_DEPTH} levels`);
    }
    return maskedJson(plain, this.redact);
  }
}

function isDeeper(value: JsonValue, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}
