import type { Mask } from '../../model/masked.js';
import type { PluginMethod, PluginMethods } from '../../model/plugin-call.js';
import { methodTraits } from '../../model/plugin-methods.js';
import { stateOf } from './answer-state.js';

/** The answer of a method as the daemon's types have it. Throws Error, saying what is wrong. */
export function checkAnswer<M extends PluginMethod>(
  method: M,
  value: unknown,
  args: unknown,
): PluginMethods[M]['answer'] {
  return methodTraits(method).answer(value, args as PluginMethods[M]['args'], stateOf);
}

/** The same answer with no secret in what is shown of it. */
export function maskedAnswer<M extends PluginMethod>(
  method: M,
  answer: PluginMethods[M]['answer'],
  mask: Mask,
): PluginMethods[M]['answer'] {
  return methodTraits(method).masked(answer, mask);
}
