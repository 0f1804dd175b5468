/** As much as the bytes themselves may lie unused beside them. */
const WASTE = 2;

/**
 * The bytes in memory of their own, for what is kept for long: a small piece of a pool, or of a large message, keeps all of that. The
 * same Buffer where it has most of its memory for itself.
 */
export function ownBytes(bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength <= WASTE * bytes.length) return bytes;
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}
