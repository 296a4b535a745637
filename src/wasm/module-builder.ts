import { ByteWriter } from './byte-writer.ts';
import { FunctionBuilder } from './function-builder.ts';
import { VALUE_TYPE, type ValueType } from './opcodes.ts';

const SECTION = { TYPE: 1, IMPORT: 2, FUNCTION: 3, TABLE: 4, EXPORT: 7, ELEMENT: 9, CODE: 10 } as const;
const EXTERNAL = { FUNCTION: 0x00, TABLE: 0x01, MEMORY: 0x02 } as const;
const FUNCTION_TYPE = 0x60;
const FUNCREF = 0x70;

interface MemoryImport {
  readonly module: string;
  readonly name: string;
  readonly minPages: number;
}

interface FunctionImport {
  readonly module: string;
  readonly name: string;
  readonly type: number;
}

/**
 * Encodes one module (§5.5): imported functions, an imported memory, defined functions, one table that holds functions, and
 * exports. Function indices count imports first, so all imports are declared before the first definition.
 */
export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #typeBytes: ByteWriter[] = [];
  readonly #imports: FunctionImport[] = [];
  readonly #functions: { type: number; builder: FunctionBuilder }[] = [];
  readonly #exports: { name: string; kind: number; index: number }[] = [];
  #memory: MemoryImport | null = null;
  #table: readonly number[] | null = null;

  type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}>${results.join()}`;
    const known = this.#types.indexOf(key);
    if (known >= 0) return known;
    const bytes = new ByteWriter();
    bytes.byte(FUNCTION_TYPE);
    for (const list of [parameters, results]) {
      bytes.unsigned(list.length);
      for (const type of list) bytes.byte(VALUE_TYPE[type]);
    }
    this.#types.push(key);
    this.#typeBytes.push(bytes);
    return this.#types.length - 1;
  }

  importMemory(module: string, name: string, minPages: number): void {
    this.#memory = { module, name, minPages };
  }

  /** Returns the function's index. */
  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): number {
    if (this.#functions.length > 0) throw new Error('imports come before definitions');
    this.#imports.push({ module, name, type: this.type(parameters, results) });
    return this.#imports.length - 1;
  }

  /** Declares a function and returns its index; its body is written through the returned builder until `encode`. */
  define(parameters: readonly ValueType[], results: readonly ValueType[]): { index: number; body: FunctionBuilder } {
    const body = new FunctionBuilder(parameters, results);
    this.#functions.push({ type: this.type(parameters, results), builder: body });
    return { index: this.#imports.length + this.#functions.length - 1, body };
  }

  /** Gives the module a table filled with these functions. */
  table(functionIndices: readonly number[]): void {
    this.#table = functionIndices;
  }

  export(name: string, functionIndex: number): void {
    this.#exports.push({ name, kind: EXTERNAL.FUNCTION, index: functionIndex });
  }

  /** Exports the table, which may grow. */
  exportTable(name: string): void {
    this.#exports.push({ name, kind: EXTERNAL.TABLE, index: 0 });
  }

  encode(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter();
    out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const section = (id: number, count: number, write: (content: ByteWriter) => void): void => {
      const content = new ByteWriter();
      content.unsigned(count);
      write(content);
      out.byte(id);
      out.sized(content);
    };
    section(SECTION.TYPE, this.#typeBytes.length, (c) => {
      for (const bytes of this.#typeBytes) c.bytes(bytes.view);
    });
    section(SECTION.IMPORT, this.#imports.length + (this.#memory ? 1 : 0), (c) => this.#encodeImports(c));
    section(SECTION.FUNCTION, this.#functions.length, (c) => {
      for (const f of this.#functions) c.unsigned(f.type);
    });
    const table = this.#table;
    if (table) {
      section(SECTION.TABLE, 1, (c) => {
        c.bytes([FUNCREF, 0x00]);
        c.unsigned(table.length);
      });
    }
    section(SECTION.EXPORT, this.#exports.length, (c) => {
      for (const e of this.#exports) {
        c.name(e.name);
        c.byte(e.kind);
        c.unsigned(e.index);
      }
    });
    if (table) {
      section(SECTION.ELEMENT, 1, (c) => {
        c.bytes([0x00, 0x41, 0x00, 0x0b]); // active, table 0, offset i32.const 0
        c.unsigned(table.length);
        for (const index of table) c.unsigned(index);
      });
    }
    section(SECTION.CODE, this.#functions.length, (c) => {
      for (const f of this.#functions) c.sized(f.builder.encode());
    });
    return out.view.slice() as Uint8Array<ArrayBuffer>;
  }

  #encodeImports(content: ByteWriter): void {
    for (const f of this.#imports) {
      content.name(f.module);
      content.name(f.name);
      content.byte(EXTERNAL.FUNCTION);
      content.unsigned(f.type);
    }
    if (this.#memory) {
      content.name(this.#memory.module);
      content.name(this.#memory.name);
      content.byte(EXTERNAL.MEMORY);
      content.byte(0x00);
      content.unsigned(this.#memory.minPages);
    }
  }
}
