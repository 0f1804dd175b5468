import { readNamedLiterals } from '../idl/literal-map.js';
import { findMessage } from '../idl/wire.js';
import type { LiteralType } from '../plugin-api/literals.js';
import type { LiteralCodec } from './literal-codec.js';

/** The declared variables of a task, in the order they lie in the template. */
export interface TaskInterface {
  readonly inputs: ReadonlyMap<string, LiteralType>;
  readonly outputs: ReadonlyMap<string, LiteralType>;
}

// Field numbers of flyteidl(2).core, the same in both: TaskTemplate.interface, TypedInterface.inputs and .outputs,
// Variable.type.
const TEMPLATE_INTERFACE = 4;
const INTERFACE_INPUTS = 1;
const INTERFACE_OUTPUTS = 2;
const VARIABLE_TYPE = 1;

const NOTHING = Buffer.alloc(0);

/**
 * Reads the interface of an encoded flyteidl or flyteidl2 TaskTemplate. The variables are a map in the one and a list
 * of entries in the other, which is the same on the wire. Throws REQUEST_UNDECODABLE.
 */
export function readTaskInterface(codec: LiteralCodec, template: Uint8Array): TaskInterface {
  const typed = findMessage(template, TEMPLATE_INTERFACE) ?? NOTHING;
  const variables = (number: number): ReadonlyMap<string, LiteralType> => {
    const entries = readNamedLiterals(findMessage(typed, number) ?? NOTHING);
    return new Map(
      entries.map(({ name, value }) => [name, codec.readType(findMessage(value, VARIABLE_TYPE) ?? NOTHING)]),
    );
  };
  return { inputs: variables(INTERFACE_INPUTS), outputs: variables(INTERFACE_OUTPUTS) };
}
