import { isUtf8 } from 'node:buffer';
import pb from 'protobufjs';

/**
 * protobufjs's reader for Buffers with two holes closed: a text that claims to be longer than its message was cut
 * short quietly, and bytes that are not UTF-8 became replacement characters. Both are malformed messages.
 */
export class CheckedReader extends pb.BufferReader {
  override string(): string {
    const length = this.uint32();
    const end = this.pos + length;
    if (end > this.len) throw new RangeError(`text of ${length} bytes at offset ${this.pos} exceeds its message`);
    const start = this.pos;
    const text = (this.buf as Buffer).toString('utf8', start, end);
    // A replacement character is in the text where bytes were wrong, or where it was sent as such.
    if (text.includes('\ufffd') && !isUtf8(this.buf.subarray(start, end))) {
      throw new RangeError(`text at offset ${start} is not UTF-8`);
    }
    this.pos = end;
    return text;
  }
}
