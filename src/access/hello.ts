import type { Socket } from 'node:net';
import { Gathered } from '../lib/gathered.js';

const RECORD_HEAD_BYTES = 5;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const MAX_RECORD_BYTES = 16 * 1024;

/** What has come of a connection's first record. */
type Seen = 'more' | 'whole' | 'none';

/**
 * Waits for a whole first message of a TLS client before anything is done for it: to answer one costs a signature, and a crowd
 * that holds back its last byte could ask for a thousand of them in one turn. `whole` is called once, with all of it still to be read
 * from the socket; `none` where something else comes, or where the message does not fit one record, as no client sends it.
 */
export function awaitHello(raw: Socket, told: { readonly whole: () => void; readonly none: () => void }): void {
  const gathered = new Gathered();
  const onReadable = () => {
    const chunk = raw.read() as Buffer | null;
    if (chunk === null) return;
    gathered.add(chunk);
    const seen = look(gathered.all());
    if (seen === 'more') return;
    raw.off('readable', onReadable);
    if (seen === 'none') told.none();
    else {
      raw.unshift(gathered.all());
      told.whole();
    }
  };
  raw.on('readable', onReadable);
}

function look(bytes: Buffer): Seen {
  if (bytes.length === 0) return 'more';
  if (bytes[0] !== HANDSHAKE) return 'none';
  if (bytes.length < RECORD_HEAD_BYTES + 4) return 'more';
  const record = bytes.readUInt16BE(3);
  const message = bytes.readUIntBE(RECORD_HEAD_BYTES + 1, 3);
  const isHello = bytes[1] === 3 && bytes[RECORD_HEAD_BYTES] === CLIENT_HELLO;
  if (!isHello || record > MAX_RECORD_BYTES || message + 4 > record) return 'none';
  return bytes.length < RECORD_HEAD_BYTES + record ? 'more' : 'whole';
}
