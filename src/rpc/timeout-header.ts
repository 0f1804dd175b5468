import type { IncomingHttpHeaders } from 'node:http2';

/** By unit, the most that is still below 2^31 milliseconds; smaller units cannot reach it with their eight digits. */
const LONGEST: Readonly<Record<string, number>> = { H: 596, M: 35_791, S: 2_147_483 };

/**
 * Cuts a `grpc-timeout` to some 24 days. grpc-js reckons it as a 32-bit number of milliseconds, in which a longer one
 * wraps around, mostly into the past, and ends its call at once.
 */
export function cutTimeout(headers: IncomingHttpHeaders): void {
  const timeout = headers['grpc-timeout'];
  if (typeof timeout !== 'string') return;
  const unit = timeout.charAt(timeout.length - 1);
  const longest = LONGEST[unit];
  if (longest !== undefined && Number(timeout.slice(0, -1)) > longest) headers['grpc-timeout'] = `${longest}${unit}`;
}
