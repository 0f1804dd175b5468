/**
 * The first line of what the YAML reader says of a text that it cannot read: the reader goes on with an excerpt, which may hold a
 * secret, and leaves a colon in front of it.
 */
export function yamlFlaw({ message }: { readonly message: string }): string {
  return (message.split('\n')[0] ?? '').replace(/[:\s]+$/, '');
}
