import { PermanentError } from './errors.js';
import type { LiteralInput, LiteralValue } from './literals.js';
import { isTaggedLiteral } from './literals.js';

/** What placeholders of a task's texts stand for. */
export interface PlaceholderValues {
  /** `{{ .inputs.NAME }}`: what `ctx.inputReader.get()` answers. */
  readonly inputs?: Readonly<Record<string, LiteralValue>>;
  /** `{{ .NAME }}` of everything else, such as `outputPrefix`, `rawOutputDataPrefix`, `runName`, `actionName`. */
  readonly [name: string]: string | Readonly<Record<string, LiteralValue>> | undefined;
}

const PLACEHOLDER = /\{\{\s*[.$]([A-Za-z]\w*)(?:\.([^}\s]+))?\s*\}\}/g;

/**
 * Puts values in the place of Flyte's placeholders in a text of a task, such as a query: `{{ .inputs.day }}`,
 * `{{.outputPrefix}}`. Engines render the arguments of containers and nothing else. The words before a dot are taken in any
 * case, names of inputs as they are. What is put in is not looked at again, so that an input cannot bring placeholders of its
 * own; nothing is quoted or escaped. A placeholder that no value is given for stays as it is.
 *
 * @throws PermanentError that blames the task, for an input that it does not have or that has no form as a text
 */
export function renderPlaceholders(text: string, values: PlaceholderValues): string {
  const { inputs = {}, ...others } = values;
  const known = new Map(Object.entries(others).map(([name, value]) => [name.toLowerCase(), value]));
  return text.replace(PLACEHOLDER, (whole, word: string, name: string | undefined) => {
    if (word.toLowerCase() === 'inputs' && name !== undefined) return inputText(name, inputs);
    const value = name === undefined ? known.get(word.toLowerCase()) : undefined;
    return typeof value === 'string' ? value : whole;
  });
}

function inputText(name: string, inputs: Readonly<Record<string, LiteralValue>>): string {
  const value = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
  if (value === undefined) {
    const names = Object.keys(inputs).slice(0, 50).join(', ') || 'none';
    throw unrendered(`{{ .inputs.${name.slice(0, 100)} }} names no input of the task; its inputs are: ${names}`);
  }
  return textOf(value, name);
}

/** As the engine writes it into the arguments of a container. */
function textOf(value: LiteralInput, name: string): string {
  if (value === null) return '';
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return `[${value.map((one: LiteralInput) => textOf(one, name)).join(',')}]`;
  if (typeof value !== 'object') return String(value);
  if (!isTaggedLiteral(value)) throw unrendered(`the input ${name} is a map or bytes, which have no form as a text`);
  switch (value.literalKind) {
    case 'integer':
    case 'float':
      return String(value.value);
    case 'union':
      return textOf(value.value, name);
    case 'struct':
      return JSON.stringify(value.value);
    case 'duration':
      return `${value.seconds + value.nanos / 1e9}s`;
    case 'blob':
    case 'schema':
    case 'structured_dataset':
      return value.uri;
    default:
      throw unrendered(`the input ${name} is a literal of kind ${value.literalKind}, which has no form as a text`);
  }
}

function unrendered(message: string): PermanentError {
  return new PermanentError(message, { code: 'PlaceholderUnrendered' });
}
