import type { DefinitionFacts } from '../channel/messages.js';
import { HostError } from '../errors/index.js';
import { show } from '../lib/show.js';
import { isFitName } from '../lib/text.js';
import {
  isPluginId,
  isTaskTypeName,
  isTaskTypeVersion,
  MAX_TASK_TYPE_VERSION,
  PLUGIN_ID,
  TASK_TYPE,
} from '../model/identity-check.js';
import {
  isVariablePattern,
  MAX_PLUGIN_VERSION,
  MAX_TASK_TYPE_VERSIONS,
  MAX_TASK_TYPES,
  MAX_VARIABLES,
  type ServedTaskType,
  VARIABLES,
} from '../model/plugin-facts.js';
import { PLUGIN_API_VERSION, type PluginDefinition, type TaskTypeSupport } from '../plugin-api/plugin.js';

/**
 * The checks of a plugin's default export, in their fixed order: an object, its API version, then its fields. Throws
 * PLUGIN_SHAPE_INVALID or PLUGIN_API_VERSION_UNKNOWN; `label` names the plugin in the messages.
 */
export function checkDefinition(exported: unknown, label: string): DefinitionFacts {
  if (typeof exported !== 'object' || exported === null) {
    throw shape(label, 'default export', exported, 'an object with id, apiVersion, taskTypes and load');
  }
  const definition = exported as Partial<Record<keyof PluginDefinition, unknown>>;
  if (typeof definition.apiVersion !== 'number')
    throw shape(label, 'apiVersion', definition.apiVersion, `the number ${PLUGIN_API_VERSION}`);
  if (definition.apiVersion !== PLUGIN_API_VERSION) {
    throw new HostError(
      'PLUGIN_API_VERSION_UNKNOWN',
      `${label}: the plugin was written for plugin API version ${show(definition.apiVersion)}, this daemon speaks ${PLUGIN_API_VERSION}; use a matching version of one of them`,
    );
  }
  const { id, version = '', isDefault = false, config, environment = [], load, settings } = definition;
  if (!isPluginId(id)) throw shape(label, 'id', id, PLUGIN_ID.expected);
  if (typeof version !== 'string' || version.length > MAX_PLUGIN_VERSION || !isFitName(version)) {
    const expected = `a text of at most ${MAX_PLUGIN_VERSION} characters, none of them a control character`;
    throw shape(label, 'version', version, expected);
  }
  if (typeof isDefault !== 'boolean') throw shape(label, 'isDefault', isDefault, 'true or false');
  if (typeof load !== 'function') throw shape(label, 'load', load, 'a function');
  if (config !== undefined && (typeof config !== 'object' || config === null))
    throw shape(label, 'config', config, 'an object');
  if (settings !== undefined && !isStandardSchema(settings)) {
    throw shape(label, 'settings', settings, 'a Standard Schema (zod, valibot, arktype, …)');
  }
  return {
    id,
    version,
    taskTypes: checkTaskTypes(definition.taskTypes, isDefault, label),
    isDefault,
    config: config ?? {},
    environment: checkEnvironment(environment, label),
  };
}

function checkTaskTypes(value: unknown, isDefault: boolean, label: string): ServedTaskType[] {
  const expected = 'a list of task types, each a name or { name, versions? }, at least one unless isDefault';
  if (!Array.isArray(value) || value.length > MAX_TASK_TYPES) throw shape(label, 'taskTypes', value, expected);
  if (value.length === 0 && !isDefault) throw shape(label, 'taskTypes', value, expected);
  const byName = new Map<string, Set<number> | undefined>();
  for (const [index, item] of (value as TaskTypeSupport[]).entries()) {
    const path = `taskTypes[${index}]`;
    const name: unknown = typeof item === 'string' ? item : item?.name;
    const versions: unknown = typeof item === 'string' ? undefined : item.versions;
    if (!isTaskTypeName(name)) throw shape(label, path, name, TASK_TYPE.expected);
    if (versions !== undefined && !isVersionList(versions)) {
      throw shape(
        label,
        `${path}.versions`,
        versions,
        `a list of whole numbers from 0 to ${MAX_TASK_TYPE_VERSION}, not empty`,
      );
    }
    const known = byName.get(name);
    if (byName.has(name) && (known === undefined || versions === undefined)) {
      throw shape(label, path, name, 'each task type once');
    }
    byName.set(name, versions === undefined ? undefined : new Set([...(known ?? []), ...versions]));
  }
  return [...byName].map(([name, versions]) => ({
    name,
    versions: versions === undefined ? undefined : [...versions].sort((a, b) => a - b),
  }));
}

function isVersionList(value: unknown): value is readonly number[] {
  return (
    Array.isArray(value) && value.length > 0 && value.length <= MAX_TASK_TYPE_VERSIONS && value.every(isTaskTypeVersion)
  );
}

function checkEnvironment(value: unknown, label: string): string[] {
  if (!Array.isArray(value) || value.length > MAX_VARIABLES) {
    throw shape(label, 'environment', value, `a list of at most ${MAX_VARIABLES} names of variables`);
  }
  for (const [index, name] of (value as unknown[]).entries()) {
    if (!isVariablePattern(name)) throw shape(label, `environment[${index}]`, name, VARIABLES.expected);
  }
  return value as string[];
}

/** Functions count too: arktype's schemas are callable. */
function isStandardSchema(value: unknown): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const standard = (value as Record<string, unknown>)['~standard'];
  return (
    typeof standard === 'object' &&
    standard !== null &&
    typeof (standard as Record<string, unknown>).validate === 'function'
  );
}

function shape(label: string, field: string, seen: unknown, expected: string): HostError {
  return new HostError('PLUGIN_SHAPE_INVALID', `${label}: ${field} is ${show(seen)}; expected ${expected}`);
}
