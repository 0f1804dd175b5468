import { BackWriter } from '../../idl/back-writer.js';
import type { Codec, Message } from '../../idl/codec.js';
import { structFromJson } from '../../idl/struct.js';
import { lenField } from '../../idl/wire.js';
import { getOrMake } from '../../lib/get-or-make.js';
import { isPlainState, type PhaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { TaskLog } from '../../plugin-api/phase.js';
import { AnswerCache } from '../answer-cache.js';
import { logMessage } from '../task-log.js';
import type { Dialect } from './dialect.js';
import { deprecatedState, type WirePhase, wireMessage, wirePhase } from './phases.js';

const RESOURCE = 1;
const MESSAGE = 3;

/** What a resource of one phase has before its message and behind it. */
interface Around {
  readonly before: Buffer;
  readonly behind: Buffer;
}

/** Encodes what Flyte calls a Resource: the phase with its message, outputs and links. Strict. */
export class ResourceEncoder {
  readonly #dialect: Dialect;
  readonly #resource: Codec;
  readonly #answers = new AnswerCache();
  readonly #around = new Map<WirePhase, Around>();
  readonly #writer = new BackWriter();

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
    this.#resource = dialect.codec('Resource');
  }

  /**
   * GetTaskResponse, encoded once a visible change. One that says no more than phase and reason is written anew each time, which takes
   * no longer than to find it: half a million tasks have as many answers, and no cache keeps these.
   */
  getTask(task: TaskRecord): Buffer {
    const { state } = task;
    if (isPlainState(state)) return this.#plain(state);
    return this.#answers.of(task, () => lenField(RESOURCE, this.resource(state)));
  }

  #plain(state: PhaseState): Buffer {
    const phase = wirePhase(state.phase);
    const { before, behind } = getOrMake(this.#around, phase, () => ({
      before: this.#resource.encode(this.#dialect.version === 1 ? { state: deprecatedState(phase) } : {}),
      behind: this.#resource.encode({ phase }),
    }));
    const writer = this.#writer;
    writer.begin();
    writer.fields(behind);
    writer.text(MESSAGE, wireMessage(state));
    writer.fields(before);
    writer.embed(RESOURCE, 0);
    return writer.finish();
  }

  /** Outputs are set only where they travel inline: unset says that they lie at the output prefix (FIELD 12). */
  resource(state: PhaseState): Buffer {
    const phase = wirePhase(state.phase);
    return this.#resource.encode({
      phase,
      message: wireMessage(state),
      logLinks: state.logs.map((log) => this.#link(log)),
      customInfo: state.customInfo && this.#dialect.struct.encode(structFromJson(state.customInfo)),
      outputs: state.outputs.kind === 'inline' ? state.outputs.literalMap : undefined,
      ...(this.#dialect.version === 1 ? flyte1Only(state, phase) : {}),
    });
  }

  /** Flyte 2 tells links apart that can be followed already; a plugin gives no others. */
  #link(log: TaskLog): Message {
    return this.#dialect.version === 1 ? logMessage(log) : { ...logMessage(log), ready: true };
  }
}

function flyte1Only(state: PhaseState, phase: WirePhase): Message {
  const { error } = state;
  return {
    state: deprecatedState(phase),
    agentError: error && {
      code: error.code,
      kind: phase === 'RETRYABLE_FAILED' ? 'RECOVERABLE' : 'NON_RECOVERABLE',
      origin: error.kind,
    },
  };
}
