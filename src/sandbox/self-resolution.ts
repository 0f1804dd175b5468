import module from 'node:module';
import { fileURLToPath } from 'node:url';

/** The name under which plugins import the contract. */
const SELF = 'webapi-plugin-host';

interface ResolveResult {
  readonly url: string;
  readonly format?: string;
  readonly shortCircuit?: boolean;
}
type Resolve = (specifier: string, context: unknown, next: (s: string, c: unknown) => ResolveResult) => ResolveResult;
type ResolveFilename = (request: string, ...rest: unknown[]) => string;

/** What this Node may have, and what the types of Node 20 do not know. */
interface ModuleHooks {
  readonly registerHooks?: (hooks: { readonly resolve: Resolve }) => unknown;
  readonly register: (specifier: string) => void;
  _resolveFilename: ResolveFilename;
}

/**
 * Makes `import 'webapi-plugin-host'` and `require('webapi-plugin-host')` resolve to the host's own copy from any file,
 * also one that lies outside every node_modules. Synchronous hooks where Node has them; else a hook thread for import
 * and the resolver of CommonJS for require.
 */
export function resolveSelf(indexUrl: string): void {
  const hooks = module as unknown as ModuleHooks;
  if (typeof hooks.registerHooks === 'function') {
    hooks.registerHooks({
      resolve: (specifier, context, next) =>
        specifier === SELF ? { url: indexUrl, format: 'module', shortCircuit: true } : next(specifier, context),
    });
    return;
  }
  const source = `export async function resolve(specifier, context, next) {
    return specifier === ${JSON.stringify(SELF)}
      ? { url: ${JSON.stringify(indexUrl)}, format: 'module', shortCircuit: true }
      : next(specifier, context);
  }`;
  hooks.register(`data:text/javascript,${encodeURIComponent(source)}`);
  const original = hooks._resolveFilename;
  const indexFile = fileURLToPath(indexUrl);
  hooks._resolveFilename = function resolveFilename(this: unknown, request, ...rest) {
    return request === SELF ? indexFile : original.call(this, request, ...rest);
  };
}
