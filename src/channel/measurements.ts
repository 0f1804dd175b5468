/** Metric names of one plugin, and durations of one name that it gathers in a second. */
export const MAX_METRICS = 50;
export const MAX_OBSERVATIONS = 1_000;
/** What a plugin sends of its metrics in a second at most: each name may be a counter, a gauge and a histogram. */
export const MEASUREMENTS_PER_SECOND = MAX_METRICS * (MAX_OBSERVATIONS + 5);
/** What one of them takes on the channel at most, in bytes of its text and as a value that is parsed. */
export const MEASUREMENT_BYTES = 48;
/** Bytes of log lines that a plugin sends in a second at most, and that the daemon writes of a process. */
export const LOG_BYTES_PER_SECOND = 2 * 1024 * 1024;
