export { ERROR_CATALOGUE, type ErrorCode, type ErrorEntry, type ErrorKind, RETIRED_CODES } from './catalogue.js';
export { HostError, type HostErrorOptions, messageOf } from './host-error.js';
