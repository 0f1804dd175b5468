/** Writes parts of a message as JSON text. */
export interface MessageWriter {
  text(text: string): string;
  /** Bytes, given as text of one byte a character. */
  bytes(latin1: string): string;
  /** Plain data; undefined for what is left out. */
  value(value: unknown): string | undefined;
}

/**
 * An object of known fields that writes itself into a message, and arrives as plain data. A batch has a hundred of one shape: to walk
 * each as if nothing were known of it took more time than what is in it.
 */
export abstract class SelfWritten {
  /** The JSON text of an object. Its keys are none that the channel has a use for. */
  abstract write(writer: MessageWriter): string;
}
