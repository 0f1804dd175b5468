/**
 * What a plugin author imports: the contract, its errors and the constructors of phases. Nothing else is public here;
 * engines use `webapi-plugin-host/client`, plugin tests use `webapi-plugin-host/testing`.
 */

export * from './plugin-api/config.js';
export * from './plugin-api/contexts.js';
export * from './plugin-api/data.js';
export * from './plugin-api/errors.js';
export { createHttpClient } from './plugin-api/http/client.js';
export { callSdk, type SdkCallOptions } from './plugin-api/http/sdk.js';
export type * from './plugin-api/http/types.js';
export * from './plugin-api/phase.js';
export { type PlaceholderValues, placeholdersOf, renderPlaceholders } from './plugin-api/placeholders.js';
export * from './plugin-api/plugin.js';
export * from './plugin-api/reads-by-id.js';
