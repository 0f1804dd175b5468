export {
  ERROR_CATALOGUE,
  type ErrorCode,
  type ErrorKind,
  isErrorCode,
} from './catalogue.js';
export { HostError, messageOf, stackOf } from './host-error.js';
