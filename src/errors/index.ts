export {
  ERROR_CATALOGUE,
  type ErrorCode,
  type ErrorEntry,
  type ErrorKind,
  isErrorCode,
  RETIRED_CODES,
} from './catalogue.js';
export { HostError, type HostErrorOptions, messageOf, stackOf } from './host-error.js';
