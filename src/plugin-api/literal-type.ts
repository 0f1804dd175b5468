/** The declared types of variables, as plain data. */

export type SimpleType =
  | 'NONE'
  | 'INTEGER'
  | 'FLOAT'
  | 'STRING'
  | 'BOOLEAN'
  | 'DATETIME'
  | 'DURATION'
  | 'BINARY'
  | 'ERROR'
  | 'STRUCT';

/**
 * flyteidl.core.LiteralType, decoded: exactly one of the members is set. Types that were read hold further keys
 * (metadata, annotation, structure) which are passed on.
 */
export interface LiteralType {
  readonly simple?: SimpleType;
  readonly collectionType?: LiteralType;
  readonly mapValueType?: LiteralType;
  readonly unionType?: { readonly variants: readonly LiteralType[] };
  readonly enumType?: { readonly values: readonly string[] };
  readonly blob?: { readonly format?: string; readonly dimensionality?: 'SINGLE' | 'MULTIPART' };
  readonly schema?: { readonly columns?: readonly SchemaColumn[] };
  readonly structuredDatasetType?: {
    readonly columns?: readonly { readonly name: string; readonly literalType: LiteralType }[];
    readonly format?: string;
    readonly externalSchemaType?: string;
    readonly externalSchemaBytes?: Uint8Array;
  };
  readonly [further: string]: unknown;
}

export interface SchemaColumn {
  readonly name: string;
  readonly type: 'INTEGER' | 'FLOAT' | 'STRING' | 'BOOLEAN' | 'DATETIME' | 'DURATION';
}
