import { writeSync } from 'node:fs';

const LOOK_MS = 10;

/**
 * Writes to a descriptor, synchronously, waiting for a slow reader until `endMs` on the monotonic clock (as of
 * `performance.now()`) and no longer. Answers how many bytes got out; less than all where the reader does not take them,
 * is gone, or the disk is full. Never throws.
 *
 * The bound holds where the descriptor does not block, which Node sees to for pipes, sockets and terminals once it has
 * opened `process.stdout` or `process.stderr`; a file does not wait for anybody.
 */
export function writeWithin(fd: number, bytes: Uint8Array, endMs: number): number {
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if ((code !== 'EAGAIN' && code !== 'EBUSY') || performance.now() >= endMs) return written;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
    }
  }
  return written;
}
