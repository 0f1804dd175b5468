/**
 * How much an answer of a plugin may hold. Its process holds it to them and cuts or names what is above; the daemon does
 * so once more, since code of the plugin shares that process. Lengths of texts are in UTF-16 units.
 */

/** A reason, a message, the remote's own phase. */
export const MAX_TEXT = 8_192;
/** An error's code. */
export const MAX_CODE = 128;
/** The message of what a plugin threw. */
export const MAX_FAILURE_TEXT = 4_096;
/** Why a plugin could not be loaded, which every listing shows. */
export const MAX_LOAD_FAILURE = 16_384;
/** What is added to a text that was cut. */
export const CUT_MARK = 64;
export const MAX_LOGS = 1_000;
export const MAX_EXTERNAL = 10_000;
/**
 * Characters of JSON. An engine's client takes 4 MiB a reply (FIELD 13), and a Struct may be six times its JSON text.
 */
export const MAX_CUSTOM_INFO = 256 * 1024;
export const MAX_LOGS_TEXT = 1024 * 1024;
export const MAX_EXTERNAL_TEXT = 2 * 1024 * 1024;
/**
 * Levels of objects and lists. As a google.protobuf.Struct each takes three messages, and decoders of protobuf stop at a
 * hundred.
 */
export const MAX_CUSTOM_DEPTH = 30;
/** An uint32. */
export const MAX_VERSION = 2 ** 32 - 1;
/** Lines of one page of logs. */
export const MAX_LINES = 100_000;
/** The name of a metric. */
export const MAX_METRIC_NAME = 1_024;
/** A batch key, which is kept with every live task. */
export const MAX_BATCH_KEY = 1_024;
/** UTF-8 bytes: an engine gives the token of a page back, as a field that is held to this. */
export const MAX_TOKEN_BYTES = 1_024;
/** What a google.protobuf.Duration may hold, in milliseconds. */
export const MAX_DURATION_MS = 315_576_000_000_000;

/** Epoch milliseconds of the years 1 to 9999, which is what a google.protobuf.Timestamp may hold. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= -62_135_596_800_000 && value <= 253_402_300_799_999;
}

/** A length of time to wait for, in milliseconds. */
export function isWait(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= MAX_DURATION_MS;
}
