import type { CreateContext } from './contexts.js';
import { PermanentError } from './errors.js';
import type { LiteralType } from './literal-type.js';
import type { LiteralValue } from './literals.js';
import { NoPythonText, pythonStr } from './python-text.js';

/** What placeholders of a task's texts stand for. */
export interface PlaceholderValues {
  /** `{{ .inputs.NAME }}`: what `ctx.inputReader.get()` answers. */
  readonly inputs?: Readonly<Record<string, LiteralValue>>;
  /** Declared types of the inputs, as the template shows them: they tell a float that is whole from an integer. */
  readonly inputTypes?: ReadonlyMap<string, LiteralType>;
  /** `{{ .NAME }}` of everything else, such as `outputPrefix`, `rawOutputDataPrefix`, `runName`, `actionName`. */
  readonly [name: string]:
    | string
    | Readonly<Record<string, LiteralValue>>
    | ReadonlyMap<string, LiteralType>
    | undefined;
}

/** An input by flytekit's own rule, which takes any character for the dot before `inputs`; or another name. */
const PLACEHOLDER = /\{\{\s*(?:[^\n]inputs\.([\p{L}\p{N}_]+)|[.$]([A-Za-z]\w*))\s*\}\}/giu;

/** Where the run began when nobody says so, as Flyte's Python side takes it. */
const UNTOLD_START = '1970-01-01T00:00:00+00:00';

/**
 * Puts values in the place of Flyte's placeholders in a text of a task, such as a query: `{{ .inputs.day }}`,
 * `{{.outputPrefix}}`. Engines render the arguments of containers and nothing else. The words before a dot are taken in any
 * case, names of inputs as they are. Values have the text that Python's `str` gives them, as flytekit and flyte render them;
 * booleans are `true` and `false`, as the engines and flyte write them. What is put in is not looked at again, so that an
 * input cannot bring placeholders of its own; nothing is quoted or escaped. A placeholder that no value is given for stays as
 * it is.
 *
 * @throws PermanentError that blames the task, for an input that it does not have or that has no form as a text
 */
export function renderPlaceholders(text: string, values: PlaceholderValues): string {
  const { inputs = {}, inputTypes, ...others } = values;
  const known = new Map(Object.entries(others).map(([name, value]) => [name.toLowerCase(), value]));
  return text.replace(PLACEHOLDER, (whole, input: string | undefined, name = '') => {
    if (input !== undefined) return inputText(input, inputs, inputTypes?.get(input));
    const value = known.get(name.toLowerCase());
    return typeof value === 'string' ? value : whole;
  });
}

/**
 * What the context of `create` or `do` knows for `renderPlaceholders`: the inputs with their types, the places that Flyte's
 * Python side derives of the output prefix (`input`, `rawOutputDataPrefix`, `checkpointOutputPrefix`, `prevCheckpointPrefix`; none
 * where there is no prefix), the names of the run and the action (in Flyte 1 the execution and the node), `namespace`,
 * and a key that is the attempt's own. Nobody but the plugin writes to those places; nothing lies at `input` before it
 * does.
 *
 * @throws what reading the inputs throws
 */
export async function placeholdersOf(
  ctx: Pick<CreateContext, 'taskReader' | 'inputReader' | 'outputPrefix' | 'taskExecutionMetadata' | 'idempotencyKey'>,
): Promise<PlaceholderValues> {
  const { outputPrefix, taskExecutionMetadata: metadata } = ctx;
  const prefix = outputPrefix.replace(/\/+$/, '');
  const below = (name: string) => (prefix === '' ? undefined : `${prefix}/${name}`);
  const { execution, nodeId } = metadata.taskExecutionId;
  return {
    inputs: await ctx.inputReader.get(),
    inputTypes: ctx.taskReader.read().inputTypes,
    input: below('inputs.pb'),
    outputPrefix: prefix === '' ? undefined : prefix,
    rawOutputDataPrefix: below('raw_output'),
    checkpointOutputPrefix: below('checkpoint_output'),
    prevCheckpointPrefix: below('prev_checkpoint'),
    perRetryUniqueKey: uniqueKeyOf(metadata.generatedName || ctx.idempotencyKey),
    namespace: metadata.namespace || undefined,
    runName: execution || undefined,
    actionName: nodeId || undefined,
    runStartTime: UNTOLD_START,
  };
}

/** As the engine makes a name of an SQL table of it: letters, digits and underscores, and no digit first. */
function uniqueKeyOf(name: string): string {
  return name.replace(/^[^a-zA-Z_]+/, 'a').replace(/[^a-zA-Z0-9_]+/g, '_');
}

function inputText(
  name: string,
  inputs: Readonly<Record<string, LiteralValue>>,
  declared: LiteralType | undefined,
): string {
  const value = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
  if (value === undefined) {
    const names = Object.keys(inputs).slice(0, 50).join(', ') || 'none';
    throw unrendered(`{{ .inputs.${name.slice(0, 100)} }} names no input of the task; its inputs are: ${names}`);
  }
  if (typeof value === 'boolean') return String(value);
  try {
    return pythonStr(value, declared);
  } catch (error) {
    if (!(error instanceof NoPythonText)) throw error;
    throw unrendered(`the input ${name} holds ${error.message}, which has no form as a text`);
  }
}

function unrendered(message: string): PermanentError {
  return new PermanentError(message, { code: 'PlaceholderUnrendered' });
}
