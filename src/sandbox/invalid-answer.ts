import type { ErrorCode } from '../errors/index.js';

/** A plugin's answer, or its meta, is outside the contract. Becomes a failure of kind `invalid`. */
export class InvalidAnswer extends Error {
  override readonly name = 'InvalidAnswer';

  constructor(
    message: string,
    readonly code: ErrorCode = 'PLUGIN_ANSWER_INVALID',
  ) {
    super(message);
  }
}
