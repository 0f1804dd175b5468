import { HostError } from '../../../src/errors/index.js';
import { oneOf } from '../bytes.js';
import { requests } from '../corpus.js';
import { Finding, type Target } from '../target.js';
import { mutateMessage } from '../wire.js';

export const messages: Target = {
  name: 'messages',
  summary: 'requests as bytes: decoded, and then encoded again to what decodes alike, or REQUEST_UNDECODABLE',
  open() {
    const seeds = requests();
    const all = seeds.map(({ bytes }) => bytes);
    return {
      one(dice) {
        const { codec, bytes } = oneOf(dice, seeds);
        const changed = mutateMessage(dice, bytes, all);
        let message: object;
        try {
          message = codec.decode(changed);
        } catch (error) {
          if (HostError.is(error) && error.code === 'REQUEST_UNDECODABLE') return;
          throw error;
        }
        codec.wireProblem(changed);
        let again: Buffer;
        try {
          again = codec.encode(message);
        } catch (error) {
          // Texts that are no UTF-8, and numbers of enums that have no name, decode and are not written.
          if (HostError.is(error) && error.code === 'ENCODE_INVALID') return;
          throw error;
        }
        if (!codec.encode(codec.decode(again)).equals(again))
          throw new Finding('wrong', `not written alike: ${changed.toString('hex')}`);
      },
    };
  },
};
